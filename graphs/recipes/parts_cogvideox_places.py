"""What follows from CogVideoX's sizes and steps alone: tables that turn queries and keys by their
places (5B and 1.5), factors of guidance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import Tensor


def rotary(of: Any, shape: tuple[int, ...]) -> tuple[Tensor, Tensor] | None:
    """Tables for latents (1, frames, channels, rows, columns); None of 2B, which adds its own.

    Args:
        of: the transformer's configuration.
    """
    if not of.use_rotary_positional_embeddings:
        return None
    grid = (shape[3] // of.patch_size, shape[4] // of.patch_size)
    base = (of.sample_height // of.patch_size, of.sample_width // of.patch_size)
    if of.patch_size_t is None:
        crops: Any = get_resize_crop_region_for_grid(grid, base[1], base[0])
        return get_3d_rotary_pos_embed(of.attention_head_dim, crops, grid, shape[1])
    frames = -(-shape[1] // of.patch_size_t)
    return get_3d_rotary_pos_embed(of.attention_head_dim, None, grid, frames, grid_type="slice",
                                   max_size=base)  # fmt: skip


def factors(times: Sequence[float], steps: int) -> list[float]:
    """Of the user's guidance in each step, as `use_dynamic_cfg` of diffusers has them."""
    powers = [((steps - time) / steps) ** 5.0 for time in times]
    return [(1 - math.cos(math.pi * power)) / 2 for power in powers]


def check_learned(of: Mapping[str, Any], scale: int, height: int, width: int) -> None:
    """Raises `ValueError` for sizes whose places were not learned (5B, image to video)."""
    if not of.get("use_learned_positional_embeddings"):
        return
    only = (of["sample_height"] * scale, of["sample_width"] * scale)
    for name, given, wanted in zip(("height", "width"), (height, width), only, strict=True):
        if given != wanted:
            raise ValueError(
                f"pipeline.options.{name}: {given}: this model learned places of {only[0]} x "
                f"{only[1]} pixels alone; give {wanted}"
            )
