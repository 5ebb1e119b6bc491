"""Inputs of chunks that are known before anything is emitted: for `compile`'s own comparison.

Where weights are real and one pass of the pipeline is cheap, the torch source runs once, each loop
for one iteration, and every chunk's inputs are recorded: their range is that of a real run.
Elsewhere what host steps and constants give is known (tokens, masks, timesteps), and no more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from entracte.disk.folder import make_folder
from entracte.disk.write import write_bytes
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

_CHEAP_FLOPS = 50e9
"""About a second of one core."""


def record_inputs(  # noqa: PLR0913 - read and written in different folders
    plan: Plan,
    stages: "Mapping[str, Traced]",
    source: "WeightSource",
    chunks: Sequence[str],
    folder: Path,
    place: Path,
) -> Path:
    """`place`, with a file `CHUNK.safetensors` of known inputs for each of `chunks` that has any,
    and one for each function with inputs of its own (`Chunk.interface`).

    Args:
        plan: its constants and files are in `folder`; packages are not looked at.
    """
    from entracte.lower.worker import run_task

    make_folder(place)
    device = SourceDevice({c.id: c for c in plan.chunks}, stages, source)
    is_run = _is_cheap(plan) and all(source.is_real(stage) for stage in stages.values())
    if is_run:
        for stage in stages.values():
            for function in stage.functions:
                stage.program_of(function)  # here, once: the process inherits it
    call: Callable[..., None] = _record if is_run else _sample
    run_task(call, (plan, folder, device, chunks, place), place.with_suffix(".log"))
    return place


def _is_cheap(plan: Plan) -> bool:
    """One pass, each loop once; a map's slices count one by one."""
    chunks = {c.id: c for c in plan.chunks}
    calls = [s for g in plan.program.segments for s in g.steps if isinstance(s, Call)]
    flops = (chunks[c.chunk].part_of(c.function).flops * c.repeat for c in calls)
    return sum(flops) <= _CHEAP_FLOPS


def _record(
    plan: Plan, folder: Path, device: SourceDevice, chunks: Sequence[str], place: Path
) -> None:
    """Run the source once and write what `chunks` were first called with."""
    wanted = set(_interfaces(plan, chunks))
    for interface, inputs in first_pass(plan, folder, device).items():
        if interface in wanted:
            _write(place, interface, inputs)


def _sample(plan: Plan, folder: Path, _: SourceDevice, chunks: Sequence[str], place: Path) -> None:
    known = known_inputs(plan, folder)
    for interface in _interfaces(plan, chunks):
        _write(place, interface, known(interface))


def _interfaces(plan: Plan, chunks: Sequence[str]) -> list[str]:
    """Those of the chunks, and of their functions that have inputs of their own."""
    known = [c for c in plan.chunks if c.id in chunks]
    return [c.interface(f) for c in known for f in ("main", *(v.name for v in c.others))]


def _write(place: Path, interface: str, inputs: Mapping[str, Any]) -> None:
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
    if arrays:
        write_bytes(place / f"{interface}.safetensors", save(arrays))


def first_pass(plan: Plan, folder: Path, device: SourceDevice) -> dict[str, dict[str, Any]]:
    """Interface -> inputs of its first call, from one pass in which every loop runs once."""
    run = _Pass(folder, device, Tensors(plan.program, device), {})
    run.tensors.give(plan.program, given_inputs(plan, {}), load_constants(plan, folder))
    for segment in plan.program.segments:
        run.once(segment)
    return run.found


@dataclass(frozen=True)
class _Pass:
    """Its working state."""

    folder: Path
    device: SourceDevice
    tensors: Tensors
    found: dict[str, dict[str, Any]]

    def once(self, segment: Segment) -> None:
        self.tensors.enter(segment)
        for step in segment.steps:
            if isinstance(step, HostStep):
                arrays = run_host_step(step, self.tensors.host_inputs(step), self.folder)
                self.tensors.put_arrays(step, arrays)
            else:
                self._call(step)
            self.tensors.end(step, segment)
        self.tensors.is_over(segment)
        self.tensors.move_state(segment)
        self.tensors.leave(segment, 1)

    def _call(self, step: Call) -> None:
        handle = self.device.handle(step.chunk)
        for index in range(step.repeat):
            inputs = self.tensors.inputs(step, index, 0)
            self.found.setdefault(handle.chunk.interface(step.function), dict(inputs))
            outputs = self.device.call(handle, step.function_at(0), inputs)
            self.tensors.put(step, index, 0, outputs)
