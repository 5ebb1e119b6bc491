"""Pictures as Open-Sora Plan prepares them: cut to a shape, scaled, cut to a stride.

Source: Open-Sora Plan 1.3, `opensora/dataset/transform.py` (CenterCropResizeVideo,
SpatialStrideCropVideo, maxhwresize), in our words.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

Size = tuple[int, int]
"""Rows and columns."""


def scaled_size(source: Size, most: int) -> Size:
    """That of a picture with at most `most` pixels, its shape kept."""
    rows, columns = source
    if rows * columns <= most:
        return source
    factor = math.sqrt(most / (rows * columns))
    return int(rows * factor), int(columns * factor)


def stride_size(size: Size, stride: int) -> Size:
    """The largest multiples of a stride inside."""
    return size[0] // stride * stride, size[1] // stride * stride


def scaled(x: Tensor, target: Size) -> Tensor:
    """The centre of (..., rows, columns) that has the target's shape, in the target's size."""
    rows, columns = x.shape[-2:]
    ratio = target[0] / target[1]
    if rows / columns > ratio:
        inner = int(columns * ratio), columns
    else:
        inner = rows, int(rows / ratio)
    top, left = (round((a - b) / 2) for a, b in zip((rows, columns), inner, strict=True))
    x = x[..., top : top + inner[0], left : left + inner[1]]
    return weights(inner[0], target[0]) @ x @ weights(inner[1], target[1]).T


def centre(x: Tensor, target: Size) -> Tensor:
    """The centre of (..., rows, columns), the odd pixel below and on the right left out."""
    top, left = ((a - b) // 2 for a, b in zip(x.shape[-2:], target, strict=True))
    return x[..., top : top + target[0], left : left + target[1]]


def weights(size: int, many: int) -> Tensor:
    """(many, size): bilinear with antialiasing between corners, as torch's `interpolate` has it
    with `align_corners`: the scale is that of corners, the centres are those of pixels."""
    scale = (size - 1) / (many - 1) if many > 1 else 0.0
    reach = max(scale, 1.0)
    middle = scale * (np.arange(many)[:, None] + 0.5)
    first = np.maximum((middle - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((middle + reach + 0.5).astype(np.int64), size)
    pixels = np.arange(size)[None]
    found = np.maximum(1 - np.abs(pixels + 0.5 - middle) / reach, 0)
    found = np.where((pixels >= first) & (pixels < last), found, 0)
    # By way of lists: a constant where the stage is exported, not operations.
    return torch.tensor((found / found.sum(1, keepdims=True)).tolist())
