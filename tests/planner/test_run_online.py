"""The runner under the online rule, on the null device and on real packages."""

import random
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.cli.observed import run_lines
from compiler.devices.null import NullDevice
from compiler.errors import PlanError, RunError
from compiler.ir import Policy
from compiler.online_table import table_of
from compiler.plan import check_plan
from compiler.run import run_plan
from tests.planner.plans import plan_of
from tests.planner.programs import Part, parts
from tests.planner.test_run_null import ender
from tests.planner.test_run_reference import COUNT, SIZE, folder, plan_of_loop

ONLINE = Policy("online", 1_000_000, True, "online")
__all__ = ["folder"]


def run(plan, device):
    return run_plan(plan, Path("nowhere"), device, {}, constants={"x": np.zeros(4, np.float16)})


def calls_of(plan, ends):
    return [
        s.chunk
        for g in plan.program.segments
        for _ in range(ends[g.name] if g.until else g.count)
        for s in g.steps
        for _ in range(s.repeat)
    ]


@settings(max_examples=150, deadline=None)
@given(parts, st.integers(0, 400), st.integers(0, 2**32), st.booleans())
def test_any_timing_and_early_end_stay_within_the_claimed_peak(shape, extra, seed, early):
    """The device's ledger refuses an overrun, a double load and a call of what is not there."""
    plan = plan_of(shape, ONLINE, extra)
    rng = random.Random(seed)
    ends = {g.name: rng.randint(1, g.count) if early else g.count for g in plan.program.segments}
    device = NullDevice(
        plan.forecast.peak_bytes,
        lambda *_: time.sleep(rng.choice((0, 0, 0, 2e-4))),
        ender(plan, ends),
    )
    outcome = run(plan, device)
    assert [c for what, c in device.log if what == "call"] == calls_of(plan, ends)
    assert dict(outcome.run.iterations) == {
        g.name: ends[g.name] for g in plan.program.segments if g.until
    }
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes
    assert device.resident_bytes() == 0
    loads = [c for what, c in device.log if what == "load"]
    assert outcome.run.loaded_bytes == sum(
        next(p.weight_bytes for p in plan.packages if p.chunk == c) for c in loads
    )


def test_it_loads_while_it_computes():
    """The first call does not return before the next chunk's load has begun."""
    plan = plan_of((Part(3, (70, 80, 90)),), ONLINE, 90)
    begun = threading.Event()

    def pause(what, chunk):
        if (what, chunk) == ("load", "c0.01"):
            begun.set()
        if (what, chunk) == ("call", "c0.00"):
            assert begun.wait(5.0)

    run(plan, NullDevice(plan.forecast.peak_bytes, pause))


@pytest.mark.parametrize(("when", "chunk"), [("load", "c0.01"), ("call", "c0.01")])
def test_a_failure_ends_the_run_with_its_error_and_frees_everything(when, chunk):
    plan = plan_of((Part(3, (50, 60)),), ONLINE, 0)

    def pause(what, name):
        if (what, name) == (when, chunk):
            raise RunError("the disk is gone")

    device = NullDevice(plan.forecast.peak_bytes, pause)
    with pytest.raises(RunError, match="the disk is gone"):
        run(plan, device)
    # A load that failed leaves what the device made of it; the runner never had its handle.
    assert device.resident_bytes() == (60 if when == "load" else 0)


def test_a_plan_is_checked_for_what_the_rule_needs():
    plan = plan_of((Part(3, (50, 60)),), ONLINE, 30)
    check_plan(plan)
    assert table_of(plan).budget_bytes == plan.target.budget_bytes
    tight = replace(plan, schedule=replace(plan.schedule, budget_bytes=60))
    with pytest.raises(PlanError):
        table_of(tight)


def test_a_real_loop_ends_early_and_switches_functions(folder):  # noqa: F811
    """As tests/planner/test_run_reference has it for gates: 2 + 2 + 1 + 1 + 1 = 7 > 6.5."""
    from compiler.devices.reference import ReferenceDevice

    plan, device = plan_of_loop(ONLINE), ReferenceDevice()
    zeros = np.zeros(SIZE, np.float32)
    outcome = run_plan(plan, folder, device, {}, constants={"zeros": zeros})
    wanted = np.where(np.arange(SIZE) % 2, 3.5, 7.0).astype(np.float32)
    np.testing.assert_array_equal(outcome.output, wanted)
    assert outcome.run.iterations == (("loop", 5),) and COUNT > 5
    assert outcome.run.chunks[0].loads == 1
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes
    assert device.resident_bytes() == 0


def test_plan_run_says_that_the_rule_decided():
    plan = plan_of((Part(2, (50, 60)),), ONLINE, 30)
    lines = run_lines(plan, run(plan, NullDevice(plan.forecast.peak_bytes)).run)
    assert any("the online rule decided" in line for line in lines)
