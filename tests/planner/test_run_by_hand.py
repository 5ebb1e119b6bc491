"""The interpreter against the same sampler in plain numpy, and what it notes against sums on paper.

Chunks are Python functions here, so every slice, slot, row, state and axis has its own right value;
nothing of the runner or of a device is shared.
"""

import threading
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from entracte.check.proof import check
from entracte.declare.host_ops import random_normal
from entracte.devices.null import NullDevice
from entracte.errors import PlanError, RunError
from entracte.ir import Binding, DType, HostStep, Output, Port, TensorDecl
from entracte.plan.forecast import forecast
from entracte.program.workload import Workload
from entracte.run.runner import run_plan
from entracte.schedule.choose import make_schedule
from tests.planner.plans import plan_of
from tests.planner.programs import DOUBLE_BUFFER, ONLINE, SEQUENTIAL, Part
from tests.planner.test_check_plan import PLAN
from tests.planner.test_run_null import ender

TABLE = np.array([[1, 2], [30, 40], [500, 600]], np.float32)
IDS = np.arange(8, dtype=np.int32)[None]


def embed(ids, row):
    return {"e": (row[:, :1] + ids[:, :4]).astype(np.float16)}


def step(z, row, e, g):
    return {"next": np.float32(0.5) * z + row[0, 1] + g * e.astype(np.float32)}


def decode(z):
    return {"v": np.ascontiguousarray(z.T) + 1}


class NumpyDevice:
    """Chunks as functions; what is loaded weighs 100 each, a call needs 50."""

    name = "numpy"
    one_function = False

    def __init__(self):
        self.loaded, self.log = [], []

    def load(self, package, folder, function="main"):
        self.loaded.append(package.chunk)
        self.log.append(("load", package.chunk))
        return package

    def call(self, handle, function, inputs):
        assert handle.chunk in self.loaded
        return {"embed": embed, "step": step, "decode": decode}[handle.chunk](**inputs)

    def free(self, handle):
        self.loaded.remove(handle.chunk)

    def resident_bytes(self):
        return 100 * len(self.loaded)

    def activation_peak_bytes(self):
        return 50

    def make(self, array):
        return array

    def fetch(self, value):
        return value

    def zeros(self, shape, dtype):
        return np.zeros(shape, {"fp16": "f2", "fp32": "f4", "int32": "i4"}[dtype])

    def cast(self, value, dtype):
        return value.astype({"fp16": "f2", "fp32": "f4", "int32": "i4"}[dtype])

    def piece(self, value, where, sizes):
        for (axis, start), size in zip(where, sizes, strict=True):
            value = np.take(value, range(start, start + size), axis)
        return value

    def place(self, value, where, piece, *, add=False):
        grid = [np.arange(n) for n in piece.shape]
        for axis, start in where:
            grid[axis] = grid[axis] + start
        value[np.ix_(*grid)] = piece + (value[np.ix_(*grid)] if add else 0)


def sampler(policy):
    """`PLAN` with ids as a constant: no tokenizer is needed."""
    first, *rest = PLAN.program.segments
    first = replace(first, steps=first.steps[1:])
    tensors = tuple(t for t in PLAN.program.tensors if t.name != "mask")
    program = replace(
        PLAN.program,
        inputs=PLAN.program.inputs[1:],
        constants=(*PLAN.program.constants, Port("ids", (1, 8), DType.INT32)),
        tensors=tensors,
        segments=(first, *rest),
    )
    workload = Workload.on(PLAN.target, program, PLAN.facts)
    schedule = make_schedule(workload, policy)
    proof = check(program, PLAN.facts, schedule, budget_bytes=2000)
    promise = forecast(workload, schedule, proof)
    return replace(PLAN, program=program, schedule=schedule, forecast=promise)


def by_hand(seed, scale):
    z = random_normal(seed, (6, 4))
    for k in range(3):
        e = (TABLE[k : k + 1, :1] + IDS[:, :4]).astype(np.float16).astype(np.float32)
        z = np.float32(0.5) * z + TABLE[k, 1] + np.float32(scale) * e
    # Two rows at a time, each turned, side by side: 4 rows of 6.
    return np.concatenate([z[0:2].T, z[2:4].T, z[4:6].T], axis=1) + 1


def run(plan, device, **inputs):
    constants = {"table": TABLE, "ids": IDS}
    return run_plan(plan, Path("nowhere"), device, inputs, constants=constants)


@pytest.mark.parametrize("policy", [SEQUENTIAL, DOUBLE_BUFFER, ONLINE], ids=lambda p: p.name)
def test_the_sampler_is_what_it_is_in_numpy(policy):
    plan, device = sampler(policy), NumpyDevice()
    outcome = run(plan, device, seed=7, scale=2.5)
    np.testing.assert_array_equal(outcome.output, by_hand(7, 2.5))
    assert not device.loaded
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes


