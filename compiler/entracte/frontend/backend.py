"""What tracing must know of the converter it works for: one value, made where that converter is.

Tracing and lowering must agree on all of this, or a chunk is cut that no package can be made of.
`entracte.lower.backend` holds the row of Core ML; whoever starts a trace hands one in.
"""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Backend", "Islands"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Islands:
    """Where a program in fp16 computes in fp32, by names of operations.

    Three patterns: what feeds a sine or cosine; sums and means of squares, up to where a tensor is
    scaled by what they gave; what a logarithm is taken of.
    """

    sines: frozenset[str]
    followed: frozenset[str]
    """Operations through which the arguments of a sine are followed back; all others end it."""
    roots: frozenset[str]
    """So is a power of a half, or of minus a half."""
    averaging: frozenset[str]
    """What may stand between a square and the root of its mean."""
    squares: frozenset[str]
    outer: frozenset[str] = frozenset()
    """Products through which they are followed too, where they add nothing up."""
    lookups: frozenset[str] = frozenset()
    """Operations through which they are followed where what is read is no weight."""
    sizes: frozenset[str] = frozenset()
    """Their sums count as those of squares."""
    product: str = "mul"
    """Of a value with itself it is a square too."""
    reductions: frozenset[str] = frozenset()
    """What makes a statistic of squares."""
    spread: frozenset[str] = frozenset()
    """What may be done to a statistic before a tensor is scaled by it."""
    scaling: frozenset[str] = frozenset()
    """What scales a tensor by a statistic."""
    logarithms: frozenset[str] = frozenset()
    tails: frozenset[str] = frozenset()
    """Operations through which the argument of a logarithm is followed back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One converter and the runtime that executes what it makes."""

    name: str
    max_rank: int
    """Of a tensor that enters or leaves a package."""
    is_convertible: Callable[[object], bool]
    """ATen operation -> whether there is a conversion; what has none is decomposed."""
    aliases: frozenset[str]
    """ATen operations whose result is their input's memory."""
    score_copies: int
    """How often attention's scores [..., queries, keys] are in memory while it computes, beside its
    inputs and its output."""
    group_norm_copies: int
    """The same of a group norm's input."""
    aten_islands: Islands
    """In ATen's names: found in the graph of a whole stage, whichever way it is cut."""
    own_islands: Islands
    """The same patterns in the names of the backend's own operations: found in one chunk."""
    hoist_flops_per_byte: int
    """How many operations in every iteration weigh like one byte that is held for the whole loop,
    where it is decided what leaves a loop."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Differs where traces or packages may; the code of a function is not looked at."""
        return tuple(f"{name}={_spelled(getattr(self, name))}" for name in self.__slots__)


def _spelled(value: object) -> str:
    if isinstance(value, frozenset):
        return ",".join(sorted(value))
    if isinstance(value, Islands):
        return ";".join(_spelled(getattr(value, name)) for name in value.__slots__)
    return getattr(value, "__qualname__", None) or str(value)
