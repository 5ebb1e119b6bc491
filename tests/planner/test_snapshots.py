"""A run that is interrupted goes on from its last snapshot, and makes the same bytes."""

import hashlib
import json
import os
import random
import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest

from entracte.check.proof import check
from entracte.clock.drivers import make_driver
from entracte.errors import RunError, WriteError
from entracte.ir import Call
from entracte.program.steps import functions_of
from entracte.program.workload import Workload
from entracte.run import keeper, runner
from entracte.run.conditioning import Begun
from entracte.run.copies import Build, WholeCopies
from entracte.run.delivery import Delivery, Kept
from entracte.run.journal import Journal
from entracte.run.keeper import Keeper, Snapshots
from entracte.run.left_out import whole
from entracte.run.machine import Machine
from entracte.run.position import START
from entracte.run.snapshot import FILE, Of, read_snapshot, tensors_in, write_tensors
from entracte.run.tensors import Tensors
from tests.planner.toy import ToyDevice, constants, given, host_steps
from tools.make_run_vectors import FILE as RUNS
from tools.make_run_vectors import read

_, *LINES = RUNS.read_text().splitlines()

ALWAYS = 1e9
"""Share of a run's time: a snapshot at the end of every iteration."""
OF = Of(plan="p", inputs=(), device="toy", arithmetic="", versions=())


class Stop(BaseException):
    pass


@pytest.fixture(autouse=True)
def no_waiting_for_disks(monkeypatch):
    """What a power cut would take is not tried here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


# ---------------------------------------------------------------- every construct


class Toy:
    """A run of a program on the toy device, with the real machine, drivers and snapshots."""

    def __init__(self, timed, folder: Path) -> None:
        self.timed, self.folder = timed, folder
        self.plan = SimpleNamespace(
            program=timed.program, packages=timed.packages, schedule=timed.schedule
        )
        facts = {f.id: f for f in timed.facts}
        budget = timed.schedule.budget_bytes
        self.workload = Workload(timed.program, facts, budget)
        self.claim_bytes = budget
        if timed.schedule.driver == "gates":
            proof = check(timed.program, timed.facts, timed.schedule, budget_bytes=budget)
            self.claim_bytes = proof.peak_bytes

    def run(self, stop_at: int = 0):
        """(outputs, record); stopped right after the `stop_at`-th snapshot that it keeps."""
        program = self.timed.program
        device, journal = ToyDevice(program, self.timed.ends), Journal(self.plan)
        kept = {o.name: Kept(o.axis) for o in program.outputs}
        told = []

        def tell(snapshot):
            told.append(snapshot)
            if len(told) == stop_at:
                raise Stop

        own = Keeper(self.folder, self.plan, OF, journal, share=ALWAYS, told=tell)
        delivery = Delivery(program.outputs, kept, own.took)
        tensors, found = Tensors(program, device, delivery), None
        if stop_at == 0:
            found = read_snapshot(self.folder, self.plan, OF)
        start = START if found is None else found.position
        if found is not None:
            own.go_on(found, tensors, delivery, given(program))
            self._wind(device, start)
        driver = make_driver(self.workload, self.timed.schedule)
        build = Build(self.plan, Path(), functions_of(program), lambda _: None)
        copies = WholeCopies(device, build, driver.table)
        with patch.object(runner, "run_host_step", host_steps(program, device)):
            with Machine(driver, copies, journal, at=start.step(program)) as machine:
                if found is None:
                    tensors.give(program, given(program), constants(program))
                runner._Interpreter(
                    program,
                    Path(),
                    device,
                    machine,
                    tensors,
                    journal,
                    runner.Listeners(),
                    Begun(self.plan, whole(self.plan)),
                    own,
                ).run(start)
            peak = machine._accounts.peak_bytes
        assert peak <= self.claim_bytes
        journal.wrote(delivery.counts, ())
        return {n: k.value for n, k in kept.items() if delivery.counts[n]}, journal.run("toy")

    def _wind(self, device: ToyDevice, start) -> None:
        """The toy counts the iterations of loops that end early."""
        segment = self.timed.program.segments[start.segment]
        for step in (s for s in segment.steps if isinstance(s, Call)):
            for b in (b for b in step.outputs if b.tensor == segment.until):
                device._done[step.chunk, b.feature] = start.iteration


def same(found, wanted) -> bool:
    return found.keys() == wanted.keys() and all(
        found[n].dtype == wanted[n].dtype and found[n].tobytes() == wanted[n].tobytes()
        for n in wanted
    )


def resumed_everywhere(timed, folder: Path, stops=None) -> int:
    """Interrupted after each of these snapshots, then gone on; returns how often."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    toy = Toy(timed, folder)
    wanted, record = toy.run()
    shutil.rmtree(folder)
    done = 0
    for stop in stops or count(1):
        folder.mkdir()
        try:
            toy.run(stop)
            return done
        except Stop:
            done += 1
        found, resumed = toy.run()
        assert same(found, wanted), (timed.name, stop)
        assert resumed.resumed is not None and resumed.resumed > (0, 0)
        assert resumed.outputs == record.outputs and resumed.iterations == record.iterations
        shutil.rmtree(folder)
    return done


