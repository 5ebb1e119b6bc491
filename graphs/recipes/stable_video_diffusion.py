"""StableVideoDiffusionPipeline: a picture begins to move."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts import twice
from entracte.graphs.recipes.parts_latents import upcast
from entracte.graphs.recipes.recipe import Recipe, Value, image_scale, stage

_SIDE = 224
"""Of what the image encoder sees: the pipeline says this number, whatever the encoder has."""


@stage
def see(clip: nn.Module, image: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """The picture's meaning, (1, 1, width)."""
    from diffusers.pipelines.stable_video_diffusion import pipeline_stable_video_diffusion as own

    small = own._resize_with_antialiasing(image, (_SIDE, _SIDE)) / 2 + 0.5
    middle, spread = (torch.tensor(x).reshape(1, 3, 1, 1) for x in (mean, std))
    made: Tensor = clip((small - middle) / spread).image_embeds[:, None]
    return made


@stage
def encode(vae: nn.Module, image: Tensor, noise: Tensor, strength: Tensor) -> Tensor:
    """Latents of the picture with some noise, unscaled."""
    seen = vae.encode(image + strength * noise, return_dict=False)[0]  # type: ignore[operator]
    mean: Tensor = seen.mode()
    return mean


@stage
def denoise(
    unet: nn.Module, z: Tensor, time: Tensor, image: Tensor, states: Tensor, motion: Tensor,
    strength: Tensor, least: Tensor | None = None, most: Tensor | None = None, *, rate: int,
) -> Tensor:  # fmt: skip
    """What the scheduler takes away; guidance grows from the first frame to the last."""
    frames = z.shape[1]
    ids = torch.cat([torch.full_like(motion, rate - 1), motion, strength])[None]
    image = image[:, None].expand(-1, frames, -1, -1, -1)
    if least is None or most is None:
        both = torch.cat([z, image], 2)
    else:
        both = torch.cat([twice(z), torch.cat([torch.zeros_like(image), image])], 2)
        states, ids = torch.cat([torch.zeros_like(states), states]), twice(ids)
    made: Tensor = unet(both, time, states, ids, return_dict=False)[0]
    if least is None or most is None:
        return made
    without, given = made.chunk(2)
    scale = least + (most - least) * torch.linspace(0, 1, frames)
    return without + scale.reshape(1, -1, 1, 1, 1) * (given - without)


@stage
def decode(vae: nn.Module, z: Tensor, scaling: float) -> Tensor:
    """Latents (1, frames, ...) -> (1, 3, frames, height, width), from -1 to 1."""
    frames = z.shape[1]
    made: Tensor = vae.decode(z[0] / scaling, frames).sample  # type: ignore[operator]
    return made.transpose(0, 1)[None]


def stable_video_diffusion(r: Recipe) -> None:
    """CLIP's vision and a VAE's encoder see a picture, a UNet moves it, frames are decoded in
    slices of `decode_frames`, as the library does: smaller ones need less memory, and their
    borders show."""
    unet, vae, clip = r.config("unet"), r.config("vae"), r.config("image_encoder")
    looks, scale = r.config("feature_extractor"), image_scale(vae)
    height, width = r.size("height", 576, scale), r.size("width", 1024, scale)
    frames, rate = r.size("frames", unet["num_frames"]), r.size("fps", 7)
    count = min(r.size("decode_frames", frames), frames)
    rows, columns = height // scale, width // scale
    image = r.image("image", height, width)
    strength = r.number("noise_strength", 0.02)
    states = r.stage(see, "image_encoder", image=image,
                     settings={"mean": looks["image_mean"], "std": looks["image_std"]},
                     states=(1, 1, clip["projection_dim"]))  # fmt: skip
    noise = r.noise((1, 3, height, width), "image_noise", salt=2)
    seen = r.stage(encode, "vae", image=image, noise=noise, strength=strength, options=upcast(vae),
                   latents=(1, vae["latent_channels"], rows, columns))  # fmt: skip
    scales = {"least": r.number("min_guidance", 1.0), "most": r.number("max_guidance", 3.0)}
    scales = scales if r.option("guided", True) else {}
    z = r.noise((1, frames, unet["in_channels"] // 2, rows, columns))
    motion = r.number("motion_bucket", 127)
    with r.sampling(z, steps=25) as loop:
        loop.step(r.stage(denoise, "unet", z=loop.input, time=loop.time, image=seen, states=states,
                          motion=motion, strength=strength, **scales, settings={"rate": rate},
                          output=z))  # fmt: skip
    parts = [(0, count), (frames - frames % count, frames % count)]
    r.video([decoded(r, loop.z, start, size) for start, size in parts if size], rate)


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
