"""What several recipes of latent diffusion share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def upcast(vae: Mapping[str, Any]) -> dict[str, str]:
    """Options of a stage of a VAE: fp32 where its values are too large for fp16 (`force_upcast`,
    true where its configuration does not say); diffusers decodes those in fp32 too."""
    return {"precision": "fp32"} if vae.get("force_upcast", True) else {}


_LOGARITHMS = (-30.0, 20.0)
"""Where the logarithm of a variance is cut off, as in diffusers."""


def sampled(moments: Tensor, noise: Tensor | None) -> Tensor:
    """Mean and logarithm of variance along axis 1 -> a sample; without noise the mean."""
    mean, logarithm = moments.chunk(2, dim=1)
    if noise is None:
        return mean
    return mean + torch.exp(0.5 * logarithm.clamp(*_LOGARITHMS)) * noise


def guidance_embedding(guidance: Tensor, dim: int) -> Tensor:
    """What a UNet of a latent consistency model is told of guidance (Luo et al. 2023): sines and
    cosines of 1000 times the scale less 1; (1,) -> (1, dim)."""
    half = dim // 2
    rates = torch.exp(torch.arange(half) * (-math.log(10000.0) / (half - 1)))
    angles = (guidance - 1)[:, None] * 1000.0 * rates[None]
    return torch.cat([angles.sin(), angles.cos(), *([angles[:, :1] * 0] * (dim % 2))], 1)
