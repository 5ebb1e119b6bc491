"""Stages that several recipes have."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.recipe import stage


@stage
def decode_image(vae: nn.Module, z: Tensor, scaling: float, shift: float = 0.0) -> Tensor:
    """Latents of an AutoencoderKL -> (1, 3, height, width), from -1 to 1."""
    made: Tensor = vae.decode(z / scaling + shift, return_dict=False)[0]  # type: ignore[operator]
    return made


def guided(both: Tensor, guidance: Tensor) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022) of a batch [without, with]."""
    without, given = both.chunk(2)
    return without + guidance * (given - without)


def twice(x: Tensor) -> Tensor:
    """The same latents for both halves of guidance."""
    return torch.cat([x, x])
