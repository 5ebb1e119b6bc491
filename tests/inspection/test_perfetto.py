"""Traces keep the trace-event format: by schema, and no two bars of a thread overlap."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from entracte.cli.plan import app
from entracte.clock.timeline import predicted
from entracte.devices.null import NullDevice
from entracte.inspect.perfetto import COMPUTE, LOADER, WAITS, trace
from entracte.plan.file import write_plan
from entracte.run.record import FILE, write_run
from tests.inspection.hostile import NAME, hostile_plan
from tests.inspection.test_record import run
from tests.inspection.trace_schema import SCHEMA
from tests.planner.plans import make_plan, make_special_plan, plan_of
from tests.planner.programs import POLICIES, parts

VALIDATOR = Draft202012Validator(SCHEMA)


def checked(text: str) -> list[dict]:
    """The events of a trace, once everything about their form has been checked."""
    whole = json.loads(text)
    VALIDATOR.validate(whole)
    events = whole["traceEvents"]
    named = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    ends: dict[tuple[int, int], int] = {}
    for e in sorted(bars(events), key=lambda e: (ns(e["ts"]), ns(e["dur"]))):
        thread = (e["pid"], e["tid"])
        assert thread in named
        assert ns(e["ts"]) >= ends.get(thread, 0), f"{e['name']} overlaps the bar before it"
        ends[thread] = ns(e["ts"]) + ns(e["dur"])
    times: dict[tuple[int, str], float] = {}
    for e in events:
        if e["ph"] == "C":
            assert e["ts"] >= times.get((e["pid"], e["name"]), 0)
            times[e["pid"], e["name"]] = e["ts"]
    return events


def bars(events, pid=None, tid=None):
    chosen = [e for e in events if e["ph"] == "X"]
    return [e for e in chosen if pid in (None, e["pid"]) and tid in (None, e["tid"])]


def ns(microseconds: float) -> int:
    return round(microseconds * 1000)


def test_a_schema_that_refuses():
    """The validator is no rubber stamp."""
    whole = json.loads(trace(make_plan()))
    for change in (
        lambda e: e.update(ph="Q"),
        lambda e: e.update(ts="soon"),
        lambda e: e.pop("pid"),
        lambda e: e.update(dur=-1),
    ):
        broken = json.loads(json.dumps(whole))
        change(next(e for e in broken["traceEvents"] if e["ph"] == "X"))
        assert not VALIDATOR.is_valid(broken)


def test_the_trace_of_a_plan(golden):
    text = trace(make_special_plan())
    checked(text)
    golden.check(text)


@settings(max_examples=60, deadline=None)
@given(parts, st.sampled_from(POLICIES), st.integers(0, 400))
def test_any_plan_keeps_the_format(shape, policy, extra):
    plan = plan_of(shape, policy, extra)
    events = checked(trace(plan))
    timeline = predicted(plan)
    assert len(bars(events, 1, LOADER)) == plan.forecast.loads
    assert len(bars(events, 1, COMPUTE)) == sum(e.queue == "compute" for e in timeline.bars)
    waited = sum(e["dur"] for e in bars(events, 1, WAITS)) / 1e6
    assert waited == pytest.approx(plan.forecast.stall_s, abs=1e-6)
    memory = [e["args"] for e in events if e["name"] == "memory"]
    assert max(sum(a.values()) for a in memory) <= plan.forecast.peak_bytes


def test_a_recorded_run_stands_beside_the_prediction():
    plan = make_plan()
    made = run(plan, NullDevice(None, lambda *_: time.sleep(1e-3)))
    events = checked(trace(plan, made))
    names = {e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert names == {"predicted for toy", "observed on device null"}
    for tid in (LOADER, COMPUTE):
        assert len(bars(events, 1, tid)) == len(bars(events, 2, tid))
    loads = {e["args"]["bytes"] for e in bars(events, 2, LOADER)}
    assert loads == {f.weight_bytes for f in plan.facts}


def test_names_are_data():
    events = checked(trace(hostile_plan()))
    assert {e["name"] for e in bars(events)} >= {f"{NAME}.00"}


def test_the_command_writes_both_and_the_same_bytes_again(tmp_path):
    plan = make_plan()
    write_plan(plan, tmp_path)
    out = tmp_path / "trace.json"
    first = CliRunner().invoke(app, ["trace", str(tmp_path), "-o", str(out)])
    assert first.exit_code == 0 and "predicted run only" in first.output
    assert out.read_text() == trace(plan)
    write_run(run(plan, NullDevice(None)), tmp_path / FILE)
    both = CliRunner().invoke(app, ["trace", str(tmp_path), "-o", str(out)])
    assert "predicted and observed run" in both.output.replace("\n", " ")
    events = checked(out.read_text())
    assert {e["pid"] for e in events} == {1, 2}
    lost = CliRunner().invoke(app, ["trace", str(tmp_path), "-o", str(tmp_path / "no" / "t.json")])
    assert lost.exit_code == 1 and "cannot be written" in lost.output
