"""Recorded answers, read back by a device that has nothing else."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from entracte.errors import RunError
from entracte.run.answers import check_place, recording
from entracte.run.runner import Listeners, run_plan
from tests.planner.programs import DOUBLE_BUFFER, ONLINE, SEQUENTIAL
from tests.planner.test_run_by_hand import IDS, TABLE, NumpyDevice, by_hand, sampler

TYPES = {"fp16": "<f2", "fp32": "<f4", "int32": "<i4"}


class Replaying(NumpyDevice):
    """Knows the next call, the digests of its inputs and the bytes of its outputs."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        index = json.loads((folder / "answers.json").read_text())
        self.calls, self.bytes = index["calls"], (folder / "answers.bin").read_bytes()

    def call(self, handle, function, inputs):
        chunk, name, given, made = self.calls.pop(0)
        assert (chunk, name) == (handle.chunk, function)
        assert given == {n: hashlib.sha256(x.tobytes()).hexdigest() for n, x in inputs.items()}
        ports = {p.name: p for p in handle.ports_of(function)[1]}
        assert ports.keys() == made.keys()
        return {
            n: np.frombuffer(self.bytes[begin:end], TYPES[ports[n].dtype]).reshape(ports[n].shape)
            for n, (begin, end) in made.items()
        }


def run(plan, device, answered=None, **inputs):
    return run_plan(
        plan, Path("nowhere"), device, inputs, constants={"table": TABLE, "ids": IDS},
        listeners=Listeners(answered=answered),
    )  # fmt: skip


def recorded(plan, folder, **inputs):
    with recording(plan, NumpyDevice(), folder) as answers:
        answers.run = run(plan, NumpyDevice(), answers.take, **inputs).run
    return answers


@pytest.mark.parametrize("policy", [SEQUENTIAL, DOUBLE_BUFFER, ONLINE], ids=lambda p: p.name)
def test_a_run_from_recorded_answers_is_the_run(tmp_path, policy):
    plan = sampler(policy)
    recorded(plan, tmp_path / "a", seed=7, scale=2.5)
    device = Replaying(tmp_path / "a")
    outcome = run(plan, device, seed=7, scale=2.5)
    np.testing.assert_array_equal(outcome.output, by_hand(7, 2.5))
    assert not device.calls
    with pytest.raises(AssertionError):
        run(plan, Replaying(tmp_path / "a"), seed=8, scale=2.5)


def test_the_index_says_of_what_run_it_is(tmp_path):
    plan = sampler(SEQUENTIAL)
    answers = recorded(plan, tmp_path / "a", seed=7, scale=0)
    index = json.loads((tmp_path / "a/answers.json").read_text())
    assert list(index) == ["version", "plan", "inputs", "calls"]
    assert (index["version"], index["plan"]) == (1, answers.run.plan)
    assert index["inputs"] == [["seed", 7], ["scale", 0.0]]
    assert [c[0] for c in index["calls"]] == ["embed"] * 3 + ["step"] * 3 + ["decode"] * 3


def test_equal_outputs_are_stored_once(tmp_path):
    """The three calls of `embed` make what the table's rows say: two equal rows, one answer."""
    plan = sampler(SEQUENTIAL)
    table = np.repeat(TABLE[:1], 3, axis=0)
    with recording(plan, NumpyDevice(), tmp_path / "a") as answers:
        answers.run = run_plan(
            plan, Path("nowhere"), NumpyDevice(), {}, constants={"table": table, "ids": IDS},
            listeners=Listeners(answered=answers.take),
        ).run  # fmt: skip
    places = [tuple(c[3]["e"]) for c in answers.calls if c[0] == "embed"]
    assert places == [(0, 8)] * 3
    ends = {end for c in answers.calls for _, end in c[3].values()}
    assert (tmp_path / "a/answers.bin").stat().st_size == max(ends)


def test_what_did_not_end_well_leaves_nothing(tmp_path):
    plan = sampler(SEQUENTIAL)
    with pytest.raises(ZeroDivisionError), recording(plan, NumpyDevice(), tmp_path / "a"):
        raise ZeroDivisionError
    with recording(plan, NumpyDevice(), tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


def test_answers_replace_answers_and_nothing_else(tmp_path):
    plan = sampler(SEQUENTIAL)
    for seed in (1, 2):
        recorded(plan, tmp_path / "a", seed=seed)
    assert json.loads((tmp_path / "a/answers.json").read_text())["inputs"][0] == ["seed", 2]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    (tmp_path / "a/notes.txt").touch()
    (tmp_path / "file").touch()
    for place in ("a", "file"):
        with pytest.raises(RunError, match="is there, and no recorded answers"):
            check_place("reference", tmp_path / place)
    with pytest.raises(RunError, match="device null computes nothing"):
        check_place("null", tmp_path / "b")