def test_what_a_loops_last_iteration_made_is_an_output_too():
    plan = sampler(SEQUENTIAL)
    first, loop, last = plan.program.segments
    (call,) = loop.steps
    call = replace(call, outputs=(*call.outputs, Binding("next", "made")))
    program = replace(
        plan.program,
        segments=(first, replace(loop, steps=(call,)), last),
        tensors=(*plan.program.tensors, TensorDecl(Port("made", (6, 4), DType.FP32))),
        outputs=(*plan.program.outputs, Output("made", "tensor", ("made",), 0)),
    )
    proof = check(program, plan.facts, plan.schedule, budget_bytes=2000)
    promise = forecast(Workload.on(plan.target, program, plan.facts), plan.schedule, proof)
    outcome = run(replace(plan, program=program, forecast=promise), NumpyDevice(), seed=7)
    np.testing.assert_array_equal(outcome.outputs["video"], by_hand(7, 4.0))
    np.testing.assert_array_equal(outcome.outputs["made"].T + 1, by_hand(7, 4.0))
    assert dict(outcome.run.outputs) == {"video": 1, "made": 1}


def test_what_is_observed_by_hand():
    """One chunk at a time: in the loop its 100, the tensors 24 + 4 + 96 + 24 + 96 + 96, and 50."""
    plan, device = sampler(SEQUENTIAL), NumpyDevice()
    made = run(plan, device).run
    assert made.peak_bytes == 100 + 340 + 50 == plan.forecast.peak_bytes
    loads = [c for _, c in device.log]
    assert made.loaded_bytes == 100 * len(loads)
    assert {c.chunk: (c.loads, c.calls) for c in made.chunks} == {
        "embed": (1, 3), "step": (loads.count("step"), 3), "decode": (1, 3)
    }  # fmt: skip
    assert all(c.peak_activation_bytes == 50 for c in made.chunks)
    bars = [(b.queue, b.label) for b in made.bars if b.queue != "load"]
    assert bars.count(("compute", "step")) == 3
    assert sum(b.size_bytes for b in made.bars if b.queue == "free") == made.loaded_bytes


def test_waiting_is_noted():
    class Slow(NumpyDevice):
        def load(self, package, folder, function="main"):
            threading.Event().wait(0.02)
            return super().load(package, folder, function)

    made = run(sampler(SEQUENTIAL), Slow()).run
    # Each load is waited for; but not all of each: the host step before the first is not.
    assert made.stall_s > 0.04


def test_what_the_loop_read_is_dropped_at_its_end():
    seen = {}

    class Watching(NumpyDevice):
        def make(self, array):
            own = array.copy()
            seen[own.shape] = weakref.ref(own)
            return own

        def call(self, handle, function, inputs):
            there = {shape for shape, ref in seen.items() if ref() is not None}
            assert ((3, 2) in there) == (handle.chunk != "decode")
            # The noise is the state's first value; ids are read by embed only.
            assert ((6, 4) in there) == (handle.chunk != "decode")
            assert ((1, 8) in there) == (handle.chunk == "embed")
            return super().call(handle, function, inputs)

    run(sampler(SEQUENTIAL), Watching())
    assert {(3, 2), (6, 4), (1, 8)} <= seen.keys()


def test_noise_of_another_shape_than_its_tensor_is_never_made(monkeypatch):
    """Nor is anything loaded."""

    def made(*_):
        raise AssertionError("it was made")

    plan, device = sampler(SEQUENTIAL), NumpyDevice()
    monkeypatch.setattr("entracte.declare.host_ops.noise.random_normal", made)
    first, *rest = plan.program.segments
    host = first.steps[0]
    assert isinstance(host, HostStep)
    for shape, message in (((6, 5), "tensor noise is fp32"), ((2**40, 2**40), "67108864 elements")):
        steps = (replace(host, params=(("shape", shape),)), *first.steps[1:])
        program = replace(plan.program, segments=(replace(first, steps=steps), *rest))
        with pytest.raises(PlanError, match=message):
            run(replace(plan, program=program), device)
    assert not device.log


def test_a_load_that_fails_after_the_last_loop_ended_is_told():
    """Nobody waits for it any more."""
    policy = replace(DOUBLE_BUFFER, retain=False)
    plan = plan_of((Part(9, (100, 100), until=True),), policy, 100)
    begun, seen = threading.Event(), []

    def pause(what, chunk):
        seen.append((what, chunk))
        if (what, chunk) == ("load", "c0.00") and seen.count((what, chunk)) == 3:
            begun.set()
            threading.Event().wait(0.05)
            raise RunError("the disk is gone")
        if (what, chunk) == ("call", "c0.01") and seen.count((what, chunk)) == 2:
            assert begun.wait(5.0)

    device = NullDevice(plan.forecast.peak_bytes, pause, ender(plan, {"p0": 2}))
    constants = {"x": np.zeros((4,), np.float16)}
    with pytest.raises(RunError, match="the disk is gone"):
        run_plan(plan, Path("nowhere"), device, {}, constants=constants)
