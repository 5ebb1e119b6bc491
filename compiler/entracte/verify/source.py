"""The torch source of emitted packages, as a device: the plan, without the packages."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from entracte.decide.partition import Measured
from entracte.declare.read import Job, read
from entracte.declare.settings import CompileSettings
from entracte.devices.arrays import NumpyValues
from entracte.errors import PlanError
from entracte.ir import Chunk, DType, Package, Plan, StageGraph
from entracte.store.cache import Cache, cache_folder
from entracte.store.form import form_of

if TYPE_CHECKING:
    import torch

    from entracte.trace.traced import Traced
    from entracte.trace.weights import WeightSource

_KEPT_BYTES = 1 << 30
"""Below this the weights of all chunks are kept: a streaming plan loads some in each iteration."""


def job_of(plan: Plan) -> Job:
    """The job that made a plan, from the settings recorded in it."""
    settings = OmegaConf.merge(OmegaConf.structured(CompileSettings), json.loads(plan.settings))
    assert isinstance(settings, DictConfig)
    return read(settings)


class SourceDevice(NumpyValues):
    """Executes the torch source of each chunk in fp32: the plan, without the packages."""

    name = "source"

    def __init__(
        self, chunks: Mapping[str, Chunk], stages: "Mapping[str, Traced]", source: "WeightSource"
    ) -> None:
        self._chunks, self._stages, self._source = chunks, stages, source
        few = sum(c.weight_bytes for c in chunks.values()) < _KEPT_BYTES
        self._tensors = cache(self._read) if few else self._read

    @classmethod
    def of(cls, plan: Plan) -> "SourceDevice":
        """Retrace what the plan was compiled from. Raises `PlanError` if it has changed."""
        from entracte.lower.backend import CORE_ML
        from entracte.trace.weights import weight_source
        from entracte.trace.wire import trace_pipeline

        job = job_of(plan)
        known = Cache(cache_folder(job.cache))
        traced = trace_pipeline(job.pipeline, CORE_ML, cache=known)
        for stage in traced.stages.values():
            for function in stage.functions:
                stage.program_of(function)  # here: torch exports in one thread at a time only
        return cls(
            {c.id: c for c in plan.chunks}, traced.stages, weight_source(job.pipeline.weights)
        )

    def kind_of(self, chunk: str) -> str:
        """Equal for chunks that are the same program with other weights."""
        stage, part = self._find(chunk)
        how = (stage.stage.precision, stage.stage.compression)
        return f"{form_of(part, self._chunks[chunk]).twin_key} {how}"

    def _find(self, name: str) -> "tuple[Traced, StageGraph]":
        chunk = self._chunks[name]
        for stage in self._stages.values():
            for part in stage.parts:
                if part.name == chunk.graph:
                    _check_same(Measured(part), chunk)
                    return stage, part
        raise PlanError(f"plan: no stage of the pipeline makes {chunk.graph} any more")

    def _read(self, name: str) -> "Mapping[str, torch.Tensor]":
        stage, part = self._find(name)
        return self._source.tensors(stage, form_of(part, self._chunks[name]).slots)

    def load(self, package: Package, folder: Path, function: str = "main") -> "_Handle":
        return self.handle(package.chunk)

    def handle(self, chunk: str) -> "_Handle":
        """A chunk's source, loaded."""
        return _Handle(self._find(chunk)[0], self._chunks[chunk], self._tensors(chunk))

    def call(
        self, handle: "_Handle", function: str, inputs: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        import torch

        chunk = handle.chunk
        given = [_source_input(inputs[p.name], p.dtype) for p in chunk.inputs]
        with torch.inference_mode():
            outputs = handle.module(function)(*given)
        named = zip(chunk.outputs, outputs, strict=True)
        return {port.name: value.numpy() for port, value in named}

    def free(self, handle: Any) -> None:
        """Nothing to do: the module goes with its last reference."""

    def resident_bytes(self) -> int:
        return 0

    def activation_peak_bytes(self) -> int:
        return 0


@dataclass
class _Handle:
    """A loaded chunk: its functions become modules when they are called."""

    traced: "Traced"
    chunk: Chunk
    tensors: "Mapping[str, torch.Tensor]"
    modules: "dict[str, torch.nn.Module]" = field(default_factory=dict)

    def module(self, function: str) -> "torch.nn.Module":
        from entracte.emit.make import chunk_module

        if function not in self.modules:
            made = chunk_module(self.traced, self.chunk, self.tensors, function)
            self.modules[function] = made
        return self.modules[function]


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
