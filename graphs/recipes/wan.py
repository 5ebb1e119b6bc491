"""WanPipeline and WanImageToVideoPipeline, Wan 2.1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_umt5 import text_features
from entracte.graphs.recipes.recipe import Recipe, Value, stage
from entracte.graphs.recipes.wan_decoder import decode_video


@stage
def denoise(
    transformer: nn.Module, z: Tensor, time: Tensor, states: Tensor,
    condition: Tensor | None = None, image: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The velocity of one half of guidance, or of both in a batch."""
    count = states.shape[0]
    x = z if condition is None else torch.cat([z, condition], 1)
    seen = None if image is None else image.expand(count, -1, -1)
    made: Tensor = transformer(
        x.expand(count, -1, -1, -1, -1), time.expand(count), states, seen, return_dict=False
    )[0]
    return made


def wan(r: Recipe) -> None:
    """umT5, a transformer over all frames, UniPC, a causal VAE frame by frame."""
    sizes = latent_sizes(r)
    states = text_features(r)
    z = r.noise((1, r.config("transformer")["in_channels"], *sizes))
    with r.sampling(z, steps=50) as loop:
        loop.step(velocity(r, z=loop.input, time=loop.time, states=states))
    decode_video(r, loop.z)


def latent_sizes(r: Recipe) -> tuple[int, int, int]:
    """Frames, rows and columns of latents."""
    index = r.folder.index
    if index.get("expand_timesteps") or index.get("boundary_ratio") is not None:
        raise ValueError(
            f"{r.folder.path}: model_index.json is of Wan 2.2 (expand_timesteps, boundary_ratio); "
            "the recipe is of Wan 2.1"
        )
    vae, (_, high, wide) = r.config("vae"), r.config("transformer")["patch_size"]
    time, space = vae.get("scale_factor_temporal", 4), vae.get("scale_factor_spatial", 8)
    frames = r.size("frames", 81, time, rest=1)
    height, width = r.size("height", 480, space * high), r.size("width", 832, space * wide)
    return (frames - 1) // time + 1, height // space, width // space


def velocity(r: Recipe, z: Value, states: Value, **more: Any) -> Value:
    """What the scheduler reads; halves of guidance one after the other, where the user says nothing
    else."""
    told = {"guidance": r.number("guidance", 5.0)} if states.shape[0] == 2 else {}
    return in_halves(r, denoise, z, told, sliced={"states": states}, precise=True, **more)
