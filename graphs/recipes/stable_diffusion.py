"""StableDiffusionPipeline: 1.x and 2.x, with predictions of noise or of velocity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts import decode_image, guided, twice
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.recipe import Recipe, image_scale, stage


@stage
def text(clip: nn.Module, negative: Tensor, prompt: Tensor) -> Tensor:
    """Both texts' features, [without, with]."""
    made: Tensor = clip(torch.cat([negative, prompt])).last_hidden_state
    return made


@stage
def denoise(
    unet: nn.Module, z: Tensor, time: Tensor, states: Tensor, guidance: Tensor | None = None
) -> Tensor:
    """What the scheduler takes away; without `guidance` of one text."""
    made: Tensor = unet(z if guidance is None else twice(z), time, states, return_dict=False)[0]
    return made if guidance is None else guided(made, guidance)


def stable_diffusion(r: Recipe) -> None:
    """CLIP, a UNet with guidance, a VAE."""
    unet, vae, clip = r.config("unet"), r.config("vae"), r.config("text_encoder")
    scale, length = image_scale(vae), clip["max_position_embeddings"]
    height = r.size("height", unet["sample_size"] * scale, scale)
    width = r.size("width", unet["sample_size"] * scale, scale)
    prompt = r.tokenize("tokenizer", r.text("prompt", "a red cat"), length)
    negative = r.tokenize("tokenizer", r.text("negative"), length)
    states = r.stage(text, "text_encoder", negative=negative.ids, prompt=prompt.ids,
                     states=(2, length, clip["hidden_size"]))  # fmt: skip
    told = {"guidance": r.number("guidance", 7.5)}
    z = r.noise((1, unet["in_channels"], height // scale, width // scale))
    # Folders that say otherwise are mended by the pipeline's constructor.
    with r.sampling(z, steps=50, over={"steps_offset": 1, "clip_sample": False}) as loop:
        loop.step(in_halves(r, denoise, loop.input, told, sliced={"states": states},
                            component="unet", inside=True, time=loop.time))  # fmt: skip
    image = r.stage(decode_image, "vae", z=loop.z, settings={"scaling": vae["scaling_factor"]},
                    image=(1, 3, height, width))  # fmt: skip
    r.picture(image)
