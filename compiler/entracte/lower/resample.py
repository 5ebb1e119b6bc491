"""Resampling, exactly as torch does it, at any factor, in 1 to 3 dimensions, with antialiasing.

Core ML's own operations take a factor by which sizes are multiplied; where that gives torch's
result (whole factors) they are used. Everything else is a product with a matrix for each dimension:
torch's own resampling of the unit vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from entracte.lower.registry import arguments, register, table, value

__all__ = ["cure_resampling"]

_MODES = {
    "upsample_nearest": ("nearest", "upsample_nearest2d"),
    "_upsample_nearest_exact": ("exact", "_upsample_nearest_exact2d"),
    "upsample_linear": ("linear", "upsample_bilinear2d"),
    "upsample_bilinear": ("linear", "upsample_bilinear2d"),
    "upsample_trilinear": ("linear", "upsample_bilinear2d"),
    "upsample_bicubic": ("cubic", "upsample_bicubic2d"),
    "_upsample_bilinear_aa": ("antialias", "_upsample_bilinear2d_aa"),
    "_upsample_bicubic_aa": ("antialias", "_upsample_bicubic2d_aa"),
}
"""Operation without its rank -> kind, and what resamples one column in the same way."""

_ADAPTIVE = "adaptive"
"""Adaptive average pooling: `area` resampling."""

_NAMES = {
    "upsample_nearest1d": 1, "upsample_nearest2d": 2, "upsample_nearest3d": 3,
    "_upsample_nearest_exact1d": 1, "_upsample_nearest_exact2d": 2, "_upsample_nearest_exact3d": 3,
    "upsample_linear1d": 1, "upsample_bilinear2d": 2, "upsample_trilinear3d": 3,
    "upsample_bicubic2d": 2, "_upsample_bilinear2d_aa": 2, "_upsample_bicubic2d_aa": 2,
}  # fmt: skip
"""Operation -> dimensions that are resampled."""


def cure_resampling() -> None:
    """1.2 (4): 3-D is missing; sizes that are no whole multiple are refused or approximate,
    antialiasing is dropped, bicubic is missing."""
    for name, rank in _NAMES.items():
        for suffix in ("", ".vec"):
            full = f"{name}{suffix}"
            mode, column = _MODES[name.replace(f"{rank}d", "")]
            register(full, _conversion(rank, mode, column, table().get_func(full)))
    for name in ("adaptive_avg_pool3d", "_adaptive_avg_pool3d"):
        register(name, _conversion(3, _ADAPTIVE, _ADAPTIVE, None))


@dataclass(frozen=True)
class _Axis:
    """One dimension: how long it is, how long it becomes, the factor that was given."""

    given: int
    wanted: int
    factor: float | None

    @property
    def whole(self) -> int | None:
        """The whole number that both sizes and factor agree on."""
        times, rest = divmod(self.wanted, self.given)
        agrees = self.factor is None or self.factor == times
        return times if rest == 0 and agrees else None


def _conversion(rank: int, mode: str, column: str, stock: Any) -> Any:
    has_corners = mode not in ("nearest", "exact", _ADAPTIVE)

    def convert(context: Any, node: Any) -> None:
        x, size, *rest = arguments(context, node, 6)
        corners = bool(value(rest.pop(0))) if has_corners else None
        axes = _axes([int(n) for n in x.shape[2:]], value(size), rest)
        if _is_native(axes, mode):
            if rank < 3 and stock is not None:
                stock(context, node)
                return
            sizes = [axis.wanted for axis in axes]
            context.add(_native(x, sizes, mode, bool(corners)), node.name)
            return
        matrices = [_matrix(column, axis, corners) for axis in axes]
        context.add(_products(x, matrices), node.name)

    return convert


def _axes(given: list[int], size: Any, factors: list[Any]) -> list[_Axis]:
    """Of the sizes, or of the factors: a list of them, or one by one."""
    read: list[Any] = [_exact(f) for entry in factors for f in _numbers(value(entry))]
    read = (read + [None] * len(given))[: len(given)]
    sizes = None if size is None else [int(value(n)) for n in size]
    if sizes is None:
        sizes = [int(np.floor(n * f)) for n, f in zip(given, read, strict=True)]
    return [_Axis(*axis) for axis in zip(given, sizes, read, strict=True)]


def _numbers(entry: Any) -> list[Any]:
    """A list of factors, one factor, or none."""
    return list(entry) if isinstance(entry, list | tuple) else list(np.atleast_1d(entry))


def _exact(factor: Any) -> float | None:
    """coremltools hands on 1.7 in fp32, where it is more; at a tie torch's result is another."""
    number = value(factor)
    return None if number is None else float(str(np.float32(number)))


