"""LTX Video's latents as tokens, one for each place of each frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from entracte.graphs.recipes.recipe import stage


@stage
def encode_frame(vae: Any, image: Tensor, noise: Tensor) -> Tensor:
    """A picture, (1, 3, height, width), as the tokens of a first frame, (1, tokens, channels)."""
    drawn = vae.encode(image[:, :, None]).latent_dist
    mean, std = spread(vae)
    made: Tensor = ((drawn.mean + drawn.std * noise - mean) / std).flatten(2).transpose(1, 2)
    return made


def latents(vae: Any, tokens: Tensor, sizes: list[int]) -> Tensor:
    """Tokens as the decoder reads them, (1, channels, frames, rows, columns)."""
    mean, std = spread(vae)
    made: Tensor = tokens.transpose(1, 2).unflatten(2, sizes) * std / vae.config.scaling_factor
    return made + mean


def spread(vae: Any) -> tuple[Tensor, Tensor]:
    """Mean and deviation of latents, by channel."""
    return vae.latents_mean.view(1, -1, 1, 1, 1), vae.latents_std.view(1, -1, 1, 1, 1)


def ratios(vae: Mapping[str, Any]) -> tuple[int, int]:
    """Pixels to a latent's width, frames of the video to a latent frame."""
    halvings = 2 ** sum(vae["spatio_temporal_scaling"])
    wide, long = vae.get("spatial_compression_ratio"), vae.get("temporal_compression_ratio")
    return wide or vae["patch_size"] * halvings, long or vae["patch_size_t"] * halvings
