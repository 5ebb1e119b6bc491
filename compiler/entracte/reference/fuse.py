"""GroupNorm, which Core ML has no operation for: found in its pieces and run as one instruction.

coremltools writes it as reshape, mean, sub, square, mean, add, sqrt, real_div, reshape, and then
a mul and an add, a batch_norm of mean 0, or nothing for scale and shift. The single one does the
same arithmetic in fewer passes over memory, and only where nothing is rounded in between: all of
it fp32, or the fp32 policy. In fp16 every one of those operations rounds, and the square may
overflow, which must stay visible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from entracte.reference import mil
from entracte.reference.draft import Draft
from entracte.reference.dtypes import plain_value
from entracte.reference.ops.norm import Affine, group_norm


def fuse(
    drafts: Sequence[Draft], outputs: Sequence[int], *,
    constant: Callable[[mil.Binding], mil.Value | None], value: Callable[[int], Any], policy: str,
) -> list[Draft] | None:  # fmt: skip
    """The drafts with every normalisation among them as one; None when there is none.

    Args:
        drafts: one per operation.
        outputs: registers read after the last one.
        constant: the constant behind a binding, None when it is computed.
        value: what a register holds if that is a constant, else None.
        policy: how fp16 is computed.
    """
    graph = _Graph(drafts, outputs, constant, value, policy)
    found = [graph.norm(i) for i, d in enumerate(drafts) if d.operation.type == "real_div"]
    instead = {fused.members[-1]: fused for fused in found if fused is not None}
    if not instead:
        return None
    gone = {i for fused in instead.values() for i in fused.members[:-1]}
    left = [i for i in range(len(drafts)) if i not in gone]
    return [instead[i].draft if i in instead else drafts[i] for i in left]


@dataclass(frozen=True, slots=True)
class _Fused:
    """A draft, and the indices of those it replaces; it stands in the last one's place."""

    members: tuple[int, ...]
    draft: Draft


@dataclass(frozen=True, slots=True)
class _Core:
    """The part up to the division, over x reshaped to [batch, groups, ...]."""

    members: tuple[int, ...]
    x: int
    epsilon: int
    axes: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Tail:
    """Scale and shift after it; registers of constants."""

    members: tuple[int, ...] = ()
    scale: int | None = None
    shift: int | None = None
    variance: int | None = None
    epsilon: float = 0.0


