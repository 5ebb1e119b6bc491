"""What tracing must know of the converter it works for: one value, made where that converter is.

Tracing and lowering must agree on all of this, or a chunk is cut that no package can be made of.
`entracte.lower.backend` holds the row of Core ML; whoever starts a trace hands one in.
"""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Backend", "Islands", "Sharing"]


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
class Sharing:
    """Which ATen operations' results are in the memory of what they read first.

    The rules by which the emitted program is measured (`entracte.reference.liveness`), in ATen's
    names: tracing predicts by them what that will find.
    """

    views: frozenset[str]
    slices: frozenset[str]
    """May share it or be copies, which is not known: both count."""
    reshapes: frozenset[str]
    """Share it where what they read lies in order, and are like slices elsewhere. What they make
    lies in order."""
    keeping: frozenset[str]
    """Their results lie in order where all that they read does."""
    ordering: frozenset[str] = frozenset()
    """Their results lie in order whatever they read."""
    resampling: frozenset[str] = frozenset()
    """They are written with matrices, which ends in a reshape of what does not lie in order."""
    whole_resampling: frozenset[str] = frozenset()
    """The same, but for whole factors there is an operation of the backend's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One converter and the runtime that executes what it makes."""

    name: str
    max_rank: int
    """Of a tensor that enters or leaves a package."""
    is_convertible: Callable[[object], bool]
    """ATen operation -> whether there is a conversion; what has none is decomposed."""
    aliases: frozenset[str]
    """ATen operations that move nothing."""
    sharing: Sharing
    unfolded: frozenset[str]
    """ATen operations that are computed when a package runs even if they read only constants."""
    score_copies: int
    """How often attention's scores [..., queries, keys] are in memory while it computes, beside its
    inputs and its output."""
    group_norm_copies: int
    """How many copies of its input a group norm in fp16 holds beside its output when it ends."""
    fp32_group_norm_copies: int
    """The same in fp32."""
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
    if isinstance(value, Islands | Sharing):
        return ";".join(_spelled(getattr(value, name)) for name in value.__slots__)
    return getattr(value, "__qualname__", None) or str(value)
