"""LattePipeline: text to video, frames decoded one by one."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts import guided, twice
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_t5_masked import t5_states
from entracte.graphs.recipes.recipe import Recipe, image_scale, stage

_LENGTH, _RATE, _DECODED = 120, 8.0, 14
"""Tokens of a text, frames a second, frames that a decoder with temporal layers gets at once: as
the pipeline has them."""


@stage
def denoise(
    net: nn.Module, z: Tensor, time: Tensor, states: Tensor, mask: Tensor,
    guidance: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """What the scheduler takes away; without `guidance` of one text. Both texts are cut where the
    prompt ends: here by its mask."""
    count = len(states)
    bias = ((1 - mask) * -1e4).reshape(1, 1, -1).repeat(count * z.shape[2], 1, 1)
    made = net(z if guidance is None else twice(z), timestep=time.expand(count),
               encoder_hidden_states=states, encoder_attention_mask=bias,
               return_dict=False)[0]  # fmt: skip
    made = made if guidance is None else guided(made, guidance)
    return cast("Tensor", made.chunk(2, dim=1)[0])


@stage
def decode(vae: nn.Module, z: Tensor, scaling: float, is_temporal: bool) -> Tensor:
    """(1, channels, frames, h, w) -> (1, 3, frames, height, width), from -1 to 1."""
    parts, decoder = (z / scaling)[0].transpose(0, 1).split(_DECODED), cast("Any", vae).decode
    made = [decoder(p, **({"num_frames": len(p)} if is_temporal else {}), return_dict=False)[0]
            for p in parts]  # fmt: skip
    return torch.cat(made).transpose(0, 1)[None]


def latte(r: Recipe) -> None:
    """T5, a transformer with guidance whose second half of channels is left out, a VAE."""
    net, vae = r.config("transformer"), r.config("vae")
    scale, most = image_scale(vae), net["video_length"]
    step = math.lcm(8, scale * net["patch_size"])
    height, width = r.size("height", 512, step), r.size("width", 512, step)
    frames = r.option("frames", most)
    if frames not in (1, most):
        raise ValueError(
            f"pipeline.options.frames: {frames} is neither {most}, for which the model has "
            "positions, nor 1, for which it needs none"
        )
    prompt = r.tokenize("tokenizer", r.text("prompt", "a red cat"), _LENGTH, clean="caption")
    negative = r.tokenize("tokenizer", r.text("negative"), _LENGTH, clean="caption")
    states = t5_states(r, prompt, negative)
    told = {"guidance": r.number("guidance", 7.5)}
    channels, h, w = net["in_channels"], height // scale, width // scale
    z = r.noise((1, channels, frames, h, w))
    with r.sampling(z, steps=50) as loop:
        loop.step(in_halves(r, denoise, loop.input, told, sliced={"states": states}, inside=True,
                            time=loop.time, mask=prompt.mask))  # fmt: skip
    is_temporal = r.folder.component("vae").kind == "AutoencoderKLTemporalDecoder"
    each = frames if is_temporal else 1
    settings = {"scaling": vae["scaling_factor"], "is_temporal": is_temporal}
    options = {} if each == frames else {"map": {"port": "z", "axis": 2, "size": each}}
    video = r.stage(decode, "vae", z=loop.z.of(1, channels, each, h, w), settings=settings,
                    options=options, video=(1, 3, each, height, width))  # fmt: skip
    r.video(video.of(1, 3, frames, height, width), _RATE)
