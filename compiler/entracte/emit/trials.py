"""What is run beside torch before a build is called done: one chunk of each form, as far as the
compile's own time justifies it.

A form (a program, whatever its weights) is run once. Small chunks run whole. Of a chunk that is too
dear those parts run whose operations have not run elsewhere: of nine blocks the first. Parts are
cheapest first until the budget is spent; what is left is said in the plan. The budget is counted in
FLOPs from the chunks alone, so it is the same on every machine.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

from entracte.decide.partition import Measured
from entracte.emit.judge import COMPARED, Trial
from entracte.emit.make import Order
from entracte.ir import Chunk
from entracte.store.cache import digest
from entracte.store.origin import code_digest
from entracte.trace.names import span_of
from entracte.units import format_count

__all__ = ["COMPARED", "Untried", "choose"]

_SHARE = 0.5
"""Of the compile's processor time, what comparing may add; the promise is 0.6."""
_FLOPS_PER_S = 50e9
"""Of torch and the reference device on one core (722 s for 16 TFLOP run both ways on the one that
docs/on-device-sora.md was measured on)."""
_CHUNK_S, _PART_S, _OP_S, _ELEMENT_S = 2.0, 0.3, 10e-3, 40e-9
"""What a conversion takes: in all, that of a part in a process that is there already, for each
operation and for each weight's element."""
_RUNS = 2
"""Torch and the package."""
_DRAWS = 2
"""Calm and loud; recorded inputs need one."""


@dataclass(frozen=True, slots=True)
class Untried:
    """A form that does not run, and why."""

    order: Order
    why: str


def choose(orders: Sequence[Order]) -> tuple[list[Trial], list[Untried]]:
    """Trials of one chunk of each form, cheapest first, and the forms that are left out."""
    first: dict[str, Order] = {}
    for order in orders:
        first.setdefault(order.twin_key, order)
    waiting = sorted(first.values(), key=lambda o: (_flops(o.chunk), o.chunk.id))
    left = _SHARE * sum(_seconds(o.chunk, o) for o in orders) * _FLOPS_PER_S / (_RUNS * _DRAWS)
    trials, untried = [], []
    ran: dict[str, set[str]] = {}
    for i, order in enumerate(waiting):
        codes = ran.setdefault(_how(order), set())
        trial, cost = _trial(order, codes, left / (len(waiting) - i))
        if trial is None:
            text = f"{format_count(_flops(order.chunk))} FLOPs are too dear to run beside a compile"
            untried.append(Untried(order, text))
            continue
        left -= cost
        trials.append(trial)
    return trials, untried


def _trial(order: Order, ran: set[str], allowed: float) -> tuple[Trial | None, float]:
    """The trial of a chunk within some FLOPs, and what it costs."""
    own = _codes(order, order.chunk)
    cost = float(_flops(order.chunk))
    if cost <= allowed:
        ran |= own
        return _made(order, (), 1.0), cost
    pieces, cost = _pieces(order, ran, allowed)
    if not pieces:
        return None, 0.0
    ran |= {c for p in pieces for c in _codes(order, p)}
    return _made(order, pieces, len(own & ran) / len(own)), cost


def _made(order: Order, pieces: tuple[Chunk, ...], share: float) -> Trial:
    spans = [[p.start, p.stop] for p in pieces]
    code = [code_digest("entracte.emit"), code_digest("entracte.reference")]
    return Trial(order, pieces, share, digest(COMPARED, order.key, spans, code))


def _pieces(order: Order, ran: set[str], allowed: float) -> tuple[tuple[Chunk, ...], float]:
    """Parts of a chunk with operations that did not run yet, cheapest first, joined where they
    touch."""
    measured = Measured(order.traced.part(order.chunk.graph))
    fresh: list[Chunk] = []
    seen = set(ran)
    for start, stop in _atoms(measured, order.chunk):
        part = measured.chunk(start, stop, 0)
        codes = _codes(order, part)
        if codes - seen and _can_be_a_chunk(part):
            seen |= codes
            fresh.append(part)
    chosen, spent = [], 0.0
    for part in sorted(fresh, key=lambda p: (_cost(p, order), p.start)):
        if spent + _cost(part, order) <= allowed:
            chosen.append(part)
            spent += _cost(part, order)
    spans = _joined(sorted((p.start, p.stop) for p in chosen))
    made = (measured.chunk(start, stop, i) for i, (start, stop) in enumerate(spans))
    return tuple(replace(m, id=f"{order.chunk.id}[{m.start}:{m.stop}]") for m in made), spent


def _atoms(measured: Measured, chunk: Chunk) -> Iterable[tuple[int, int]]:
    """The parts between neighbouring legal cuts."""
    inner = sorted(c.position for c in measured.graph.cuts)
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


def _cost(part: Chunk, order: Order) -> float:
    """A part is converted once more, on its own."""
    seconds = _PART_S - _CHUNK_S + _seconds(part, order)
    return _flops(part) + seconds * _FLOPS_PER_S / (_RUNS * _DRAWS)


def _seconds(chunk: Chunk, order: Order) -> float:
    """What converting takes, nominally."""
    ops = order.traced.part(chunk.graph).ops[chunk.start : chunk.stop]
    elements = sum(prod(order.traced.shapes[w]) for w in {w for o in ops for w in o.weights})
    return _CHUNK_S + _OP_S * len(ops) + _ELEMENT_S * elements
