"""Resampling of the last axes on a regular grid.

The sampling grids are those of coremltools' documentation (`resize_bilinear`); fractional
`upsample_nearest_neighbor` takes floor(i * in / out) with the real sizes, as Apple's tests expect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from entracte.reference.allowance import check_elements
from entracte.reference.bind import Bind
from entracte.reference.registry import Compute, Kind, op


def grid(mode: str, size: int, count: int) -> torch.Tensor:
    """Source positions of `count` samples along an axis of `size` elements, in float64."""
    index = torch.arange(count, dtype=torch.float64)
    if mode == "ALIGN_CORNERS" and count == 1:
        points = torch.full((1,), (size - 1) / 2, dtype=torch.float64)
    elif mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = index * ((size - 1) / max(count - 1, 1))
    elif mode == "DEFAULT":
        points = index * (size / count)
    elif mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / count
        points = 0.5 * delta + index * delta
    elif mode == "UNALIGN_CORNERS":
        points = (index + 0.5) * (size / count) - 0.5
    else:
        raise ValueError(f"unknown sampling mode {mode!r}")
    return points.clamp(0, size - 1)


def sample_linear(x: torch.Tensor, axis: int, points: torch.Tensor) -> torch.Tensor:
    """Linear interpolation of `x` along `axis` at `points`."""
    low = points.floor().long()
    high = torch.clamp(low + 1, max=x.shape[axis] - 1)
    shape = [1] * x.dim()
    shape[axis] = -1
    weight = (points - low).to(x.dtype).reshape(shape)
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, high), weight)


def _guard(x: torch.Tensor, sizes: Sequence[int]) -> None:
    check_elements(math.prod(x.shape[: x.dim() - len(sizes)]) * math.prod(sizes), "the result")


def _resize_linear(x: torch.Tensor, sizes: Sequence[int], mode: str) -> torch.Tensor:
    _guard(x, sizes)
    for axis, size in zip(range(-len(sizes), 0), sizes, strict=True):
        if x.shape[axis] != size or mode == "OFFSET_CORNERS":
            x = sample_linear(x, x.dim() + axis, grid(mode, x.shape[axis], size))
    return x


def _resize_nearest(x: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    _guard(x, sizes)
    for axis, size in zip(range(-len(sizes), 0), sizes, strict=True):
        old = x.shape[axis]
        if old == size:
            continue
        if size % old == 0:
            x = x.repeat_interleave(size // old, dim=axis)
        else:
            x = x.index_select(axis, torch.arange(size) * old // size)
    return x


@op("upsample_nearest_neighbor", "x", Kind.MOVE)
def upsample_nearest_neighbor(bind: Bind) -> Compute:
    """Repeat elements of the last two axes: x [*, h, w] to [*, h*f, w*f], f whole or not."""
    factors = bind.const("scale_factor_height", 1), bind.const("scale_factor_width", 1)
    if all(float(f).is_integer() and f >= 1 for f in factors):
        return _repeat(int(factors[0]), int(factors[1]))
    return lambda x: _resize_nearest(
        x, [math.floor(f * s) for f, s in zip(factors, x.shape[-2:], strict=True)]
    )


def _repeat(high: int, wide: int) -> Compute:
    def run(x: torch.Tensor) -> torch.Tensor:
        *lead, height, width = x.shape
        check_elements(x.numel() * high * wide, "the result")
        spread = x[..., :, None, :, None].expand(*lead, height, high, width, wide)
        return spread.reshape(*lead, height * high, width * wide)

    return run


@op("resize_nearest_neighbor", "x", Kind.MOVE)
def resize_nearest_neighbor(bind: Bind) -> Compute:
    """Nearest elements of the last two axes: x [*, h, w] to [*, target height, target width]."""
    sizes = [bind.const("target_size_height"), bind.const("target_size_width")]
    return lambda x: _resize_nearest(x, sizes)


@op("upsample_bilinear", "x")
def upsample_bilinear(bind: Bind) -> Compute:
    """Interpolate the last two axes: x [*, h, w] to [*, h*f, w*f].

    The scale is recomputed from the output size.
    """
    factors = bind.const("scale_factor_height", 1), bind.const("scale_factor_width", 1)
    align = bind.const("align_corners", True)
    half = bind.const("half_pixel_centers", not align)
    mode = "STRICT_ALIGN_CORNERS" if align else "UNALIGN_CORNERS" if half else "DEFAULT"

    def run(x: torch.Tensor) -> torch.Tensor:
        sizes = [math.floor(f * s) for f, s in zip(factors, x.shape[-2:], strict=True)]
        if mode == "DEFAULT" or x.dim() not in (3, 4):
            return _resize_linear(x, sizes, mode)
        _guard(x, sizes)
        batched = x if x.dim() == 4 else x[None]
        result = functional.interpolate(batched, sizes, mode="bilinear", align_corners=align)
        return result if x.dim() == 4 else result[0]

    return run


@op("resize_bilinear", "x")
def resize_bilinear(bind: Bind) -> Compute:
    """Interpolate x [*, h, w] to [*, target height, target width] on one of five grids."""
    sizes = [bind.const("target_size_height", 1), bind.const("target_size_width", 1)]
    mode = bind.const("sampling_mode", "DEFAULT")
    return lambda x: _resize_linear(x, sizes, mode)


@op("resize", "x #shape")
def resize(bind: Bind) -> Compute:
    """iOS17: resize the last `resized_dims` axes to `shape`; a target of 0 keeps the axis."""
    count = bind.const("resized_dims")
    mode = bind.const("sampling_mode", "DEFAULT")
    nearest = bind.const("interpolation_mode", "LINEAR") == "NEAREST_NEIGHBOR"

    def run(x: torch.Tensor, shape: list[int]) -> torch.Tensor:
        if count == 0:
            return x
        old = x.shape[x.dim() - count :]
        sizes = [new or size for new, size in zip(shape[-count:], old, strict=True)]
        if not nearest:
            return _resize_linear(x, sizes, mode)
        _guard(x, sizes)
        for axis, size in zip(range(x.dim() - count, x.dim()), sizes, strict=True):
            # Rounds to the nearest sample where the older operations take the one below.
            points = (grid(mode, x.shape[axis], size) + 0.5).floor()
            x = x.index_select(axis, points.long().clamp(max=x.shape[axis] - 1))
        return x

    return run
