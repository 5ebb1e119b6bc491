"""The activations of a run of operations at their peak, by the rules of the emitted program.

Inputs and outputs are held to the end. A value is freed by the last operation that reads it, its
memory with the last value that is in it. What is read as another type is a copy, made by the first
operation that reads it so.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from entracte.ir import Memory, Op, Order, Port

__all__ = ["activation_peak"]

_CAST = "\0cast"
"""Behind a value's name: its copy of another type. No value has such a name."""


def activation_peak(ops: Sequence[Op], inputs: Sequence[Port], outputs: Sequence[Port]) -> int:
    """Bytes.

    Args:
        ops: in order.
        inputs: what they read and do not make; they lie in order.
        outputs: what of theirs is read later.
    """
    held = _Held()
    for port in inputs:
        held.put(port.name, (_Piece(port.size_bytes),), in_order=True)
    kept = {p.name for p in (*inputs, *outputs)}
    for op, ended in zip(ops, _ended(ops, kept), strict=True):
        _run(held, op, ended)
    return held.peak_bytes


def _ended(ops: Sequence[Op], kept: Set[str]) -> list[list[str]]:
    """Per operation what it is the last to read, or makes though nothing reads it; but for what is
    kept."""
    last: dict[str, int] = {}
    for i, op in enumerate(ops):
        for name in op.inputs:
            last[name] = i
        for name, _ in op.casts:
            last[name + _CAST] = i
        last[op.name] = i
    ended: list[list[str]] = [[] for _ in ops]
    for name, i in last.items():
        if name not in kept:
            ended[i].append(name)
    return ended


@dataclass(eq=False, slots=True)
class _Piece:
    """One allocation, and how many values are in it."""

    size_bytes: int
    values: int = 0


@dataclass(slots=True)
class _Held:
    """What is in memory."""

    pieces: dict[str, tuple[_Piece, ...]] = field(default_factory=dict)
    in_order: set[str] = field(default_factory=set)
    live_bytes: int = 0
    peak_bytes: int = 0

    def put(self, name: str, pieces: tuple[_Piece, ...], *, in_order: bool) -> None:
        for piece in pieces:
            self.live_bytes += 0 if piece.values else piece.size_bytes
            piece.values += 1
        self.pieces[name] = pieces
        if in_order:
            self.in_order.add(name)
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes = self.live_bytes

    def drop(self, name: str) -> None:
        if name in self.pieces:
            self.free(self.pieces.pop(name))

    def free(self, pieces: tuple[_Piece, ...]) -> None:
        for piece in pieces:
            piece.values -= 1
            self.live_bytes -= 0 if piece.values else piece.size_bytes


def _run(held: _Held, op: Op, ended: Sequence[str]) -> None:
    casts: dict[str, str] = {}
    for name, size_bytes in op.casts:
        casts[name] = copied = name + _CAST
        if copied not in held.pieces:
            held.put(copied, (_Piece(size_bytes),), in_order=name in held.in_order)
    if op.opening_bytes:
        _open(held, op, ended)
    pieces = _pieces(held, op, casts)
    in_order = op.order is Order.MADE or (
        op.order is Order.KEPT and all(name in held.in_order for name in op.inputs)
    )
    held.put(op.name, pieces, in_order=in_order)
    held.peak_bytes = max(held.peak_bytes, held.live_bytes + op.workspace_bytes)
    for name in ended:
        held.drop(name)  # again, for what was opened: nothing
    if op.unrounded_bytes and op.name in held.pieces:
        unrounded = held.pieces[op.name]
        held.put(op.name, (_Piece(op.output_bytes),), in_order=in_order)
        held.free(unrounded)


def _open(held: _Held, op: Op, ended: Sequence[str]) -> None:
    """The part of an operation that reads its inputs, reshaped."""
    copied = 0 if op.inputs[0] in held.in_order else op.opening_bytes
    held.peak_bytes = max(held.peak_bytes, held.live_bytes + copied + op.opening_bytes)
    for name in ended:
        held.drop(name)


def _pieces(held: _Held, op: Op, casts: Mapping[str, str]) -> tuple[_Piece, ...]:
    size_bytes = op.unrounded_bytes or op.output_bytes
    own = (_Piece(size_bytes),)
    if op.memory is Memory.DOUBLE:
        return (*own, _Piece(size_bytes))
    if op.memory is Memory.OWN or not op.inputs:
        return own
    first = op.inputs[0]
    shared = held.pieces[casts.get(first, first)]
    is_view = op.memory is Memory.SHARED or (
        op.memory is Memory.RESHAPED and first in held.in_order
    )
    return shared if is_view else (*shared, *own)