def test_a_run_goes_on_from_an_iteration_of_every_construct(tmp_path):
    """Carried state, merged functions, calls that rest, blended and streamed tensors, several
    outputs, early ends, by gates and by the rule; within the peak that is proven."""
    rng = random.Random(5)
    for line in (*LINES[:27:4], *LINES[30::40]):
        resumed_everywhere(read(line), tmp_path / "s", (rng.randint(1, 4),))


@pytest.mark.slow
def test_every_program_goes_on(tmp_path):
    total = sum(resumed_everywhere(read(x), tmp_path / "s") for x in LINES)
    print(f"{len(LINES)} programs, {total} interruptions")
    assert total > 1000


# ---------------------------------------------------------------- refused


@pytest.fixture
def left(tmp_path):
    """What an interrupted run left: after two iterations of a loop, some pieces gone."""
    toy = Toy(read(LINES[0]), tmp_path / "s")
    toy.folder.mkdir()
    with pytest.raises(Stop):
        toy.run(3)
    return toy


def said(toy, of=OF) -> str:
    with pytest.raises(RunError) as caught:
        read_snapshot(toy.folder, toy.plan, of)
    assert str(toy.folder) in str(caught.value) and "begin anew" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(OF, plan="q"), "of another plan"),
        (replace(OF, inputs=(("seed", 3),)), "another 'seed'"),
        (replace(OF, device="coreml"), "device 'toy', this run is on coreml"),
        (replace(OF, arithmetic="fp32"), "this run is on toy fp32"),
        (replace(OF, versions=(("torch", "2"),)), "made with torch"),
    ],
)
def test_the_snapshot_of_another_run_is_refused(left, other, words):
    assert words in said(left, other)


def rewritten(toy, change) -> None:
    """With the right digest: what a stranger could write."""
    path = toy.folder / FILE
    body = json.loads(path.read_text())["snapshot"]
    change(body)
    text = json.dumps(body)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(f'{{"sha256":"{digest}","snapshot":\n{text}\n}}\n')


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.update(segment=9), "no iteration 9."),
        (lambda s: s.update(segment=0, iteration=0), "of the beginning"),
        (lambda s: s.update(iteration=-1), "no iteration"),
        (lambda s: s.update(version=2), "version 2"),
        (lambda s: s.update(ended=[["loop", 1]]), "loops that ended"),
        (lambda s: s.update(notes=["\x1b[2J"]), "no line"),
        (lambda s: s.update(state="0" * 64), "other bytes"),
        (lambda s: s.update(iteration=s["iteration"] + 1), "is no file"),
        (lambda s: s.update(pieces=s["pieces"] * 2), "no such piece"),
        (lambda s: s.update(pieces=[]), "pieces of"),
        (lambda s: s.update(segment="a"), "whole number"),
        (lambda s: s.update(more=1), "no field"),
    ],
)
def test_what_cannot_be_of_the_plan_is_refused(left, change, words):
    rewritten(left, change)
    assert words in said(left)


def test_tensors_are_those_that_the_plan_has_there(left):
    name = next(p.name for p in left.folder.glob("state-*"))
    tensors = dict(tensors_in(left.folder / name))
    first = sorted(tensors)[0]

    def put(these) -> None:
        digest = write_tensors(left.folder / name, {k: lambda k=k: these[k] for k in these})
        rewritten(left, lambda s: s.update(state=digest))

    put(tensors)
    read_snapshot(left.folder, left.plan, OF)
    put(tensors | {"stray": np.zeros(1, np.float32)})
    assert "'stray' is not there" in said(left)
    put({k: v for k, v in tensors.items() if k != first})
    assert f"lacks tensor {first!r}" in said(left)
    put(tensors | {first: np.zeros((7, 7), np.float32)})
    assert "F32 of (7, 7), the plan says" in said(left)


def test_damage_and_links_are_refused(left):
    path = left.folder / FILE
    whole = path.read_text()
    path.write_text(whole.replace('"iteration"', '"Iteration"'))
    assert "damaged" in said(left)
    path.unlink()
    path.symlink_to("/etc/hostname")
    assert "is no file there" in said(left)


def test_one_run_at_a_time_and_none_by_surprise(left):
    """Two runs in one folder would mix; one that was not asked to resume removes nothing."""
    with pytest.raises(RunError, match="--resume goes on"), plain(left).opened(left.plan, OF):
        pass
    with (
        plain(left, resume=True).opened(left.plan, OF) as found,
        pytest.raises(RunError, match="another run keeps"),
        plain(left, resume=True).opened(left.plan, OF),
    ):
        assert found is not None
    assert not left.folder.exists(), "a run that reached its end needs no snapshot"


def plain(toy, *, resume=False) -> Snapshots:
    return Snapshots(toy.folder, resume)


def test_only_its_own_files_are_removed(left):
    (left.folder / "mine.txt").write_text("x")
    with plain(left, resume=True).opened(left.plan, OF):
        pass
    assert [p.name for p in left.folder.iterdir()] == ["mine.txt"]


def test_a_full_disk_costs_a_note_and_not_the_run(tmp_path, monkeypatch):
    toy = Toy(read(LINES[0]), tmp_path / "s")
    toy.folder.mkdir()
    wanted, _ = toy.run()
    shutil.rmtree(toy.folder)
    toy.folder.mkdir()

    def full(*_, **__):
        raise WriteError("s: cannot be written (No space left on device); make room there")

    monkeypatch.setattr(keeper, "write_tensors", full)
    found, record = toy.run()
    assert same(found, wanted) and "No space left" in " ".join(record.notes)
