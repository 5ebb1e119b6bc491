"""PixArtAlphaPipeline and PixArtSigmaPipeline.

Texts are cleaned as diffusers does with `clean_caption`, its default, where bs4 and ftfy are there;
without them it only sets them in lower case and strips them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts import decode_image, guided, twice
from entracte.graphs.recipes.parts_bins import binned_sizes
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_latents import upcast
from entracte.graphs.recipes.parts_t5 import t5_masks
from entracte.graphs.recipes.parts_t5_masked import t5_states
from entracte.graphs.recipes.recipe import Recipe, image_scale, stage

_TOLD = 128
"""Size of latents, 1024 x 1024 pixels, whose model is told how large the picture is."""


@stage
def denoise(
    transformer: nn.Module, z: Tensor, time: Tensor, states: Tensor, mask: Tensor,
    guidance: Tensor | None = None, *, sizes: Sequence[float], is_learned: bool,
) -> Tensor:  # fmt: skip
    """What the scheduler takes away; of a model that learned its variance too, the first half.
    Without `guidance` of one text. `sizes` is height and width."""
    count = len(states)
    told: dict[str, Any] = {"resolution": None, "aspect_ratio": None}
    if sizes:
        told["resolution"] = torch.tensor([list(sizes)] * count)
        told["aspect_ratio"] = torch.tensor([[sizes[0] / sizes[1]]] * count)
    made: Tensor = transformer(
        z if guidance is None else twice(z), states, timestep=time.expand(count),
        added_cond_kwargs=told, return_dict=False, encoder_attention_mask=mask,
    )[0]  # fmt: skip
    made = made if guidance is None else guided(made, guidance)
    return made.chunk(2, dim=1)[0] if is_learned else made


def pixart_alpha(r: Recipe) -> None:
    """T5 with a mask, a transformer with guidance, a VAE; the 1024 model is told the sizes."""
    if r.sampling_steps(20) == 1:
        raise ValueError(
            "sampler.steps: 1 step of PixArt-Alpha is not a scheduler's; give 2 or more"
        )
    _pixart(r, 120, is_told=r.config("transformer")["sample_size"] == _TOLD)


def pixart_sigma(r: Recipe) -> None:
    """The same with longer texts, and never told the sizes."""
    _pixart(r, 300, is_told=False)


def _pixart(r: Recipe, length: int, *, is_told: bool) -> None:
    net, vae = r.config("transformer"), r.config("vae")
    scale = image_scale(vae)
    height, width = binned_sizes(r, scale, net["sample_size"], net["patch_size"])
    length = r.size("length", length)
    prompt = r.tokenize("tokenizer", r.text("prompt", "a red cat"), length, clean="caption")
    negative = r.tokenize("tokenizer", r.text("negative"), length, clean="caption")
    states = t5_states(r, prompt, negative)
    texts = {"states": states, "mask": t5_masks(r, [negative, prompt])}
    told, channels = {"guidance": r.number("guidance", 4.5)}, net["in_channels"]
    settings = {"sizes": [float(height), float(width)] if is_told else [],
                "is_learned": net["out_channels"] // 2 == channels}  # fmt: skip
    z = r.noise((1, channels, height // scale, width // scale))
    with r.sampling(z, steps=20) as loop:
        loop.step(in_halves(r, denoise, loop.input, told, sliced=texts, inside=True,
                            time=loop.time, settings=settings))  # fmt: skip
    options = upcast({"force_upcast": False, **vae})
    r.picture(r.stage(decode_image, "vae", z=loop.z, settings={"scaling": vae["scaling_factor"]},
                      options=options, image=(1, 3, height, width)))  # fmt: skip
