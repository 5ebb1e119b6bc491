"""What is run beside torch before a build is called done: one chunk of each form, as far as the
compile's own time justifies it.

A form (a program, whatever its weights) is run once. Small chunks run whole. Of a chunk that is too
dear those parts run whose operations have not run elsewhere: of nine blocks the first. Parts are
cheapest first until the budget is spent; what is left is said in the plan. The budget is in nominal
seconds, counted from the chunks alone, so it is the same on every machine.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from entracte.decide.partition import Measured
from entracte.emit.judge import COMPARED, Trial
from entracte.emit.make import Order
from entracte.ir import Chunk
from entracte.store.cache import digest
from entracte.store.origin import maker_digest
from entracte.trace.names import span_of
from entracte.units import format_count

__all__ = ["COMPARED", "Untried", "choose"]

_SHARE = 0.5
"""Of the compile's processor time, what comparing may add; the promise is 0.6."""
_FLOPS_PER_S = 50e9
"""Of torch and the reference device on one core (722 s for 16 TFLOP run both ways on the one that
docs/on-device-sora.md was measured on)."""
_CHUNK_S, _PART_S, _OP_S, _ELEMENT_S = 2.0, 0.8, 10e-3, 40e-9
"""What a conversion takes: in all, that of a part in a process that is there already, for each
operation and for each weight's element."""
_RUNS = 2
"""Torch and the package."""
_MAKERS = (__name__, "entracte.verify.recorded")
"""Which code a verdict is from; the known inputs, by the latter, are handed in."""
_LOUD = frozenset({"layer_norm", "native_layer_norm", "group_norm", "native_group_norm", "rms_norm",
                   "_fused_rms_norm", "rsqrt", "pow", "var", "mean"})  # fmt: skip
"""Operations whose inputs may be drawn twice, calm and loud."""


@dataclass(frozen=True, slots=True)
class Untried:
    """A form that does not run, and why."""

    order: Order
    share: float
    """Of its operations, those that run in other chunks' trials."""
    why: str


def choose(orders: Sequence[Order]) -> tuple[list[Trial], list[Untried]]:
    """Trials of one chunk of each form, and the forms that are left out."""
    first: dict[str, Order] = {}
    for order in orders:
        first.setdefault(order.twin_key, order)
    waiting = sorted(first.values(), key=lambda o: (_flops(o.chunk), o.chunk.id))
    left = _SHARE * sum(_seconds(o.chunk, o) for o in orders)
    trials, dear = [], []
    ran: dict[str, set[str]] = {_how(o): set() for o in waiting}
    for i, order in enumerate(waiting):
        cost = _running_s(order.chunk, order)
        if cost > left / (len(waiting) - i):
            dear.append(order)
            continue
        left -= cost
        ran[_how(order)] |= _codes(order, order.chunk)
        trials.append(_made(order, (), 1.0))
    parts = _parts(dear, ran, left)
    for order in dear:
        ran[_how(order)] |= {c for p in parts[order.chunk.id] for c in _codes(order, p)}
    untried = []
    for order in dear:
        own = _codes(order, order.chunk)
        share = len(own & ran[_how(order)]) / len(own)
        if parts[order.chunk.id]:
            trials.append(_made(order, parts[order.chunk.id], share))
            continue
        text = f"{format_count(_flops(order.chunk))} FLOPs are too dear to run beside a compile"
        untried.append(Untried(order, share, text))
    return trials, untried


def _made(order: Order, pieces: tuple[Chunk, ...], share: float) -> Trial:
    spans = [[p.start, p.stop] for p in pieces]
    key = digest(COMPARED, order.key, spans, maker_digest(*_MAKERS))
    return Trial(order, pieces, share, key)


def _parts(
    orders: Sequence[Order], ran: Mapping[str, set[str]], left: float
) -> dict[str, tuple[Chunk, ...]]:
    """Chunk -> its parts with operations that run nowhere else, cheapest of all chunks first,
    joined where they touch."""
    fresh: list[tuple[float, int, Chunk]] = []
    seen = {how: set(codes) for how, codes in ran.items()}
    for i, order in enumerate(orders):
        measured = Measured(order.traced.part(order.chunk.graph))
        for start, stop in _atoms(measured, order.chunk):
            part = measured.chunk(start, stop, 0)
            codes = _codes(order, part)
            if codes - seen[_how(order)] and _can_be_a_chunk(part):
                seen[_how(order)] |= codes
                fresh.append((_part_s(part, order), i, part))
    spans: dict[str, list[tuple[int, int]]] = {o.chunk.id: [] for o in orders}
    for cost, i, part in sorted(fresh, key=lambda f: (f[0], f[1], f[2].start)):
        if cost > left:
            break
        left -= cost
        spans[orders[i].chunk.id].append((part.start, part.stop))
    return {o.chunk.id: _chunks(o, spans[o.chunk.id]) for o in orders}


def _chunks(order: Order, spans: Sequence[tuple[int, int]]) -> tuple[Chunk, ...]:
    measured = Measured(order.traced.part(order.chunk.graph))
    made = (measured.chunk(start, stop, 0) for start, stop in _joined(sorted(spans)))
    return tuple(replace(m, id=f"{order.chunk.id}[{m.start}:{m.stop}]") for m in made)


def _atoms(measured: Measured, chunk: Chunk) -> Iterable[tuple[int, int]]:
    """The parts between neighbouring legal cuts."""
    inner = sorted(c.position for c in measured.cuts)
    at = [chunk.start, *(p for p in inner if chunk.start < p < chunk.stop), chunk.stop]
    return zip(at, at[1:], strict=False)


def _can_be_a_chunk(part: Chunk) -> bool:
    """Not if it only hands values on: no package does nothing."""
    return bool(part.flops) and bool(part.outputs) and bool(part.inputs)


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, stop in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def _codes(order: Order, chunk: Chunk) -> set[str]:
    """Of all operations of a chunk, its functions included."""
    spans = [span_of(chunk, f) for f in ("main", *(v.name for v in chunk.variants))]
    return {o.code for graph, a, b in spans for o in order.traced.part(graph).ops[a:b]}


def _how(order: Order) -> str:
    stage = order.traced.stage
    return f"{stage.precision} {stage.compression}"


def _flops(chunk: Chunk) -> int:
    """Of all its functions."""
    return chunk.flops + sum(v.flops for v in chunk.variants)


def _part_s(part: Chunk, order: Order) -> float:
    """A part is converted once more, on its own."""
    return _PART_S - _CHUNK_S + _seconds(part, order) + _running_s(part, order)


def _running_s(chunk: Chunk, order: Order) -> float:
    """Both ways, on all draws."""
    graphs = [span_of(chunk, f) for f in order.functions]
    kinds = {o.kind for graph, a, b in graphs for o in order.traced.part(graph).ops[a:b]}
    draws = 2 if kinds & _LOUD else 1
    return _flops(chunk) * _RUNS * draws / _FLOPS_PER_S


def _seconds(chunk: Chunk, order: Order) -> float:
    """What converting takes, nominally."""
    ops = order.traced.part(chunk.graph).ops[chunk.start : chunk.stop]
    elements = sum(prod(order.traced.shapes[w]) for w in {w for o in ops for w in o.weights})
    return _CHUNK_S + _OP_S * len(ops) + _ELEMENT_S * elements
