"""StableVideoDiffusionPipeline: a picture begins to move."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts_latents import upcast
from entracte.graphs.recipes.parts_svd import decoded, encode, see
from entracte.graphs.recipes.recipe import Recipe, image_scale, stage


@stage
def denoise(
    unet: nn.Module, z: Tensor, time: Tensor, image: Tensor, states: Tensor, motion: Tensor,
    strength: Tensor, rate: int,
) -> Tensor:  # fmt: skip
    """What one half of guidance gives."""
    ids = torch.cat([torch.full_like(motion, rate - 1), motion, strength])[None]
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
    one = {"image": seen.of(1, *seen.shape[1:]), "states": states.of(1, *states.shape[1:])}
    # The halves of guidance one after the other: half the activations.
    options = {"map": {"port": list(one), "axis": 0, "size": 1}} if is_guided else {}
    with r.sampling(z, steps=25) as loop:
        made = r.stage(denoise, "unet", z=loop.input, time=loop.time, **one, motion=motion,
                       strength=strength, settings={"rate": rate}, options=options,
                       output=z)  # fmt: skip
        if is_guided:
            made = r.stage(guide, both=made.of(2, *z.shape[1:]), output=z,
                           least=r.number("min_guidance", 1.0),
                           most=r.number("max_guidance", 3.0))  # fmt: skip
        loop.step(made)
    parts = [(0, count), (frames - frames % count, frames % count)]
    r.video([decoded(r, loop.z, start, size) for start, size in parts if size], rate)
