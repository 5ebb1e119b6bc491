"""The interpreter on the null device: any timing, never over the budget, always the same calls."""

import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.devices.null import NullDevice
from compiler.errors import RunError
from compiler.run import run_plan
from tests.planner.plans import plan_of
from tests.planner.programs import POLICIES, Part, parts


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
        for _ in range(g.count)
        for s in g.steps
        for _ in range(s.repeat)
    ]
    assert calls == expected
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes
    assert device.resident_bytes() == 0
    assert outcome.run.loaded_bytes == plan.forecast.loaded_bytes


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
    with pytest.raises(RunError, match="input 'promt': the plan's inputs are"):
        run_plan(plan, Path(), NullDevice(), {"promt": "x"}, constants={})
