"""Emitted packages against the torch source: per chunk on real inputs, and end to end.

The source of a chunk is the very piece of the exported graph it was converted from, in fp32.
Its inputs are recorded from a run of the packages, so every chunk is judged by itself; the
end-to-end comparison runs the whole plan twice, once on packages and once on sources.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import OmegaConf

from compiler.devices import Device
from compiler.devices.arrays import NumpyValues
from compiler.errors import PlanError
from compiler.execute import execute
from compiler.ir import Chunk, DType, Package, Plan, StageGraph
from compiler.partition import Measured
from compiler.read import Job, read
from compiler.run import Progress
from compiler.settings import CompileSettings

if TYPE_CHECKING:
    from compiler.trace.traced import Traced

GATES_DB = {
    # Apple's Core AI guidance: fp32 above 70, fp16 above 50 (investigate below 40), 4-bit about
    # 40 (investigate below 30); whisperkittools and ml-stable-diffusion use 35 for fp16.
    "fp32": 70.0,
    "fp16": 40.0,
    "int8": 30.0,
    "palette8": 30.0,
    "palette6": 25.0,
    "palette4": 15.0,
    "int4_block32": 15.0,
}
_SAMPLED_CALLS = (1, 8, 64)
"""Calls of each chunk that are compared: early and late in a loop, without keeping all of it."""


@dataclass(frozen=True, slots=True)
class ChunkScore:
    chunk: str
    psnr_db: float
    max_error: float
    gate_db: float
    calls: int

    @property
    def passed(self) -> bool:
        return self.psnr_db >= self.gate_db


@dataclass(frozen=True, slots=True)
class Verification:
    chunks: tuple[ChunkScore, ...]
    video_psnr_db: float
    video_max_error: float
    video_gate_db: float

    @property
    def passed(self) -> bool:
        whole = self.video_psnr_db >= self.video_gate_db
        return whole and all(c.passed for c in self.chunks)


def psnr(reference: np.ndarray, other: np.ndarray) -> float:
    """20 log10(max |reference| / root mean square error) in dB; infinite when equal."""
    wanted = np.asarray(reference, np.float64)
    error = np.asarray(other, np.float64) - wanted
    if not np.isfinite(error).all():
        return -math.inf
    rms = math.sqrt(float(np.mean(error**2))) if error.size else 0.0
    peak = float(np.abs(wanted).max()) if wanted.size else 0.0
    if rms == 0.0:
        return math.inf
    return 20 * math.log10(peak / rms) if peak > 0 else -math.inf


def job_of(plan: Plan) -> Job:
    """The job that made a plan, from the settings recorded in it."""
    settings = OmegaConf.merge(OmegaConf.structured(CompileSettings), json.loads(plan.settings))
    assert OmegaConf.is_dict(settings)
    return read(settings)  # type: ignore[arg-type]


def verify_plan(
    plan: Plan,
    folder: Path,
    device: Device,
    inputs: Mapping[str, object],
    progress: Progress = lambda *_: None,
) -> Verification:
    """Compare every package, and the whole video, with the torch source."""
    source = SourceDevice.of(plan)
    recorder = _Recorder()
    emitted = execute(plan, folder, device, inputs, progress=progress, observe=recorder.note)
    wanted = execute(plan, folder, source, inputs, progress=progress)
    scores = tuple(_score(p, folder, source, recorder.samples[p.chunk]) for p in plan.packages)
    error = np.abs(np.asarray(emitted.output, np.float64) - wanted.output)
    return Verification(
        chunks=scores,
        video_psnr_db=psnr(wanted.output, emitted.output),
        video_max_error=float(error.max()),
        # A video passes the gate of its least precise stage.
        video_gate_db=min(_gate(p) for p in plan.packages),
    )


def with_scores(plan: Plan, verification: Verification) -> Plan:
    """The plan with each package's PSNR recorded (capped: JSON has no infinity)."""
    score = {c.chunk: min(c.psnr_db, 999.0) for c in verification.chunks}
    packages = tuple(replace(p, psnr_db=score[p.chunk]) for p in plan.packages)
    return replace(plan, packages=packages)


