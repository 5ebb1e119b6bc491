"""Static memory: the largest sum of live tensors, from declared shapes and types alone.

Torch shares memory for some operations; a shared tensor keeps its whole base alive. Where sharing
is not certain (a reshape of something that may not lie contiguously, a slice), both are assumed: a
copy is made and the base stays alive. So the result bounds what any execution in this order holds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from entracte.reference import mil

_VIEWS = frozenset({"squeeze", "expand_dims", "identity", "transpose", "split", "slice_by_size"})
_MAYBE_VIEWS = frozenset({"reshape", "slice_by_index"})
_KEEPS_LAYOUT = frozenset({"squeeze", "expand_dims", "identity", "reshape"})
_CONTIGUOUS = frozenset({
    "linear", "layer_norm", "gather", "reduce_mean", "reduce_sum", "fill", "concat", "stack",
    "tile", "cast", "constexpr_cast",
})  # fmt: skip
"""Operations whose result is certainly laid out in order when their inputs are."""
_ELEMENTWISE = frozenset({
    "add", "sub", "mul", "real_div", "maximum", "minimum", "pow", "sigmoid", "silu", "gelu", "relu",
    "tanh", "exp", "sqrt", "rsqrt", "square", "softmax", "clip", "cos", "sin", "cast", "erf",
    "batch_norm", "conv", "abs", "log",
})  # fmt: skip


@dataclass(slots=True)
class _Storage:
    """One allocation and how many live names point into it."""

    nbytes: int
    names: int = 0


class _Ledger:
    """Live storages, their sum and its maximum."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self._of: dict[str, tuple[_Storage, ...]] = {}

    def define(self, name: str, storages: tuple[_Storage, ...]) -> None:
        """`name` keeps these storages alive."""
        for storage in storages:
            if storage.names == 0:
                self.live += storage.nbytes
            storage.names += 1
        self._of[name] = storages
        self.peak = max(self.peak, self.live)

    def storages(self, name: str) -> tuple[_Storage, ...]:
        """What a name keeps alive; nothing for a constant."""
        return self._of.get(name, ())

    def drop(self, name: str) -> None:
        """`name` is not read any more."""
        for storage in self._of.pop(name, ()):
            storage.names -= 1
            if storage.names == 0:
                self.live -= storage.nbytes


def activation_peak(function: mil.Function) -> int | None:
    """Bytes, or None when a shape is open. Inputs are held throughout, as their owner does."""
    ledger = _Ledger()
    ordered: set[str] = set()
    for named in function.inputs:
        if not isinstance(named.type, mil.TensorType):
            continue
        if named.type.nbytes is None:
            return None
        ledger.define(named.name, (_Storage(named.type.nbytes),))
        ordered.add(named.name)
    held = {n.name for n in function.inputs}
    return ledger.peak if _block(function.block, ledger, ordered, held) else None


def _block(block: mil.Block, ledger: _Ledger, ordered: set[str], held: set[str]) -> bool:
    """Walk a block; False when a shape is open."""
    last = _last_uses(block)
    kept = held | set(block.outputs)
    for index, operation in enumerate(block.operations):
        if operation.type == "const" or operation.unpacks:
            ordered.update(n.name for n in operation.outputs)
            continue
        for inner in operation.blocks:
            if not _inner(inner, operation, ledger, ordered):
                return False
        if not _define(operation, ledger, ordered):
            return False
        for name in last.get(index, ()):
            if name not in kept:
                ledger.drop(name)
    return True


def _inner(block: mil.Block, operation: mil.Operation, ledger: _Ledger, ordered: set[str]) -> bool:
    variables = [b for b in operation.inputs.get("loop_vars", ()) if isinstance(b, str)]
    for named, name in zip(block.inputs, variables, strict=False):
        ledger.define(named.name, ledger.storages(name))
    done = _block(block, ledger, ordered, set())
    for name in {n.name for n in block.inputs} | set(block.outputs):
        ledger.drop(name)
    return done


def _define(operation: mil.Operation, ledger: _Ledger, ordered: set[str]) -> bool:
    sources = [b for v in operation.inputs.values() for b in v if isinstance(b, str)]
    first = operation.inputs.get("x", ("",))[0]
    base = ledger.storages(first) if isinstance(first, str) else ()
    in_order = isinstance(first, str) and first in ordered
    shares = operation.type in _VIEWS or (operation.type == "reshape" and in_order)
    for named in operation.outputs:
        kind = named.type
        if not isinstance(kind, mil.TensorType):
            continue
        if kind.nbytes is None:
            return False
        fresh = (_Storage(kind.nbytes),)
        kept = base if operation.type in _MAYBE_VIEWS else ()
        ledger.define(named.name, base if shares and base else (*kept, *fresh))
        if _in_order(operation, in_order, [s in ordered for s in sources]):
            ordered.add(named.name)
    return True


def _in_order(operation: mil.Operation, first: bool, sources: list[bool]) -> bool:
    if operation.type in _KEEPS_LAYOUT:
        # A reshape that had to copy is in order, one that did not had an ordered source.
        return operation.type == "reshape" or first
    if operation.type in _CONTIGUOUS or operation.type in _ELEMENTWISE:
        return all(sources)
    return False


def _last_uses(block: mil.Block) -> dict[int, list[str]]:
    """For each operation's index, the names read there for the last time (or never)."""
    last: dict[str, int] = {}
    for index, operation in enumerate(block.operations):
        for name in _reads(operation):
            last[name] = index
        for named in operation.outputs:
            last.setdefault(named.name, index)
    found: dict[int, list[str]] = {}
    for name, index in last.items():
        found.setdefault(index, []).append(name)
    return found


def _reads(operation: mil.Operation) -> Counter[str]:
    names = Counter(b for v in operation.inputs.values() for b in v if isinstance(b, str))
    for block in operation.blocks:
        names.update(block.outputs)
        for inner in block.operations:
            names.update(_reads(inner))
    return names
