"""What callers hand over, as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from compiler.reference import program as ir


def as_tensor(value: Any, image: ir.Image | None) -> torch.Tensor:
    """A tensor of an array, a tensor, a number, or (for an image input) a PIL image.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(value, torch.Tensor):
        return value.detach()
    if image is not None and hasattr(value, "convert"):
        return _pixels(value, image)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError("is not an array of numbers")
    if array.dtype in (np.uint16, np.uint32, np.uint64):
        array = array.astype(np.int64)
    # A read-only or reversed array cannot be borrowed by torch.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _pixels(value: Any, image: ir.Image) -> torch.Tensor:
    """A PIL image as [1, channels, height, width] with values 0 to 255."""
    gray = image.color.startswith("GRAYSCALE")
    pixels = np.array(value.convert("L" if gray else "RGB"))
    planes = pixels[None] if gray else pixels.transpose(2, 0, 1)
    ordered = planes[::-1].copy() if image.color == "BGR" else planes
    return torch.from_numpy(np.ascontiguousarray(ordered))[None]
