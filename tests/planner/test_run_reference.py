"""A loop that ends early and changes its function: a real package on the reference device."""

import logging
import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from entracte.check.proof import check
from entracte.cost import emitted_facts
from entracte.ir import (
    Binding,
    Bundle,
    Call,
    Chunk,
    DType,
    Package,
    Port,
    Program,
    Segment,
    TensorDecl,
    Variant,
)
from entracte.plan.file import check_plan
from entracte.plan.forecast import forecast
from entracte.program.assemble import with_frees
from entracte.program.workload import Workload
from entracte.run.runner import run_plan
from entracte.schedule.choose import make_schedule
from tests.planner.plans import make_plan, make_target
from tests.planner.programs import DOUBLE_BUFFER, SEQUENTIAL, whole

os.environ.setdefault("TQDM_DISABLE", "1")
COUNT, SIZE, WEIGHT_BYTES = 8, 256, 1024
X, Y = Port("x", (SIZE,), DType.FP32), Port("y", (SIZE,), DType.FP32)
DONE = Port("done", (1,), DType.FP32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One package, two functions on one weight of ones: `main` adds it once, `merged` twice.

    `done` is 1 where the first element exceeds 6.5.
    """
    import coremltools as ct

    logging.getLogger("coremltools").setLevel(logging.ERROR)
    made = tmp_path_factory.mktemp("loop")
    both = ct.utils.MultiFunctionDescriptor()
    for name, times in (("main", 1.0), ("merged", 2.0)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = ct.convert(
                _program(times),
                convert_to="mlprogram",
                compute_precision=ct.precision.FLOAT32,
                minimum_deployment_target=ct.target.iOS18,
                skip_model_load=True,
            )
        model.save(str(made / f"{name}.mlpackage"))
        both.add_function(str(made / f"{name}.mlpackage"), "main", name)
    both.default_function_name = "main"
    ct.utils.save_multifunction(both, str(made / "both.mlpackage"))
    return made


def _program(times: float):
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

    # Not all equal, or the converter stores one number.
    weight = np.ones(SIZE, np.float32)
    weight[1::2] = 0.5

    @mb.program(input_specs=[mb.TensorSpec(shape=(SIZE,))], opset_version=ct.target.iOS18)
    def add(x):
        y = mb.add(x=x, y=weight) if times == 1.0 else mb.add(x=mb.add(x=x, y=weight), y=weight)
        y = mb.identity(x=y, name="y")
        first = mb.slice_by_index(x=y, begin=[0], end=[1])
        return y, mb.cast(x=mb.greater(x=first, y=6.5), dtype="fp32", name="done")

    return add


def plan_of_loop(policy):
    """Eight iterations at most, the first two with `merged`; the state starts with zeros."""
    variant = Variant(name="merged", start=0, stop=2, activation_bytes=4200, flops=2, moved_bytes=2)
    chunk = Chunk(
        id="step.00",
        graph="step",
        start=0,
        stop=1,
        inputs=(X,),
        outputs=(Y, DONE),
        weight_bytes=WEIGHT_BYTES,
        activation_bytes=4200,
        flops=1,
        moved_bytes=1,
        variants=(variant,),
    )
    package = Package(
        chunk=chunk.id,
        path="both.mlpackage",
        digest="0" * 64,
        file_bytes=WEIGHT_BYTES,
        weight_bytes=WEIGHT_BYTES,
        activation_bytes=4200,
        precision="fp32",
        compression="none",
        inputs=chunk.inputs,
        outputs=chunk.outputs,
        functions=("main", "merged"),
    )
    call = Call(
        stage="step",
        chunk=chunk.id,
        inputs=(Binding("x", "loop.z"),),
        outputs=(Binding("y", "step.y"), Binding("done", "step.done")),
        switch=(("merged", 2),),
    )
    loop = Segment(
        name="loop",
        count=COUNT,
        steps=(call,),
        state=(("loop.z", "zeros", "step.y"),),
        until="step.done",
    )
    names = ("zeros", "loop.z", "step.y")
    tensors = [TensorDecl(replace(Y, name=n)) for n in names]
    program = with_frees(
        Program(
            inputs=(),
            constants=(replace(Y, name="zeros"),),
            tensors=(*tensors, TensorDecl(replace(DONE, name="step.done"))),
            segments=(loop,),
            outputs=(whole("loop.z"),),
        )
    )
    target = make_target(20_000)
    facts = emitted_facts((chunk,), Bundle((package,)), target)
    workload = Workload.on(target, program, facts)
    schedule = make_schedule(workload, policy)
    proof = check(program, facts, schedule, budget_bytes=target.budget_bytes)
    plan = replace(
        make_plan(),
        target=target,
        program=program,
        chunks=(chunk,),
        packages=(package,),
        facts=facts,
        schedule=schedule,
        forecast=forecast(workload, schedule, proof),
    )
    check_plan(plan)
    return plan


@pytest.mark.parametrize(("policy", "loads"), [(DOUBLE_BUFFER, 1), (SEQUENTIAL, 1)])
def test_it_ends_when_done_says_so_and_switches_without_a_reload(folder, policy, loads):
    """2 + 2 + 1 + 1 + 1 = 7 is the first sum above 6.5: five of eight iterations."""
    from entracte.devices.reference import ReferenceDevice

    held = []

    class Watched(ReferenceDevice):
        def call(self, handle, function, inputs):
            held.append((function, self.resident_bytes()))
            return super().call(handle, function, inputs)

    device, plan = Watched(), plan_of_loop(policy)
    zeros = np.zeros(SIZE, np.float32)
    outcome = run_plan(plan, folder, device, {}, constants={"zeros": zeros})
    # Sums of halves are exact in fp32.
    wanted = np.where(np.arange(SIZE) % 2, 3.5, 7.0).astype(np.float32)
    np.testing.assert_array_equal(outcome.output, wanted)
    assert outcome.run.iterations == (("loop", 5),)
    assert outcome.run.chunks[0].loads == loads
    assert [function for function, _ in held] == ["merged"] * 2 + ["main"] * 3
    # Both functions are there, the weight once; what is not weights is a few small constants.
    assert all(WEIGHT_BYTES <= size < 1.5 * WEIGHT_BYTES for _, size in held)
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes
    assert device.resident_bytes() == 0


def test_it_ends_with_its_count_when_nothing_says_so(folder):
    from entracte.devices.reference import ReferenceDevice

    start = np.full(SIZE, -100.0, np.float32)
    plan = plan_of_loop(DOUBLE_BUFFER)
    outcome = run_plan(plan, folder, ReferenceDevice(), {}, constants={"zeros": start})
    assert outcome.run.iterations == (("loop", COUNT),)
    assert outcome.output[0] == -100 + 2 * 2 + 6 * 1
