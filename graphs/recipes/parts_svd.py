"""StableVideoDiffusionPipeline: what sees the picture, and what decodes frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts_latents import upcast
from entracte.graphs.recipes.recipe import Recipe, Value, image_scale, stage

_SIDE = 224
"""Of what the image encoder sees: the pipeline says this number, whatever the encoder has."""


def halves(x: Tensor, *, is_guided: bool) -> Tensor:
    """Without the picture, and with it."""
    return torch.cat([torch.zeros_like(x), x]) if is_guided else x


@stage
def see(
    clip: nn.Module, image: Tensor, mean: Sequence[float], std: Sequence[float], guided: bool
) -> Tensor:
    """The picture's meaning, [without, with], (..., 1, width)."""
    from diffusers.pipelines.stable_video_diffusion import pipeline_stable_video_diffusion as own

    small = own._resize_with_antialiasing(image, (_SIDE, _SIDE)) / 2 + 0.5
    middle, spread = (torch.tensor(x).reshape(1, 3, 1, 1) for x in (mean, std))
    made: Tensor = clip((small - middle) / spread).image_embeds[:, None]
    return halves(made, is_guided=guided)


@stage
def encode(vae: nn.Module, image: Tensor, noise: Tensor, strength: Tensor, guided: bool) -> Tensor:
    """Latents of the picture with some noise, unscaled, [without, with]."""
    seen = vae.encode(image + strength * noise, return_dict=False)[0]  # type: ignore[operator]
    return halves(seen.mode(), is_guided=guided)


@stage
def decode(vae: nn.Module, z: Tensor, scaling: float) -> Tensor:
    """Latents (1, frames, ...) -> (1, 3, frames, height, width), from -1 to 1."""
    frames = z.shape[1]
    made: Tensor = vae.decode(z[0] / scaling, frames).sample  # type: ignore[operator]
    return made.transpose(0, 1)[None]


def decoded(r: Recipe, z: Value, start: int, size: int) -> Value:
    """Frames from `start` on, `size` at once; a rest that is fewer is another call's."""
    vae, rest = r.config("vae"), {"weights_of": "decode"} if start else {}
    slices = {"port": "z", "axis": 1, "size": size, "start": start, "output_axis": 2,
              "count": (z.shape[1] - start) // size}  # fmt: skip
    made: Value = r.stage(
        decode, "vae", name="decode_rest" if start else "decode", z=z.of(1, size, *z.shape[2:]),
        settings={"scaling": vae["scaling_factor"]}, options={"map": slices, **upcast(vae), **rest},
        video=(1, 3, size, *(n * image_scale(vae) for n in z.shape[3:])),
    )  # fmt: skip
    return made
