"""Which chunks the Neural Engine suits, by what is published of it; the others stay on the target's
unit. How fast it is with them nobody has published: no time decides here.

Published: it computes in fp16 alone, and of fixed shapes (executorch, `coreml-partitioner.md`);
3-D convolutions run on the GPU (apple/coremltools#1368); an axis of a tensor has at most 16384
elements, channels at most 65536 (FluidInference/FluidAudio#121). The largest package is the
target's `chunk_limit`, which is the Neural Engine's where one is published.
"""

from collections.abc import Iterable

from entracte.cost import CONV, class_of
from entracte.ir import SUITED, Chunk, DType, Op, Port, Stage, StageGraph, Target

NEURAL_ENGINE = "cpuAndNeuralEngine"
MOST, MOST_CHANNELS = 16384, 65536
_WHOLE = 5
"""Axes of the weight of a 3-D convolution."""


def unit_of(stage: Stage, graph: StageGraph, chunk: Chunk, target: Target) -> str:
    """What a chunk of a stage runs on; empty for the target's unit."""
    if stage.compute_unit != SUITED:
        return stage.compute_unit
    # The reference device is no unit of Core ML's: a package suits it in any case.
    if target.compute_unit == "reference" or unsuited(stage, graph, chunk):
        return ""
    return NEURAL_ENGINE


def unsuited(stage: Stage, graph: StageGraph, chunk: Chunk) -> str:
    """Why the Neural Engine does not suit a chunk, in words; empty where nothing published says
    so."""
    if stage.precision != DType.FP16:
        return f"{stage.precision}: it computes in fp16"
    if chunk.others:
        return "functions of another stage: these are not looked into"
    of = {graph.name: (graph, chunk.start, chunk.stop)}
    functions = {v.name.partition("@")[2]: v for v in graph.variants}
    of |= {
        v.name: (functions[v.name], v.start, v.stop) for v in chunk.variants if v.name in functions
    }
    for measured, start, stop in of.values():
        rank = {w.name: len(w.shape) for w in measured.weights}
        if any(_is_3d(op, rank) for op in measured.ops[start:stop]):
            return "3-D convolutions: these run on the GPU"
    ports = (*chunk.inputs, *chunk.outputs, *_inner(graph, chunk))
    large = next((p for p in ports if _is_large(p)), None)
    return "" if large is None else f"{large.name} is {'x'.join(map(str, large.shape))}"


def _is_3d(op: Op, rank: dict[str, int]) -> bool:
    return class_of(op) == CONV and any(rank.get(w) == _WHOLE for w in op.weights)


def _inner(graph: StageGraph, chunk: Chunk) -> Iterable[Port]:
    """What is made in it, as far as its shape is known: all that may cross a cut."""
    made = {op.name for op in graph.ops[chunk.start : chunk.stop]}
    return (p for p in graph.values if p.name in made)


def _is_large(port: Port) -> bool:
    """Channels are the second of four axes, or more."""
    channels = 1 if len(port.shape) >= 4 else -1
    return any(n > (MOST_CHANNELS if i == channels else MOST) for i, n in enumerate(port.shape))
