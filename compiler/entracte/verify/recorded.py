"""Inputs of chunks that are known before anything is emitted: for `compile`'s own comparison.

Where weights are real and one pass of the pipeline is cheap, the torch source runs once, each loop
for one iteration, and every chunk's inputs are recorded: their range is that of a real run.
Elsewhere what host steps and constants give is known (tokens, masks, timesteps), and no more.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from entracte.ir import Call, HostStep, Plan, Segment
from entracte.run.execute import load_constants
from entracte.run.host import run_host_step
from entracte.run.inputs import given_inputs
from entracte.run.tensors import Tensors
from entracte.verify.sampled import known_inputs
from entracte.verify.source import SourceDevice

if TYPE_CHECKING:
    from entracte.trace.traced import Traced
    from entracte.trace.weights import WeightSource

FOLDER = "logs/inputs"
"""Below the build folder while it is made."""
_CHEAP_FLOPS = 50e9
"""About a second of one core."""


def record_inputs(
    plan: Plan,
    stages: "Mapping[str, Traced]",
    source: "WeightSource",
    chunks: Sequence[str],
    folder: Path,
) -> Path:
    """A folder with a file `CHUNK.npz` of known inputs, for those of `chunks` that have any.

    Args:
        plan: unbuilt, with its constants and files in `folder`.
    """
    from entracte.lower.worker import run_task

    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    device = SourceDevice({c.id: c for c in plan.chunks}, stages, source)
    if _is_cheap(plan) and source.is_real:
        for stage in stages.values():
            for function in stage.functions:
                stage.program_of(function)  # here, once: the process inherits it
        task = _record
    else:
        task = _sample
    run_task(task, (plan, folder, device, chunks, place), place.with_suffix(".log"))
    return place


def _is_cheap(plan: Plan) -> bool:
    """One pass, each loop once; a map's slices count one by one."""
    flops = {c.id: c.flops for c in plan.chunks}
    calls = [s for g in plan.program.segments for s in g.steps if isinstance(s, Call)]
    return sum(flops[c.chunk] * c.repeat for c in calls) <= _CHEAP_FLOPS


def _record(
    plan: Plan, folder: Path, device: SourceDevice, chunks: Sequence[str], place: Path
) -> None:
    """Run the source once and write what `chunks` were first called with."""
    for chunk, inputs in first_pass(plan, folder, device).items():
        if chunk in chunks:
            np.savez(place / f"{chunk}.npz", **inputs)


def _sample(plan: Plan, folder: Path, _: SourceDevice, chunks: Sequence[str], place: Path) -> None:
    known = known_inputs(plan, folder)
    for chunk in chunks:
        np.savez(place / f"{chunk}.npz", **known(chunk))


def first_pass(plan: Plan, folder: Path, device: SourceDevice) -> dict[str, dict[str, Any]]:
    """Chunk -> inputs of its first call, from one pass in which every loop runs once."""
    tensors = Tensors(plan.program, device)
    tensors.give(plan.program, given_inputs(plan, {}), load_constants(plan, folder))
    found: dict[str, dict[str, Any]] = {}
    for segment in plan.program.segments:
        _once(plan, folder, device, tensors, segment, found)
    return found


def _once(
    plan: Plan,
    folder: Path,
    device: SourceDevice,
    tensors: Tensors,
    segment: Segment,
    found: dict[str, dict[str, Any]],
) -> None:
    tensors.enter(segment)
    for step in segment.steps:
        if isinstance(step, HostStep):
            arrays = run_host_step(step, tensors.host_inputs(step), folder)
            tensors.put_arrays(step, arrays)
        else:
            _call(step, device, device.handle(step.chunk), tensors, found)
        tensors.drop(step)
    tensors.is_over(segment)
    tensors.move_state(segment)
    tensors.leave(segment)


def _call(
    step: Call,
    device: SourceDevice,
    handle: Any,
    tensors: Tensors,
    found: dict[str, dict[str, Any]],
) -> None:
    slices: dict[str, list[Any]] = {b.feature: [] for b in step.outputs}
    for index in range(step.repeat):
        inputs = tensors.inputs(step, index, 0)
        found.setdefault(step.chunk, dict(inputs))
        outputs = device.call(handle, step.function_at(0), inputs)
        for feature, made in slices.items():
            made.append(outputs[feature])
    tensors.put(step, slices)
