"""What the program computed, as Core ML hands it to its caller."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from entracte.reference import mil

RETURNED = {"FLOAT16": np.float32, "FLOAT32": np.float32, "DOUBLE": np.float64,
            "INT32": np.int32, "INT8": np.int8}  # fmt: skip
"""numpy's type for each of Core ML's array types; coremltools hands fp16 over as float32."""


def door_result(value: Any, described: mil.Described) -> Any:
    """An array, a PIL image, or a label or table as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    if described.image is not None:
        return _picture(value, described.image)
    array = value.float().numpy() if value.dtype in (torch.float16, torch.bfloat16) \
        else value.numpy()  # fmt: skip
    array = array.astype(RETURNED.get(described.array, array.dtype), copy=False)
    # Core ML has no rank-0 outputs.
    return array.reshape(1) if array.ndim == 0 else array


def _picture(value: torch.Tensor, image: mil.Image) -> Any:
    """A PIL image of [1, channels, height, width]: mode RGBA, L or F, as coremltools makes them.

    Values are rounded and held within 0 to 255; how Core ML rounds is not documented.
    """
    from PIL import Image

    planes = value.float().numpy().reshape(value.shape[-3:])
    if image.color == "GRAYSCALE_FLOAT16":
        return Image.fromarray(planes[0])
    pixels = np.nan_to_num(planes).round().clip(0, 255).astype(np.uint8)
    if image.color == "GRAYSCALE":
        return Image.fromarray(pixels[0])
    ordered = pixels[::-1] if image.color == "BGR" else pixels
    opaque = np.full_like(pixels[:1], 255)
    return Image.fromarray(np.concatenate((ordered, opaque)).transpose(1, 2, 0).copy())