def _gate(package: Package) -> float:
    kind = package.precision if package.compression == "none" else package.compression
    return GATES_DB[kind]


@dataclass
class _Recorder:
    """Keeps the inputs of a few calls of each chunk."""

    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def note(self, chunk: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        count = self.seen[chunk] = self.seen.get(chunk, 0) + 1
        if count in _SAMPLED_CALLS:
            self.samples.setdefault(chunk, []).append(dict(inputs))


def _score(
    package: Package,
    folder: Path,
    source: "SourceDevice",
    samples: list[dict[str, Any]],
) -> ChunkScore:
    """A package through the public door, as anyone may call it, against its source."""
    from compiler.reference import Model

    handle = source.load(package, folder)
    worst, largest = math.inf, 0.0
    with Model(folder / package.path) as model:
        for inputs in samples:
            wanted, found = source.call(handle, "main", inputs), model.predict(inputs)
            for name, value in wanted.items():
                # Core ML has no rank-0 outputs: they come as (1,).
                given = found[name].reshape(value.shape)
                worst = min(worst, psnr(value, given))
                error = np.abs(np.asarray(given, np.float64) - value)
                largest = max(largest, float(error.max()))
    return ChunkScore(package.chunk, worst, largest, _gate(package), len(samples))


class SourceDevice(NumpyValues):
    """Executes the torch source of each chunk in fp32: the plan, without the packages."""

    name = "source"

    def __init__(self, find: Callable[[str], tuple["Traced", Chunk, Any]]) -> None:
        self._find = find

    @classmethod
    def of(cls, plan: Plan) -> "SourceDevice":
        """Retrace what the plan was compiled from. Raises `PlanError` if it has changed."""
        from compiler.trace.weights import weight_source
        from compiler.trace.wire import trace_pipeline

        job = job_of(plan)
        traced = trace_pipeline(job.pipeline)
        source = weight_source(job.pipeline.weights)
        chunks = {c.id: c for c in plan.chunks}

        @cache  # a streaming plan loads a chunk in every iteration
        def find(name: str) -> "tuple[Traced, Chunk, Any]":
            chunk = chunks[name]
            for stage in traced.stages.values():
                for part in stage.parts:
                    if part.name == chunk.graph:
                        _check_same(Measured(part), chunk)
                        return stage, chunk, source.tensors(stage, _weights_of(part, chunk))
            raise PlanError(f"plan: no stage of the pipeline makes {chunk.graph} any more")

        return cls(find)

    def load(self, package: Package, folder: Path, function: str = "main") -> Any:
        from compiler.make import chunk_module

        traced, chunk, tensors = self._find(package.chunk)
        return chunk, chunk_module(traced, chunk, tensors)

    def call(self, handle: Any, function: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        import torch

        chunk, module = handle
        given = [_source_input(inputs[p.name], p.dtype) for p in chunk.inputs]
        with torch.inference_mode():
            outputs = module(*given)
        named = zip(chunk.outputs, outputs, strict=True)
        return {port.name: value.numpy() for port, value in named}

    def free(self, handle: Any) -> None:
        """Nothing to do: the module goes with its last reference."""

    def resident_bytes(self) -> int:
        return 0

    def activation_peak_bytes(self) -> int:
        return 0


def _weights_of(part: StageGraph, chunk: Chunk) -> set[str]:
    return {w for op in part.ops[chunk.start : chunk.stop] for w in op.weights}


def _source_input(value: Any, dtype: DType) -> Any:
    import torch

    wanted = np.int32 if dtype is DType.INT32 else np.float32
    return torch.from_numpy(np.array(value, dtype=wanted))


def _check_same(measured: Measured, chunk: Chunk) -> None:
    index = int(chunk.id.rsplit(".", 1)[1])
    if measured.chunk(chunk.start, chunk.stop, index) != chunk:
        raise PlanError(
            f"plan: chunk {chunk.id} is not what the graphs give now: they, or the versions of "
            "torch and transformers, changed since it was compiled; compile again"
        )
