"""SanaPipeline: linear attention over latents of 32 x 32 pixels."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from diffusers import SanaPipeline
from torch import Tensor, nn
from torch.nn.functional import pad

from entracte.graphs.recipes.parts import decode_image, guided, twice
from entracte.graphs.recipes.parts_bins import binned_sizes
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_language import causal
from entracte.graphs.recipes.parts_rows import token_rows
from entracte.graphs.recipes.recipe import Recipe, stage

_TELLING = "\n".join(
    inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
)
"""What the language model is told before it reads the prompt; the negative one stands alone."""


@stage
def read(
    gemma: nn.Module, negative: Tensor, prompt: Tensor, negative_mask: Tensor, prompt_mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Rows of the table (1, L, width) and masks (1, L) -> features and masks [without, with], as
    long as the negative prompt: of the prompt the first mark, and what follows the telling."""
    length = negative.shape[1]
    more = prompt.shape[1] - length
    mask = torch.cat([pad(negative_mask, (0, more)), prompt_mask])
    rows = torch.cat([pad(negative, (0, 0, 0, more)), prompt])
    scale = prompt.shape[2] ** 0.5  # as its embedding has it
    made = gemma(inputs_embeds=rows * scale, attention_mask=causal(mask), use_cache=False)[0]
    found = [torch.cat([x[:1, :length], torch.cat([x[1:, :1], x[1:, more + 1 :]], 1)])
             for x in (made, mask)]  # fmt: skip
    return found[0], found[1]


@stage
def denoise(
    net: nn.Module, z: Tensor, time: Tensor, states: Tensor, mask: Tensor,
    guidance: Tensor | None = None, *, scale: float, is_learned: bool,
) -> Tensor:  # fmt: skip
    """What the scheduler takes away; without `guidance` of one text."""
    both = z if guidance is None else twice(z)
    made: Tensor = net(both, states, (time * scale).expand(len(both)), encoder_attention_mask=mask,
                       return_dict=False)[0]  # fmt: skip
    made = made if guidance is None else guided(made, guidance)
    return made.chunk(2, dim=1)[0] if is_learned else made


def sana(r: Recipe) -> None:
    """Gemma 2, a transformer with guidance, a deep compression decoder."""
    net, vae = r.config("transformer"), r.config("vae")
    width = r.config("text_encoder")["hidden_size"]
    scale, length = 2 ** (len(vae["encoder_block_out_channels"]) - 1), r.size("length", 300)
    high, wide = binned_sizes(r, scale, net["sample_size"], net["patch_size"])
    longer = r.token_count("tokenizer", _TELLING) + length - 2
    prompt = r.tokenize("tokenizer", r.text("prompt", "a red cat"), longer, clean="lower",
                        prefix=_TELLING)  # fmt: skip
    negative = r.tokenize("tokenizer", r.text("negative"), length, clean="lower")
    rows: dict[str, Any] = {
        name: token_rows(r, "text_encoder", "embed_tokens.weight", width, tokens)
        for name, tokens in (("negative", negative), ("prompt", prompt))
    }
    states, mask = r.stage(read, "text_encoder", name="text", **rows, prompt_mask=prompt.mask,
                           negative_mask=negative.mask, states=(2, length, width),
                           mask=(2, length))  # fmt: skip
    told, channels = {"guidance": r.number("guidance", 4.5)}, net["in_channels"]
    settings = {"scale": net.get("timestep_scale", 1.0),
                "is_learned": net["out_channels"] // 2 == channels}  # fmt: skip
    z = r.noise((1, channels, high // scale, wide // scale))
    with r.sampling(z, steps=20) as loop:
        loop.step(in_halves(r, denoise, loop.input, told, sliced={"states": states, "mask": mask},
                            inside=True, time=loop.time, settings=settings))  # fmt: skip
    r.picture(r.stage(decode_image, "vae", z=loop.z, settings={"scaling": vae["scaling_factor"]},
                      image=(1, 3, high, wide)))  # fmt: skip
