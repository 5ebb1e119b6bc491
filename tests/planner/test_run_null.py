"""The interpreter on the null device: any timing, never over the budget, always the same calls."""

import random
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entracte.devices.null import NullDevice
from entracte.errors import RunError
from entracte.run.runner import run_plan
from tests.planner.plans import ONLINE, plan_of
from tests.planner.programs import DOUBLE_BUFFER, POLICIES, Part, parts


def run(plan, device):
    constants = {"x": np.zeros((4,), np.float16)}
    return run_plan(plan, Path("nowhere"), device, {}, constants=constants)


@settings(max_examples=60, deadline=None)
@given(parts, st.sampled_from(POLICIES), st.integers(0, 400), st.integers(0, 2**32))
def test_any_timing_stays_within_the_proven_peak(shape, policy, extra, seed):
    plan = plan_of(shape, policy, extra)
    rng = random.Random(seed)
    device = NullDevice(
        plan.forecast.peak_bytes, lambda *_: time.sleep(rng.choice((0, 0, 0, 2e-4)))
    )
    outcome = run(plan, device)
    calls = [c for what, c in device.log if what == "call"]
    expected = [
        s.chunk
        for g in plan.program.segments
        for i in range(g.count)
        for s in g.steps
        if not s.at or i in s.at
        for _ in range(s.repeat)
    ]
    assert calls == expected
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes
    assert device.resident_bytes() == 0
    if plan.schedule.driver == "gates":
        # What the online rule loads depends on the times.
        assert outcome.run.loaded_bytes == plan.forecast.loaded_bytes


def ender(plan, ends):
    """What `number` of the null device says so that each loop ends after `ends` iterations."""
    done = {g.name: 0 for g in plan.program.segments}
    made = {g.steps[0].chunk: g for g in plan.program.segments if g.until is not None}

    def number(chunk, output):
        if output != "done":
            return 0.0
        segment = made[chunk]
        done[segment.name] += 1
        # Any number that is not zero ends the loop, in the last iteration too.
        return -0.5 if done[segment.name] >= ends[segment.name] else 0.0

    return number


def erratic(plan, seed, early=True):
    """A null device whose loads and calls take any time, within the claim; and by segment after how
    many iterations it ends the loop, all of them where not `early`."""
    rng = random.Random(seed)
    ends = {g.name: rng.randint(1, g.count) if early else g.count for g in plan.program.segments}
    device = NullDevice(
        plan.forecast.peak_bytes,
        lambda *_: time.sleep(rng.choice((0, 0, 0, 2e-4))),
        ender(plan, ends),
    )
    return device, ends


@settings(max_examples=150, deadline=None)
@given(parts, st.sampled_from(POLICIES), st.integers(0, 400), st.integers(0, 2**32))
def test_loops_end_early_under_any_timing(shape, policy, extra, seed):
    """The device's ledger refuses an overrun, a double load and a call of what is not there."""
    plan = plan_of(shape, policy, extra)
    device, ends = erratic(plan, seed)
    outcome = run(plan, device)
    expected = [
        s.chunk
        for g in plan.program.segments
        for i in range(ends[g.name] if g.until else g.count)
        for s in g.steps
        if not s.at or i in s.at
        for _ in range(s.repeat)
    ]
    assert [c for what, c in device.log if what == "call"] == expected
    assert dict(outcome.run.iterations) == {
        g.name: ends[g.name] for g in plan.program.segments if g.until
    }
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes
    assert device.resident_bytes() == 0


def test_a_load_in_flight_is_finished_and_dropped_before_later_loads():
    """The loop ends while its first chunk is being loaded for the iteration that does not come."""
    shape = (Part(9, (100, 100), until=True), Part(1, (100,)))
    plan = plan_of(shape, replace(POLICIES[1], retain=False), 100)
    begun, slow = threading.Event(), threading.Event()
    seen = []

    def pause(what, chunk):
        seen.append((what, chunk))
        if (what, chunk) == ("load", "c0.00") and seen.count((what, chunk)) == 3:
            begun.set()
            assert slow.wait(5.0)
        if (what, chunk) == ("call", "c0.01") and seen.count((what, chunk)) == 2:
            assert begun.wait(5.0)
            threading.Timer(0.05, slow.set).start()

    device = NullDevice(plan.forecast.peak_bytes, pause, ender(plan, {"p0": 2, "p1": 1}))
    run(plan, device)
    assert device.log[-5:] == [
        ("free", "c0.01"),
        ("free", "c0.00"),
        ("load", "c1.00"),
        ("call", "c1.00"),
        ("free", "c1.00"),
    ]
    assert device.log.count(("load", "c0.00")) == 3


@pytest.mark.parametrize(
    "policy", [replace(DOUBLE_BUFFER, retain=False), ONLINE], ids=lambda p: p.name
)
def test_a_load_that_was_only_decided_when_the_last_loop_ended_is_dropped(policy):
    """The loader may not have begun it yet; without a pause that is so in half of the runs."""
    plan = plan_of((Part(9, (100, 100, 100), until=True),), policy, 100)
    for _ in range(40):
        device = NullDevice(plan.forecast.peak_bytes, number=ender(plan, {"p0": 2}))
        outcome = run(plan, device)
        assert outcome.run.iterations == (("p0", 2),)
        assert device.resident_bytes() == 0


def test_each_iteration_calls_its_function():
    plan = plan_of((Part(5, (50, 60), switch=2),), POLICIES[1], 10_000)
    called = []

    class Listening(NullDevice):
        def call(self, handle, function, inputs):
            called.append((handle.chunk, function))
            return super().call(handle, function, inputs)

    device = Listening(plan.forecast.peak_bytes)
    outcome = run(plan, device)
    functions = ["merged"] * 2 + ["main"] * 3
    assert called == [(c, f) for f in functions for c in ("c0.00", "c0.01")]
    assert outcome.run.loaded_bytes == 110
    assert outcome.run.iterations == ()


def test_a_failing_load_ends_the_run_with_its_error():
    plan = plan_of((Part(3, (50, 60)),), POLICIES[1], 0)

    def pause(what, chunk):
        if what == "load" and chunk == "c0.01":
            raise RunError("the disk is gone")

    device = NullDevice(plan.forecast.peak_bytes, pause)
    with pytest.raises(RunError, match="the disk is gone"):
        run(plan, device)


def test_a_failing_call_ends_the_run_and_frees_everything():
    plan = plan_of((Part(3, (50, 60)),), POLICIES[1], 200)

    def pause(what, chunk):
        if what == "call" and chunk == "c0.01":
            raise RunError("no such operation")

    device = NullDevice(plan.forecast.peak_bytes, pause)
    with pytest.raises(RunError, match="no such operation"):
        run(plan, device)
    assert device.resident_bytes() == 0


def test_unknown_and_missing_inputs_are_named():
    plan = plan_of((Part(1, (5,)),), POLICIES[0], 0)
    with pytest.raises(RunError, match="input 'promt': the plan has no inputs"):
        run_plan(plan, Path(), NullDevice(), {"promt": "x"}, constants={})
