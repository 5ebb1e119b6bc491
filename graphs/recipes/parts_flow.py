"""What transformers that predict a flow over a picture's patches share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


def shift_of(scheduler: Mapping[str, Any], tokens: int, most: float) -> float:
    """`mu` of so many tokens: a line between the two that the scheduler's configuration has; `most`
    is its `max_shift` where it says none (`calculate_shift` of diffusers)."""
    base, longest = (
        scheduler.get("base_image_seq_len", 256),
        scheduler.get("max_image_seq_len", 4096),
    )
    low, high = scheduler.get("base_shift", 0.5), scheduler.get("max_shift", most)
    slope = (high - low) / (longest - base)
    return float(tokens * slope + (low - slope * base))


def even_sigmas(scheduler: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Argument of the scheduler's `set_timesteps`: evenly from 1 to 1 / steps."""
    if scheduler.get("use_flow_sigmas"):
        return {}
    return {"sigmas": [1.0 - i * (1.0 - 1.0 / steps) / max(steps - 1, 1) for i in range(steps)]}


def packed(z: Tensor) -> Tensor:
    """(1, C, H, W) -> tokens (1, H/2 * W/2, 4C), each of 2 x 2 latents."""
    return pixel_unshuffle(z, 2).flatten(2).transpose(1, 2)


def unpacked(x: Tensor, z: Tensor) -> Tensor:
    """Tokens as latents of the shape of `z`."""
    rows, columns = z.shape[2] // 2, z.shape[3] // 2
    return pixel_shuffle(x.transpose(1, 2).reshape(1, -1, rows, columns), 2)


def places(rows: int, columns: int, before: int = 1, after: int = 0) -> Tensor:
    """Of each token its row and column, between so many zeros: (rows * columns, axes)."""
    found = [[0] * before + [i, j] + [0] * after for i in range(rows) for j in range(columns)]
    return torch.tensor(found, dtype=torch.float32)


_MOST = 65504.0
"""The largest number of fp16."""


@contextmanager
def within_fp16(transformer: Any, precision: str) -> Iterator[None]:
    """Inside, at fp16, what FLUX's blocks hand on is cut off at fp16's largest number: their
    residual stream leaves its range, and diffusers does so too where tensors are fp16."""
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    hooks = [b.register_forward_hook(_cut) for b in blocks if precision == "fp16"]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _cut(_: nn.Module, __: Any, made: Any) -> Any:
    if isinstance(made, Tensor):
        return made.clamp(-_MOST, _MOST)
    return tuple(x.clamp(-_MOST, _MOST) for x in made)
