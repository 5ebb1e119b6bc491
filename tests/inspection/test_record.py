"""Runs are recorded with every event, and read as what a stranger may have written."""

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from entracte.cli.observed import record_run
from entracte.codec import encode
from entracte.devices.null import NullDevice
from entracte.errors import PlanError, RunError
from entracte.inspect.residency import stays_of, usage
from entracte.ir import Run
from entracte.run.record import FILE, observed_timeline, read_run, run_of, write_run
from entracte.run.runner import run_plan
from tests.planner.plans import ONLINE, make_plan, make_special_plan, plan_of
from tests.planner.programs import POLICIES, parts
from tests.planner.test_run_null import ender, erratic


def run(plan, device) -> Run:
    constants = {"x": np.zeros(4, np.float16)}
    return run_plan(plan, Path("nowhere"), device, {}, constants=constants).run


def count(made: Run, queue: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for e in made.bars:
        if e.queue == queue:
            found[e.label] = found.get(e.label, 0) + 1
    return found


@settings(max_examples=80, deadline=None)
@given(
    parts,
    st.sampled_from((*POLICIES, ONLINE)),
    st.integers(0, 400),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_every_load_call_and_free_is_an_event(shape, policy, extra, seed, early):
    plan = plan_of(shape, policy, extra)
    device, ends = erratic(plan, seed, early)
    made = run(plan, device)
    loads = {c.chunk: c.loads for c in made.chunks if c.loads}
    assert count(made, "load") == loads == count(made, "free")
    calls = {}
    for g in plan.program.segments:
        for step in g.steps:
            done = ends[g.name] if g.until else g.count
            calls[step.chunk] = calls.get(step.chunk, 0) + done
    assert count(made, "compute") == calls
    assert sum(e.size_bytes for e in made.bars if e.queue == "load") == made.loaded_bytes
    assert [e.end_s for e in made.bars] == sorted(e.end_s for e in made.bars)
    assert all(0 <= e.start_s <= e.end_s <= made.wall_s for e in made.bars)
    assert len(stays_of(made.bars)) == sum(loads.values())
    samples = usage(plan, made.bars)
    assert max(s.total_bytes for s in samples) <= plan.forecast.peak_bytes
    waited = sum(w.end_s - w.start_s for w in observed_timeline(plan, made).waits)
    assert waited <= made.stall_s + 0.02 * len(made.bars)


def test_waits_of_a_run_are_those_for_its_loads():
    plan = make_plan()
    device = NullDevice(None, lambda what, _: time.sleep(0.01 if what == "load" else 0.0))
    waits = observed_timeline(plan, run(plan, device)).waits
    assert {w.cause for w in waits} >= {"start", "steady"}
    assert {w.chunk for w in waits} <= {c.id for c in plan.chunks}
    assert all(w.start_s < w.end_s for w in waits)


def test_an_early_end_has_no_events_of_iterations_that_were_not_done():
    plan = make_special_plan()
    made = run(plan, NullDevice(None, None, ender(plan, {"p1": 3, "p0": 1})))
    assert max(e.iteration for e in made.bars if e.queue == "compute") == 2
    assert len([e for e in made.bars if e.queue == "free"]) == sum(c.loads for c in made.chunks)


def called(body):
    """The event of the first call."""
    return next(e for e in body["bars"] if e["queue"] == "compute")


@pytest.fixture
def folder(tmp_path):
    write_run(run(make_plan(), NullDevice(None)), tmp_path / FILE)
    return tmp_path


def test_round_trip(folder):
    made = run_of(make_plan(), folder)
    assert made == read_run(folder / FILE)
    assert made.bars and not list(folder.glob(".*"))


def test_no_run_is_no_fault_but_a_missing_file_is(tmp_path):
    assert read_run(tmp_path) is None
    with pytest.raises(PlanError, match="no such file; `plan run BUILD --record"):
        read_run(tmp_path / "other.json")


def test_damaged_files_are_refused(folder):
    path = folder / FILE
    text = path.read_text()
    for damaged in (text[:300], "[" * 100_000, "\xff"):
        path.write_bytes(damaged.encode("latin-1"))
        with pytest.raises(PlanError, match=r"run\.json"):
            read_run(folder)
    path.write_text("[]")
    with pytest.raises(PlanError, match="wants a Run"):
        read_run(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.update(wall_s="long"), "wall_s: wants float"),
        (lambda b: b.update(wall_s=float("inf")), "not finite"),
        (lambda b: b["bars"][0].update(label="c9.00"), "no 'c9.00'"),
        (lambda b: b["bars"][0].update(segment=9), "segment 9"),
        (lambda b: called(b).update(segment=1), "'c0.00' is called where the plan does not"),
        (lambda b: b["bars"][0].update(segment=-1), "segment -1"),
        (lambda b: b["bars"][0].update(iteration=99), "iteration 99"),
        (lambda b: b["bars"][0].update(queue="dance"), "queue 'dance'"),
        (lambda b: b["bars"][0].update(end_s=-1.0), "to -1.0 s"),
        (lambda b: b["bars"][0].update(size_bytes=-1), "cannot be of this plan"),
        (lambda b: b.update(wall_s=1e300), "wall_s 1e.300 is more than 1e"),
        (lambda b: b.update(peak_bytes=2**62), "peak_bytes 4611686018427387904 is more than"),
        (lambda b: b.update(device="a\ud800"), "device: .* holds the control character"),
        (lambda b: b["chunks"][0].update(chunk="c9.00"), "no 'c9.00'"),
        (lambda b: b.update(iterations=[["p9", 1]]), "no 'p9'"),
    ],
)
def test_runs_of_no_or_another_plan_are_refused(folder, change, message):
    path = folder / FILE
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))
    with pytest.raises(PlanError, match=message):
        run_of(make_plan(), folder)


def test_a_folder_that_cannot_be_written_costs_a_line(tmp_path):
    made = replace(run(make_plan(), NullDevice(None)), bars=())
    out = io.StringIO()
    console = Console(file=out, width=200)
    record_run(console, made, tmp_path / "nowhere", None)
    assert out.getvalue() == f"not recorded: {tmp_path}/nowhere/run.json cannot be written\n"
    with pytest.raises(RunError, match="--record .*cannot be written"):
        record_run(console, made, tmp_path, tmp_path / "nowhere" / "x.json")
    record_run(console, made, tmp_path, tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == json.loads(json.dumps(encode(made)))
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
