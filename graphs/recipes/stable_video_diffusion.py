"""StableVideoDiffusionPipeline: a picture begins to move."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_latents import upcast
from entracte.graphs.recipes.parts_svd import decoded, encode, see
from entracte.graphs.recipes.recipe import Recipe, image_scale, stage


@stage
def denoise(
    unet: nn.Module, z: Tensor, time: Tensor, image: Tensor, states: Tensor, motion: Tensor,
    strength: Tensor, rate: int,
) -> Tensor:  # fmt: skip
    """What one half of guidance gives, or both."""
    ids = torch.cat([torch.full_like(motion, rate - 1), motion, strength])[None]
    ids, z = ids.expand(len(states), -1), z.expand(len(states), -1, -1, -1, -1)
    x = torch.cat([z, image[:, None].expand(-1, z.shape[1], -1, -1, -1)], 2)
    made: Tensor = unet(x, time, states, ids, return_dict=False)[0]
    return made


@stage
def guide(both: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """Guidance that grows from the first frame to the last."""
    without, given = both.chunk(2)
    scale = least + (most - least) * torch.linspace(0, 1, both.shape[1])
    return without + scale.reshape(1, -1, 1, 1, 1) * (given - without)


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
    is_guided = r.option("guided", True)
    batch, told = 2 if is_guided else 1, {"guided": is_guided}
    states = r.stage(see, "image_encoder", image=image,
                     settings={"mean": looks["image_mean"], "std": looks["image_std"], **told},
                     states=(batch, 1, clip["projection_dim"]))  # fmt: skip
    noise = r.noise((1, 3, height, width), "image_noise", salt=2)
    seen = r.stage(encode, "vae", image=image, noise=noise, strength=strength, settings=told,
                   latents=(batch, vae["latent_channels"], rows, columns),
                   options=upcast(vae))  # fmt: skip
    z = r.noise((1, frames, unet["in_channels"] // 2, rows, columns))
    motion = r.number("motion_bucket", 127)
    told = {}
    if is_guided:
        told = {"least": r.number("min_guidance", 1.0), "most": r.number("max_guidance", 3.0)}
    with r.sampling(z, steps=25) as loop:
        loop.step(in_halves(r, denoise, loop.input, told, guide=guide, component="unet",
                            sliced={"image": seen, "states": states}, time=loop.time,
                            motion=motion, strength=strength, settings={"rate": rate}))  # fmt: skip
    parts = [(0, count), (frames - frames % count, frames % count)]
    r.video([decoded(r, loop.z, start, size) for start, size in parts if size], rate)
