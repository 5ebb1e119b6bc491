"""In which part of its stage every operation is: told by what is measured, without torch.

So a trace is read again for other bytes of the same weights: only if these move an operation out of
its loop, or back into it, is the stage traced anew.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from entracte.declare.scheme import weight_bytes
from entracte.frontend.backend import Backend
from entracte.ir import Loop, Op, Port, Stage, StageGraph, Weight
from entracte.program.loops import is_steady
from entracte.trace.hoist import Depends, LoopOp, split
from entracte.trace.traced import TraceRecord

__all__ = ["Wired", "compressed", "places_of"]

_NEVER = 2**62
"""More bytes than anything gains by leaving its loop."""


@dataclass(frozen=True)
class Wired:
    """A stage with what is known of its surroundings."""

    stage: Stage
    ports: Mapping[str, Port]
    """The stage's inputs, by port name, as their producers make them."""
    loop: Loop | None
    """The loop the stage is in."""
    backend: Backend
    pinned: frozenset[str] = frozenset()
    """Outputs that every iteration of the loop makes."""


def places_of(
    ops: Sequence[Op], size_bytes: Mapping[str, int], crossable: Collection[str], wired: Wired
) -> dict[str, str]:
    """Value -> the part it is made in: `once`, `schedule` or `body`.

    Args:
        ops: all of the stage's `main`, in topological order.
        size_bytes: of each weight.
        crossable: values that a package can hand out.
    """
    stage, loop = wired.stage, wired.loop
    if loop is None:
        return {o.name: "body" for o in ops}
    nodes = [
        LoopOp(
            name=o.name,
            inputs=o.inputs,
            # What no package can hand out is never held for the loop.
            size_bytes=o.output_bytes if o.name in crossable else _NEVER,
            weight_bytes=sum(size_bytes[w] for w in o.weights),
            flops=o.flops,
        )
        for o in ops
    ]
    declared = dict(stage.inputs)
    inputs = {
        name: (_depends(loop, declared[name], stage), port.size_bytes)
        for name, port in wired.ports.items()
    }
    rate = wired.backend.hoist_flops_per_byte
    return split(nodes, inputs, loop.count, rate, wired.pinned)


def _depends(loop: Loop, value: str, stage: Stage) -> Depends:
    """What a value that a stage of the loop reads depends on."""
    owner, _, name = value.partition(".")
    if owner in loop.stages:
        return Depends.STATE
    if owner != loop.name or is_steady(loop, name):
        return Depends.NOTHING
    scanned = name in {s.name for s in loop.scan}
    # A map has slices already; it is not run for all iterations as well.
    return Depends.SCAN if scanned and stage.map is None else Depends.STATE


def compressed(record: TraceRecord, wired: Wired) -> TraceRecord | None:
    """A trace of a stage, for the stage's own compression: the bytes of its weights are others.

    Returns None where operations would be in other parts with these bytes.
    """
    stage = wired.stage
    if record.compression == stage.compression:
        return record
    parts = tuple(_sized(part, stage) for part in record.parts)
    ops = [op for part in parts for op in part.ops]
    size_bytes = {w.name: w.size_bytes for part in parts for w in part.weights}
    crossable = {port.name for part in parts for port in part.values}
    places = places_of(ops, size_bytes, crossable, wired)
    if any(places[op.name] != part.part for part in parts for op in part.ops):
        return None
    return replace(record, parts=parts, compression=stage.compression)


def _sized(graph: StageGraph, stage: Stage) -> StageGraph:
    return replace(
        graph,
        weights=tuple(_weight(w, stage) for w in graph.weights),
        variants=tuple(_sized(v, stage) for v in graph.variants),
    )


def _weight(weight: Weight, stage: Stage) -> Weight:
    size_bytes = weight_bytes(weight.shape, stage.precision, stage.compression)
    return replace(weight, size_bytes=size_bytes)
