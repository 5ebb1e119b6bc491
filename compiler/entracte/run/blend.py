"""Pieces of a tensor that overlap, as one: each fades in while the one before it fades out.

Along an axis, piece k shares its first o = size - stride elements with the piece before it. There its
weight at offset y is y / o, and that of the other 1 - y / o; elsewhere a weight is 1. Weights of two
axes multiply. Sums are taken in fp32, in the order of the pieces; weights are rounded to fp32 once.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from entracte.ir import Window

if TYPE_CHECKING:
    import numpy as np

Place = tuple[tuple[int, int], ...]
"""(axis, where a piece begins along it)."""


def indices(windows: Sequence[Window], k: int) -> tuple[int, ...]:
    """The place of piece k in the grid of all windows, the last one's running fastest."""
    found: list[int] = []
    for window in reversed(windows):
        k, index = divmod(k, window.count)
        found.append(index)
    return tuple(reversed(found))


def begins(windows: Sequence[Window], k: int) -> Place:
    """Where piece k begins along each axis that is cut."""
    return tuple((w.axis, w.begin(i)) for w, i in zip(windows, indices(windows, k), strict=True))


def overlap(windows: Sequence[Window]) -> bool:
    """Whether pieces share elements, so that they are blended."""
    return any(w.count > 1 and w.stride < w.size for w in windows)


def ramp(window: Window, k: int) -> "np.ndarray":
    """The weight of each element of piece k along the window's axis, fp32."""
    import numpy as np

    shared = window.size - window.stride
    weights = np.ones(window.size, np.float64)
    if shared > 0:
        rise = np.arange(shared) / shared
        if k > 0:
            weights[:shared] = rise
        if k < window.count - 1:
            weights[window.stride :] = 1 - rise
    made: np.ndarray = weights.astype(np.float32)
    return made


def weighted(piece: Any, windows: Sequence[Window], k: int) -> "np.ndarray":
    """Piece k, fp32, times its weights: what is added to the sum."""
    import numpy as np

    made: np.ndarray = np.asarray(piece).astype(np.float32)
    for window, index in zip(windows, indices(windows, k), strict=True):
        shape = [1] * made.ndim
        shape[window.axis] = window.size
        made *= ramp(window, index).reshape(shape)
    return made
