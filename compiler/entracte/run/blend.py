"""Pieces of a tensor that overlap, as one: each fades in while the one before it fades out.

Along an axis, piece k shares its first o = size - stride elements with the piece before it. There
its weight at offset y is y / o, and that of the other 1 - y / o; elsewhere a weight is 1. Weights
of two axes multiply. Sums are taken in fp32, in the order of the pieces; weights are rounded to
fp32 once.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from entracte.ir import Window

if TYPE_CHECKING:
    import numpy as np

_BLOCK_ELEMENTS = 1 << 20
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


def weighted(
    piece: Any, windows: Sequence[Window], k: int, most: int = _BLOCK_ELEMENTS
) -> "Iterator[tuple[Place, np.ndarray]]":
    """Piece k, fp32, times its weights, in blocks of about `most` elements: where each is to be
    added to the sum. A piece is never there a second time."""
    import numpy as np

    array = np.asarray(piece)
    (axis, begin), *others = begins(windows, k)
    size = windows[0].size
    rows = max(1, most * size // max(1, array.size))
    for at in range(0, size, rows):
        block: np.ndarray = array[(slice(None),) * axis + (slice(at, at + rows),)]
        block = block.astype(np.float32)
        for n, (window, index) in enumerate(zip(windows, indices(windows, k), strict=True)):
            weights = ramp(window, index)
            weights = weights[at : at + rows] if n == 0 else weights
            shape = [1] * block.ndim
            shape[window.axis] = len(weights)
            block *= weights.reshape(shape)
        yield ((axis, begin + at), *others), block
