"""Inputs for chunks that are tried alone: real where they are cheap, drawn from a seed else."""

import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from entracte.ir import Binding, Call, DType, HostStep, Input, Plan, Port
from entracte.run.execute import load_constants
from entracte.run.host import run_host_step
from entracte.run.inputs import given_inputs

Inputs = dict[str, Any]


def sample_inputs(plan: Plan, folder: Path) -> Callable[[str], Inputs]:
    """Interface (`Chunk.interface`) -> inputs of its first call.

    What host steps and constants give is real (tokens, masks, noise, timesteps); what another chunk
    would compute is drawn from a normal distribution.
    """
    known = known_inputs(plan, folder)
    ports = _inputs(plan)

    def sample(interface: str) -> Inputs:
        found, wanted = known(interface), ports[interface]
        return {p.name: found[p.name] if p.name in found else _drawn(p) for p in wanted}

    return sample


def known_inputs(plan: Plan, folder: Path) -> Callable[[str], Inputs]:
    """Interface -> those inputs of its first call that host steps and constants give."""
    known = dict(load_constants(plan, folder)) | _host_values(plan, folder)
    chunks = {c.id: c for c in plan.chunks}
    calls: dict[str, Call] = {}
    for segment in plan.program.segments:
        for step in segment.steps:
            if isinstance(step, Call):
                calls.setdefault(chunks[step.chunk].interface(step.function), step)
    wanted = _inputs(plan)

    def find(interface: str) -> Inputs:
        ports = {p.name: p for p in wanted[interface]}
        found = {b.feature: _value(b, ports[b.feature], known) for b in calls[interface].inputs}
        return {name: value for name, value in found.items() if value is not None}

    return find


def tried_inputs(plan: Plan) -> dict[str, object]:
    """Of inputs without a default, what is tried in their place: no text, the least number or 0,
    noise in an image's, a video's or a sound's own range."""
    return {i.name: _tried(i) for i in plan.program.inputs if i.default is None}


def _tried(i: Input) -> object:
    if i.kind == "text":
        return ""
    if i.port is None:
        least = 0.0 if i.least is None else i.least
        value = least if i.most is None else min(least, i.most)
        return value if i.kind == "number" else math.ceil(value)
    if i.port.dtype is DType.INT32:
        # Any other number may be the place of nothing.
        return np.zeros(i.port.shape, np.int32)
    if i.kind == "tensor":
        return _drawn(i.port)
    generator = np.random.default_rng(zlib.crc32(i.name.encode()))
    return generator.uniform(i.low, i.high, i.port.shape).astype(np.float32)


def _inputs(plan: Plan) -> dict[str, tuple[Port, ...]]:
    """By interface."""
    names = (("main", *(v.name for v in c.others)) for c in plan.chunks)
    return {
        c.interface(f): c.ports_of(f)[0]
        for c, functions in zip(plan.chunks, names, strict=True)
        for f in functions
    }


def _host_values(plan: Plan, folder: Path) -> Inputs:
    given = given_inputs(plan, tried_inputs(plan))
    tensors = {t.name for t in plan.program.tensors}
    singles = {"number": np.float32, "choice": np.int32}
    found: Inputs = {
        i.name: np.array([given[i.name]], singles[i.kind]) if i.kind in singles else given[i.name]
        for i in plan.program.inputs
        if i.name in tensors
    }
    for segment in plan.program.segments:
        for step in segment.steps:
            if isinstance(step, HostStep):
                inputs = {p: found.get(v, given.get(v)) for p, v in step.inputs}
                if any(value is None for value in inputs.values()):
                    continue  # it reads what a chunk makes
                outputs = run_host_step(step, inputs, folder)
                found |= {b.tensor: outputs[b.feature] for b in step.outputs}
    return found


def _value(binding: Binding, port: Port, known: Mapping[str, Any]) -> Any:
    value = known.get(binding.tensor)
    if value is None:
        return None
    for window in binding.windows:
        begin = window.begin(0)
        value = np.take(value, range(begin, begin + window.size), axis=window.axis)
    return value if value is not None and tuple(np.shape(value)) == port.shape else None


def _drawn(port: Port) -> Any:
    generator = np.random.default_rng(zlib.crc32(port.name.encode()))
    if port.dtype is DType.INT32:
        return generator.integers(0, 16, port.shape, dtype=np.int32)
    width = np.float16 if port.dtype is DType.FP16 else np.float32
    return generator.standard_normal(port.shape, dtype=np.float32).astype(width)