class _Graph:
    """Who makes and who reads each register."""

    def __init__(
        self, drafts: Sequence[Draft], outputs: Sequence[int],
        constant: Callable[[mil.Binding], mil.Value | None], value: Callable[[int], Any],
        policy: str,
    ) -> None:  # fmt: skip
        self._drafts = drafts
        self._constant, self._constant_in, self._policy = constant, value, policy
        self._maker = {d.outs[0]: i for i, d in enumerate(drafts) if len(d.outs) == 1}
        self._readers: dict[int, list[int]] = {}
        self._kept = Counter(chain(outputs, *(d.inner for d in drafts)))
        for index, draft in enumerate(drafts):
            for register in draft.ins:
                self._readers.setdefault(register, []).append(index)

    def norm(self, division: int) -> _Fused | None:
        """The normalisation that ends with this division, if it is one."""
        core = self._core(division)
        back = self._only_reader(division, "reshape") if core is not None else None
        if core is None or back is None:
            return None
        shape, (batch, groups) = self._shape(back), core.shape[:2]
        if shape is None or shape[0] != batch or shape[1] % groups:
            return None
        tail = self._tail(back, shape)
        members = (*core.members, division, back, *tail.members)
        if not all(self._exact(i) for i in members):
            return None
        return self._fused(members, core, shape, tail)

    def _core(self, division: int) -> _Core | None:
        centred, root = self._inputs(division, 2)
        made = [self._made(root, "sqrt")]
        made.append(self._made(self._input(made[-1]), "add"))
        spread, epsilon = self._constant_last(made[-1])
        made.append(self._made(spread, "reduce_mean"))
        made.append(self._squared(self._input(made[-1]), centred))
        made.append(self._made(centred, "sub"))
        x, mean = self._inputs(made[-1], 2)
        made.append(self._made(mean, "reduce_mean"))
        members = tuple(i for i in made if i is not None)
        if len(members) != len(made) or epsilon is None or x is None or centred is None:
            return None
        return self._grouped(members, x, epsilon)

    def _grouped(self, members: tuple[int, ...], x: int, epsilon: int) -> _Core | None:
        """Add the reshape to groups; check the axes, and that nobody else reads what is inside."""
        _, _, deviation, square, centre, mean = members
        first = self._made(x, "reshape")
        shape = self._shape(first)
        if first is None or shape is None or self._input(mean) != x:
            return None
        axes = self._axes(mean, len(shape))
        if axes != tuple(range(2, len(shape))) or self._axes(deviation, len(shape)) != axes:
            return None
        squares = 2 if self._drafts[square].operation.type == "mul" else 1
        readers = {first: 2, centre: 1 + squares}
        if any(self._count(i) != readers.get(i, 1) for i in (first, *members)):
            return None
        return _Core((first, *members), self._drafts[first].ins[0], epsilon, axes, shape)

    def _tail(self, back: int, shape: tuple[int, ...]) -> _Tail:
        folded = self._only_reader(back, "batch_norm")
        if folded is not None:
            return self._batch_norm(folded)
        scaled = self._only_reader(back, "mul")
        if scaled is None:
            return _Tail()
        scale = self._channels(scaled, back, shape)
        if scale is None:
            return _Tail()
        shifted = self._only_reader(scaled, "add")
        shift = None if shifted is None else self._channels(shifted, scaled, shape)
        if shifted is None or shift is None:
            return _Tail((scaled,), scale)
        return _Tail((scaled, shifted), scale, shift)

    def _batch_norm(self, index: int) -> _Tail:
        _, mean, variance, scale, shift = self._drafts[index].ins
        computed = any(operand in self._maker for operand in (variance, scale, shift))
        center = self._value(mean)
        if computed or center is None or bool(center.any()) or self._value(variance) is None:
            return _Tail()
        bindings = self._drafts[index].operation.inputs.get("epsilon", ())
        constant = self._constant(bindings[0]) if bindings else None
        epsilon = 1e-5 if constant is None else float(plain_value(constant))
        given = [None if self._value(operand) is None else operand for operand in (scale, shift)]
        return _Tail((index,), given[0], given[1], variance, epsilon)

    def _fused(
        self, members: tuple[int, ...], core: _Core, shape: tuple[int, ...], tail: _Tail
    ) -> _Fused:
        given = [tail.scale, tail.shift, tail.variance]
        scale, shift, variance = (register is not None for register in given)
        affine = Affine(scale, shift, variance, tail.epsilon)
        run = group_norm(core.shape, core.axes, shape, affine)
        ins = (core.x, core.epsilon, *(register for register in given if register is not None))
        last = self._drafts[max(members)]
        return _Fused(tuple(sorted(members)), last._replace(run=run, ins=ins))

    # -- questions --------------------------------------------------------------------------

    def _made(self, register: int | None, kind: str) -> int | None:
        index = None if register is None else self._maker.get(register)
        return index if index is not None and self._drafts[index].operation.type == kind else None

    def _inputs(self, index: int | None, count: int) -> tuple[int | None, ...]:
        ins = () if index is None else self._drafts[index].ins
        return tuple(ins) if len(ins) == count else (None,) * count

    def _input(self, index: int | None) -> int | None:
        return None if index is None else self._drafts[index].ins[0]

    def _squared(self, register: int | None, of: int | None) -> int | None:
        for kind in ("square", "mul"):
            index = self._made(register, kind)
            if index is not None and set(self._drafts[index].ins) == {of}:
                return index
        return None

    def _constant_last(self, index: int | None) -> tuple[int | None, int | None]:
        """The computed and the constant scalar operand, in either order."""
        one, other = self._inputs(index, 2)
        for computed, constant in ((one, other), (other, one)):
            value = None if constant is None else self._value(constant)
            if value is not None and value.numel() == 1:
                return computed, constant
        return None, None

    def _channels(self, index: int, after: int, shape: tuple[int, ...]) -> int | None:
        """The constant operand that has one element per channel, or one in all."""
        (result,) = self._drafts[after].outs
        wanted = (1, shape[1], *(1,) * (len(shape) - 2))
        for register in (register for register in self._drafts[index].ins if register != result):
            value = self._value(register)
            if value is None or value.dim() > len(shape):
                continue
            if (1,) * (len(shape) - value.dim()) + tuple(value.shape) == wanted:
                return register
        return None

    def _value(self, register: int) -> Any:
        """The tensor of a constant, None for what is computed."""
        return None if register in self._maker else self._constant_in(register)

    def _count(self, index: int) -> int:
        (register,) = self._drafts[index].outs
        return len(self._readers.get(register, ())) + self._kept[register]

    def _only_reader(self, index: int, kind: str) -> int | None:
        if self._count(index) != 1:
            return None
        readers = self._readers.get(self._drafts[index].outs[0], [])
        return readers[0] if readers and self._drafts[readers[0]].operation.type == kind else None

    def _shape(self, index: int | None) -> tuple[int, ...] | None:
        kind = None if index is None else self._drafts[index].operation.outputs[0].type
        if not isinstance(kind, mil.TensorType) or None in kind.shape or len(kind.shape) < 2:
            return None
        return kind.shape  # type: ignore[return-value]

    def _axes(self, index: int, rank: int) -> tuple[int, ...] | None:
        """Axes of a mean that keeps its dimensions."""
        plain = {}
        for name in ("axes", "keep_dims"):
            bindings = self._drafts[index].operation.inputs.get(name, ())
            value = self._constant(bindings[0]) if bindings else None
            plain[name] = None if value is None else plain_value(value)
        if not plain["keep_dims"] or plain["axes"] is None:
            return None
        axes = plain["axes"] if isinstance(plain["axes"], list) else [plain["axes"]]
        return tuple(sorted(a % rank for a in axes))

    def _exact(self, index: int) -> bool:
        """Whether the result is fp32 and not rounded."""
        kind = self._drafts[index].operation.outputs[0].type
        if not isinstance(kind, mil.TensorType):
            return False
        unrounded = ("fp32", "fp16") if self._policy == "fp32" else ("fp32",)
        return kind.dtype in unrounded
