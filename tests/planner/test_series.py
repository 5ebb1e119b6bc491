"""Runs that hand on what is in memory: within the claim for any timing, the same numbers as alone,
nothing loaded that was there, nothing left at the end."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from entracte.inspect.residency import stays_of
from entracte.run.conditioning import Conditioning
from entracte.run.possible import fault_of
from entracte.run.runner import run_plan
from entracte.run.series import Series
from tests.planner.plans import heavier, plan_of
from tests.planner.programs import DOUBLE_BUFFER, ONLINE, Part, drawn_parts
from tests.planner.test_conditions import Device, sampler
from tests.planner.test_run_null import erratic
from tests.planner.test_run_online import calls_of

X = {"x": np.zeros(4, np.float16)}


def runs_of(plan, device, many=3):
    """Each with the next one's inputs; the device's ledger refuses what is loaded twice."""
    made = []
    with Series(plan, device) as series:
        for k in range(many):
            made.append(
                run_plan(
                    plan, Path("nowhere"), device, {}, constants=lambda: X, series=series,
                    following={} if k + 1 < many else None,
                ).run
            )  # fmt: skip
            assert fault_of(plan, made[-1]) is None
    return made


@pytest.mark.parametrize("seed", range(16))
def test_any_timing_stays_within_the_claim(seed):
    """Whole packages and pages, loops that end early, calls that rest."""
    rng = random.Random(f"series {seed}")
    shape = drawn_parts(rng)
    pages = seed % 3 == 0
    plan = plan_of(heavier(shape), ONLINE, 11_000, page_bytes=4096) if pages else plan_of(
        shape, ONLINE, rng.choice((0, 60, 400, 2000))
    )  # fmt: skip
    device, _ = erratic(plan, seed, early=rng.random() < 0.5)
    made, segments = runs_of(plan, device), plan.program.segments
    assert device.resident_bytes() == 0
    assert max(run.peak_bytes for run in made) <= plan.forecast.peak_bytes
    for run in made:
        done = dict(run.iterations)
        calls = Counter(calls_of(plan, {g.name: done.get(g.name, g.count) for g in segments}))
        assert {c.chunk: c.calls for c in run.chunks if c.calls} == calls
    loads = sum(what in ("load", "load page") for what, _ in device.log)
    assert loads == sum(c.loads for run in made for c in run.chunks)


def roomy(plan):
    """With a claim that has room for all chunks and any step: the whole budget is one."""
    return replace(plan, forecast=replace(plan.forecast, peak_bytes=plan.schedule.budget_bytes))


def test_what_stays_is_not_loaded_again():
    """Four chunks of 280 bytes in all: the first run loads each once, the others none."""
    plan = roomy(plan_of((Part(1, (90, 40)), Part(6, (70, 80))), ONLINE, 2000))
    device, _ = erratic(plan, 1, early=False)
    made = runs_of(plan, device)
    assert [sum(c.loads for c in run.chunks) for run in made] == [4, 0, 0]
    assert [run.loaded_bytes for run in made] == [280, 0, 0]
    assert len([x for x in device.log if x[0] == "load"]) == 4
    assert [len(run.carried) for run in made] == [0, 4, 4]
    for run in made:
        # In each record all that is there at its begin or comes is given back.
        bars = [(e.queue, e.label, e.size_bytes) for e in run.bars if e.queue != "compute"]
        came = sorted(bar[1:] for bar in bars if bar[0] == "load")
        assert came == sorted(bar[1:] for bar in bars if bar[0] == "free")
        assert len(came) == sum(c.loads for c in run.chunks) + len(run.carried)
        assert stays_of(run.bars)


def test_what_has_no_room_is_loaded_again():
    """No more than the hungriest call: each chunk is given back for the next one, in the first run
    and between runs."""
    plan = plan_of((Part(1, (90, 40, 80)),), ONLINE, 0)
    device, _ = erratic(plan, 1, early=False)
    made = runs_of(plan, device)
    assert [sum(c.loads for c in r.chunks) for r in made] != [3, 0, 0]
    assert max(run.peak_bytes for run in made) <= plan.forecast.peak_bytes


def test_gates_hand_nothing_on():
    assert not Series.suits(plan_of((Part(1, (90,)),), DOUBLE_BUFFER, 0))
    assert Series.suits(plan_of((Part(1, (90,)),), ONLINE, 0))


def test_a_failure_gives_everything_back():
    plan = plan_of((Part(1, (90, 40)), Part(6, (70, 80))), ONLINE, 2000)
    device, _ = erratic(plan, 1, early=False)
    with pytest.raises(RuntimeError, match="gone"), Series(plan, device) as series:
        run_plan(plan, Path("nowhere"), device, {}, constants=X, series=series, following={})
        assert series.has_left and device.resident_bytes() > 0
        raise RuntimeError("gone")
    assert device.resident_bytes() == 0


def test_with_conditioning_only_what_is_computed_is_handed_on(tmp_path):
    """Another prompt in between: its encoder comes and goes, the loop's chunk stays throughout."""
    plan = roomy(sampler(spare=5000))
    device, stored = Device(plan.program), Conditioning(tmp_path)
    table = {"table": np.arange(6, dtype=np.float32).reshape(3, 2)}
    inputs = [{"seed": 1}, {"seed": 2}, {"seed": 2, "s": 3.0}, {"seed": 4, "s": 3.0}]
    made = []
    with Series(plan, device) as series:
        for own, following in zip(inputs, [*inputs[1:], None], strict=True):
            made.append(
                run_plan(
                    plan, Path("nowhere"), device, own, constants=lambda: table, series=series,
                    conditioning=stored, following=following,
                )
            )  # fmt: skip
    assert device.loaded_bytes == 0
    loads = [{c.chunk for c in o.run.chunks if c.loads} for o in made]
    assert loads[0] == {p.chunk for p in plan.packages} and loads[3] == set()
    # The other prompt's encoder may come while the run before it computes.
    assert loads[1] | loads[2] == {"enc", "proj"} and not loads[1] & loads[2]
    for own, outcome in zip(inputs, made, strict=True):
        alone = run_plan(plan, Path("nowhere"), Device(plan.program), own, constants=table)
        np.testing.assert_array_equal(outcome.output, alone.output)
        assert outcome.run.peak_bytes <= plan.forecast.peak_bytes
        assert replace(outcome.run, bars=()).chunks
