"""Partition -> Bundle: every chunk becomes a package, each in a process of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.errors import ConfigError
from compiler.ir import Bundle, Chunk, Package

if TYPE_CHECKING:
    import torch

    from compiler.lower.worker import Job
    from compiler.trace.measure import Traced
    from compiler.trace.weights import WeightSource

PACKAGES = "packages"
LOGS = "logs"
Done = Callable[[Package], None]


@dataclass(frozen=True)
class Emission:
    """What one conversion needs; it travels to the worker's process."""

    traced: "Traced"
    chunk: Chunk
    tensors: "Mapping[str, torch.Tensor]"
    deployment: str
    folder: Path


def emit(
    traced: "Mapping[str, Traced]",
    chunks: Sequence[Chunk],
    source: "WeightSource",
    *,
    deployment: str,
    folder: Path,
    workers: int,
    done: Done = lambda _: None,
) -> Bundle:
    """Convert chunks into `folder/packages`. Raises `LowerError` naming the chunk.

    `done` is told of each package as it is finished.
    """
    from compiler.lower.worker import run_jobs

    made = {}
    for _, package in run_jobs(_jobs(traced, chunks, source, deployment, folder), workers=workers):
        made[package.chunk] = package
        done(package)
    return Bundle(tuple(made[c.id] for c in chunks))


def _jobs(
    traced: "Mapping[str, Traced]",
    chunks: Sequence[Chunk],
    source: "WeightSource",
    deployment: str,
    folder: Path,
) -> "Iterator[Job]":
    """One job at a time, so that only the chunks being converted have their weights in memory."""
    from compiler.lower.worker import Job

    for chunk in chunks:
        stage = next(t for t in traced.values() if any(p.name == chunk.graph for p in t.parts))
        tensors = source.tensors(stage)
        emission = Emission(stage, chunk, tensors, deployment, folder)
        yield Job(chunk.id, _emit_one, (emission,), folder / LOGS / f"{chunk.id}.log")


def _emit_one(emission: Emission) -> Package:
    """Runs in the worker's process."""
    from compiler import reference
    from compiler.lower.convert import convert_chunk

    chunk, stage = emission.chunk, emission.traced.stage
    path = emission.folder / PACKAGES / f"{chunk.id}.mlpackage"
    facts = convert_chunk(
        chunk_module(emission.traced, chunk, emission.tensors),
        example_inputs(chunk),
        inputs=chunk.inputs,
        outputs=chunk.outputs,
        precision=stage.precision,
        deployment=emission.deployment,
        compression=stage.compression,
        path=path,
        fp32_ops=emission.traced.fp32_nodes,
    )
    info = reference.describe(path)
    if info.activation_peak_bytes is None:
        raise ConfigError(f"{chunk.id}: the package has open shapes; all must be static")
    return Package(
        chunk=chunk.id,
        path=f"{PACKAGES}/{path.name}",
        digest=facts.digest,
        file_bytes=facts.package_bytes,
        weight_bytes=info.weight_bytes,
        activation_bytes=info.activation_peak_bytes,
        precision=stage.precision,
        compression=stage.compression,
        inputs=chunk.inputs,
        outputs=chunk.outputs,
    )


def chunk_module(
    traced: "Traced", chunk: Chunk, tensors: "Mapping[str, torch.Tensor]"
) -> "torch.nn.Module":
    """The chunk as a torch module (fp32): what is converted, and what packages are judged by."""
    from compiler.frontend import extract

    return extract(
        traced.program,
        traced.chunk_nodes(chunk),
        [traced.node_of.get(p.name, p.name) for p in chunk.inputs],
        [traced.node_of[p.name] for p in chunk.outputs],
        tensors,
    )


def example_inputs(chunk: Chunk) -> "tuple[torch.Tensor, ...]":
    """Zeros in the types the torch chunk computes in: fp32 and int32."""
    import torch

    from compiler.ir import DType

    return tuple(
        torch.zeros(p.shape, dtype=torch.int32 if p.dtype is DType.INT32 else torch.float32)
        for p in chunk.inputs
    )