def _is_native(axes: list[_Axis], mode: str) -> bool:
    return mode in ("nearest", "linear") and all(axis.whole is not None for axis in axes)


def _matrix(column: str, axis: _Axis, corners: bool | None) -> np.ndarray | None:
    """[wanted, given]; None if nothing changes. Column i is what becomes of unit vector i."""
    import torch
    from torch.nn import functional

    # two columns: of one, antialiasing takes the strides for those of channels that come last
    unit = torch.eye(axis.given).reshape(1, axis.given, axis.given, 1).repeat(1, 1, 1, 2)
    if column == _ADAPTIVE:
        made = functional.adaptive_avg_pool2d(unit, (axis.wanted, 2))
    else:
        how = [] if corners is None else [corners]
        made = getattr(torch.ops.aten, column).default(
            unit, [axis.wanted, 2], *how, axis.factor, None
        )
    matrix: np.ndarray = made[0, :, :, 0].T.contiguous().numpy()
    same = axis.given == axis.wanted and np.array_equal(matrix, np.eye(axis.given))
    return None if same else matrix


def _products(x: Any, matrices: list[np.ndarray | None]) -> Any:
    """Each of the last dimensions multiplied by its matrix; dimensions that shrink go first."""
    from coremltools.converters.mil import Builder as mb

    if x.dtype.__name__ not in ("fp16", "fp32"):
        x = mb.cast(x=x, dtype="fp32")
    first = x.rank - len(matrices)
    todo = [(first + i, m) for i, m in enumerate(matrices) if m is not None]
    for axis, matrix in sorted(todo, key=lambda item: item[1].shape[0] / item[1].shape[1]):
        x = _product(x, axis, matrix)
    return mb.identity(x=x) if not todo else x


def _product(x: Any, axis: int, matrix: np.ndarray) -> Any:
    from coremltools.converters.mil import Builder as mb

    shape = [int(n) for n in x.shape]
    wanted = [*shape[:axis], matrix.shape[0], *shape[axis + 1 :]]
    if axis == len(shape) - 1:
        rows = mb.reshape(x=x, shape=[-1, shape[-1]])
        return mb.reshape(x=mb.matmul(x=rows, y=np.ascontiguousarray(matrix.T)), shape=wanted)
    after = int(np.prod(shape[axis + 1 :]))
    planes = mb.reshape(x=x, shape=[-1, shape[axis], after])
    return mb.reshape(x=mb.matmul(x=matrix[None], y=planes), shape=wanted)


def _native(x: Any, size: list[int], mode: str, align_corners: bool) -> Any:
    """[N, C, D, H, W] -> [N, C, *size]: H and W first, with C and D folded; then D alone."""
    from coremltools.converters.mil import Builder as mb

    batch, channels, depth, height, width = (int(n) for n in x.shape)
    out_depth, out_height, out_width = size
    plane = mb.reshape(x=x, shape=[batch, channels * depth, height, width])
    plane = _native_2d(plane, out_height, out_width, mode, align_corners)
    lines = mb.reshape(x=plane, shape=[batch, channels, depth, out_height * out_width])
    lines = _native_2d(lines, out_depth, out_height * out_width, mode, align_corners)
    return mb.reshape(x=lines, shape=[batch, channels, out_depth, out_height, out_width])


def _native_2d(x: Any, height: int, width: int, mode: str, align_corners: bool) -> Any:
    from coremltools.converters.mil import Builder as mb

    factors = [height // int(x.shape[2]), width // int(x.shape[3])]
    if factors == [1, 1]:
        return x
    names = dict(zip(("scale_factor_height", "scale_factor_width"), factors, strict=True))
    if mode == "nearest":
        return mb.upsample_nearest_neighbor(x=x, **names)
    return mb.upsample_bilinear(x=x, align_corners=align_corners, **names)
