"""Pictures and sounds in other sizes, by formulas that any language can follow to the last digit.

Everything is computed in double precision and rounded once, by whoever stores it.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_BLOCK_ROWS = 64
"""Rows of a picture that are double precision at once."""
ZERO_CROSSINGS = 16
"""Of the sinc, on each side of an output sample."""
_BLOCK_SAMPLES = 4096


@dataclass(frozen=True, slots=True)
class Fit:
    """The box of the source that is shown, [top, top + height) x [left, left + width), and the
    rows and columns of the target that it fills; the others are black."""

    top: float
    left: float
    height: float
    width: float
    first_row: int
    first_column: int
    rows: int
    columns: int


def fit(how: str, source: tuple[int, int], target: tuple[int, int]) -> Fit:
    """How a picture of (height, width) becomes one of another.

    crop: the largest centred box of the target's shape, which may begin between pixels. pad: all of
    it, its sides by the smaller scale, rounded half up and at least 1, centred, the odd pixel below
    and on the right. stretch: all of it.
    """
    (h, w), (height, width) = source, target
    if how == "crop" and width * h >= height * w:
        box = height * w / width
        return Fit((h - box) / 2, 0.0, box, float(w), 0, 0, height, width)
    if how == "crop":
        box = width * h / height
        return Fit(0.0, (w - box) / 2, float(h), box, 0, 0, height, width)
    rows, columns = height, width
    if how == "pad" and width * h >= height * w:
        columns = max(1, (2 * w * height + h) // (2 * h))
    elif how == "pad":
        rows = max(1, (2 * h * width + w) // (2 * w))
    top, left = (height - rows) // 2, (width - columns) // 2
    return Fit(0.0, 0.0, float(h), float(w), top, left, rows, columns)


@lru_cache(maxsize=32)
def triangle(size: int, start: float, length: float, many: int) -> "np.ndarray":
    """Weights (many, size) with which [start, start + length) of `size` pixels becomes `many`.

    With s = length / many and r = max(s, 1), output i is at c = start + (i + 1/2) s; pixel x weighs
    max(0, 1 - |x + 1/2 - c| / r), of those from floor(c - r + 1/2) to below floor(c + r + 1/2) that
    are there, divided by their sum.
    """
    import numpy as np

    scale = length / many
    reach = max(scale, 1.0)
    made = np.zeros((many, size), np.float64)
    # Row by row: all of it at once would be there several times, and it is large.
    for row, centre in zip(made, start + (np.arange(many) + 0.5) * scale, strict=True):
        first = max(0, int(np.floor(centre - reach + 0.5)))
        last = min(size, int(np.floor(centre + reach + 0.5)))
        pixels = np.arange(first, last, dtype=np.float64)
        weights = np.maximum(0.0, 1.0 - np.abs(pixels + 0.5 - centre) / reach)
        row[first:last] = weights / weights.sum()
    return made


def resize(samples: "np.ndarray", how: str, target: tuple[int, int]) -> "np.ndarray":
    """(height, width, 3) of any numbers -> double (target..., 3); black, 0, where it is padded."""
    import numpy as np

    h, w = samples.shape[:2]
    f = fit(how, (h, w), target)
    across = triangle(w, f.left, f.width, f.columns)
    down = triangle(h, f.top, f.height, f.rows)
    narrow = np.empty((h, f.columns, 3), np.float64)
    for row in range(0, h, _BLOCK_ROWS):
        block = samples[row : row + _BLOCK_ROWS].astype(np.float64)
        narrow[row : row + _BLOCK_ROWS] = np.einsum("xw,hwc->hxc", across, block, optimize=True)
    made = np.zeros((*target, 3), np.float64)
    inner = made[f.first_row : f.first_row + f.rows, f.first_column : f.first_column + f.columns]
    inner[...] = np.tensordot(down, narrow, axes=(1, 0))
    return made


def sound(samples: "np.ndarray", given: int, wanted: float, many: int) -> "np.ndarray":
    """`many` samples at `wanted` a second of a sound at `given`; silence, 0, behind its end.

    Output m is at t = m given / wanted. With s = max(1, given / wanted) and d = (n - t) / s, sample
    n weighs sinc(d) cos^2(pi d / 32) / s where |d| < 16, and 0 elsewhere; sinc(d) = sin(pi d) / (pi
    d), sinc(0) = 1. At the same rate samples are taken as they are.
    """
    import numpy as np

    made = np.zeros(many, np.float64)
    if given == wanted:
        made[: min(many, len(samples))] = samples[:many]
        return made
    slower = max(1.0, given / wanted)
    reach = int(np.ceil(ZERO_CROSSINGS * slower))
    padded = np.pad(samples.astype(np.float64), (reach, reach + 1))
    offsets = np.arange(-reach, reach + 1)
    for first in range(0, many, _BLOCK_SAMPLES):
        times = np.arange(first, min(many, first + _BLOCK_SAMPLES)) * given / wanted
        times = times[times < len(samples) + reach]
        near = np.floor(times).astype(np.int64)[:, None] + offsets
        d = (near - times[:, None]) / slower
        window = np.where(np.abs(d) < ZERO_CROSSINGS, np.cos(np.pi * d / 32) ** 2, 0.0)
        at = np.clip(near + reach, 0, len(padded) - 1)
        inside = (near >= 0) & (near < len(samples))
        terms = np.where(inside, padded[at], 0.0) * np.sinc(d) * window
        made[first : first + len(times)] = terms.sum(axis=1) / slower
    return made


def samples_needed(given: int, wanted: float, many: int) -> int:
    """Of a sound, for so many in another rate."""
    import math

    return math.ceil(many * given / wanted + ZERO_CROSSINGS * max(1.0, given / wanted)) + 1
