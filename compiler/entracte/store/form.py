"""What a chunk computes, apart from its weights' values: equal forms are converted once.

The 28 block pairs of a transformer are the same program with other numbers. A form numbers a
chunk's values and weights in order of appearance, so that such chunks have the same digest; its
slots say which weight of this chunk stands at which number.
"""

import hashlib
import json
from dataclasses import dataclass

from entracte.ir import Chunk, Op, Port, StageGraph


@dataclass(frozen=True, slots=True)
class Form:
    """A chunk as a program over numbered weights."""

    digest: str
    slots: tuple[str, ...]
    """Weight names; position is the slot's number."""
    literal: frozenset[int]
    """Slots whose value is part of the program: tables that the graph holds (the digest covers
    them), and weights that are first computed with."""
    shared: tuple[str, ...]
    """The latter: equal forms may be stamped only if these are the same weights."""

    @property
    def twin_key(self) -> str:
        """Equal for chunks that one converted program can serve."""
        return _sha([self.digest, self.shared])


def form_of(graph: StageGraph, chunk: Chunk) -> Form:
    """The form of a chunk of `graph`, over all its functions."""
    graphs = {g.name: g for g in (graph, *graph.variants)}
    slots: dict[str, int] = {}
    spans = [("main", chunk.graph, chunk.start, chunk.stop)]
    spans += [
        (v.name, v.graph or f"{chunk.graph}@{v.name}", v.start, v.stop) for v in chunk.variants
    ]
    literal: set[int] = set()
    parts = []
    for function, name, start, stop in spans:
        graph = graphs[name]
        inputs, outputs = chunk.ports_of(function)
        parts.append([function, _span(graph.ops[start:stop], inputs, outputs, slots)])
        literal |= {slots[w] for op in graph.ops[start:stop] for w in op.folded}
    known = {w.name: w for _, name, *_ in spans for w in graphs[name].weights}
    held = {i for name, i in slots.items() if known[name].digest}
    shared = tuple(name for name, i in slots.items() if i in literal - held)
    weights = [[list(known[n].shape), known[n].digest] for n in slots]
    ports = [[_port(p) for p in chunk.inputs], [_port(p) for p in chunk.outputs]]
    ports += [[_port(p) for p in side] for v in chunk.others for side in (v.inputs, v.outputs)]
    return Form(_sha([parts, weights, ports]), tuple(slots), frozenset(literal | held), shared)


def _span(
    ops: tuple[Op, ...], inputs: tuple[Port, ...], outputs: tuple[Port, ...], slots: dict[str, int]
) -> list[object]:
    """The operations, every value by its number: inputs count down from -1, results up from 0."""
    number = {p.name: -1 - i for i, p in enumerate(inputs)}
    spelled: list[object] = []
    for i, op in enumerate(ops):
        for weight in op.weights:
            slots.setdefault(weight, len(slots))
        reads = [number[name] for name in op.inputs]
        spelled.append([op.code, reads, [slots[w] for w in op.weights]])
        number[op.name] = i
    return [spelled, [number[p.name] for p in outputs]]


def _port(port: Port) -> list[object]:
    return [list(port.shape), str(port.dtype)]


def _sha(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
