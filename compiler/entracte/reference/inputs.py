"""What callers hand over, as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from entracte.reference import mil

_TAKEN = ("float16", "float32", "float64", "int32", "int8")
"""coremltools' bridge to Core ML refuses arrays of any other type."""

_MODES = {"RGB": "RGB", "BGR": "RGB", "GRAYSCALE": "L", "GRAYSCALE_FLOAT16": "F"}


def as_tensor(value: Any, image: mil.Image | None) -> torch.Tensor:
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


def door_value(value: Any, image: mil.Image | None, rank: int) -> Any:
    """The same, held to what coremltools' `MLModel.predict` takes.

    Args:
        rank: dimensions the program declares. Core ML has no rank-0 inputs: (1,) stands for ().

    Raises:
        TypeError: a picture is needed and this is none of the right mode, or it is no array.
        ValueError: an element type that coremltools cannot hand to Core ML.
    """
    if image is not None:
        return _checked_picture(value, image)
    if hasattr(value, "convert"):
        raise TypeError("is an array input, but was given a picture")
    if isinstance(value, (bool, int)):
        value = np.int32(value)
    array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError("is not an array of numbers")
    if array.dtype.name not in _TAKEN:
        raise ValueError(
            f"has element type {array.dtype.name}; Core ML takes {', '.join(_TAKEN)}: convert it, "
            "for example with .astype(numpy.int32)"
        )
    return array.reshape(()) if rank == 0 and array.shape == (1,) else array


def _checked_picture(value: Any, image: mil.Image) -> Any:
    wanted = _MODES.get(image.color, "RGB")
    if not hasattr(value, "convert"):
        raise TypeError(f"is an image input: give a PIL image of mode {wanted!r}")
    if value.mode != wanted:
        raise TypeError(f"is an image of mode {value.mode!r}, it takes {wanted!r}")
    return value


def _pixels(value: Any, image: mil.Image) -> torch.Tensor:
    """A PIL image as [1, channels, height, width]: values 0 to 255, or those of a float image."""
    gray = image.color.startswith("GRAYSCALE")
    float_mode = image.color == "GRAYSCALE_FLOAT16"
    pixels = np.array(value.convert("F" if float_mode else "L" if gray else "RGB"))
    planes = pixels[None] if gray else pixels.transpose(2, 0, 1)
    ordered = planes[::-1].copy() if image.color == "BGR" else planes
    return torch.from_numpy(np.ascontiguousarray(ordered))[None]
