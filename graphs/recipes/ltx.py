"""LTXPipeline and LTXImageToVideoPipeline: a text, or a text and a first frame, to a video."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift
from torch import Tensor, nn

from entracte.graphs.recipes.parts_halves import in_halves, texts_of
from entracte.graphs.recipes.parts_ltx import encode_frame, ratios
from entracte.graphs.recipes.parts_ltx_decoder import decode_video
from entracte.graphs.recipes.parts_t5 import t5_masks, t5_text
from entracte.graphs.recipes.recipe import Recipe, Value, stage


@stage
def denoise(
    transformer: nn.Module, z: Tensor, time: Tensor, states: Tensor, mask: Tensor,
    first: Tensor | None = None, *, sizes: list[int], scales: list[float],
) -> Tensor:  # fmt: skip
    """The velocity of one half of guidance, or of both; tokens of a first frame are given, and at
    time 0."""
    begin, count = 0 if first is None else first.shape[1], len(states)
    tokens = z if first is None else torch.cat([first, z], 1)
    tokens, times = tokens.expand(count, -1, -1), time.expand(count)
    if first is not None:
        times = torch.cat([time.new_zeros(begin), time.expand(z.shape[1])])[None].expand(count, -1)
    frames, rows, columns = sizes
    made: Tensor = transformer(tokens, states, times, mask, frames, rows, columns, scales,
                               return_dict=False)[0]  # fmt: skip
    return made[:, begin:]


def ltx(r: Recipe) -> None:
    """T5, a transformer over tokens of the latents, a decoder of the whole clip."""
    _ltx(r, has_image=False)


def ltx_image_to_video(r: Recipe) -> None:
    """The same with a picture, which is encoded, as first frame."""
    _ltx(r, has_image=True)


def _ltx(r: Recipe, *, has_image: bool) -> None:
    wide, long = ratios(r.config("vae"))
    channels = r.config("transformer")["in_channels"]
    height, width = r.size("height", 512, wide), r.size("width", 704, wide)
    rate = r.option("fps", 25)
    sizes = ((r.size("frames", 161, long, 1) - 1) // long + 1, height // wide, width // wide)
    places = sizes[1] * sizes[2]
    texts = texts_of(r, "a red circle moves right")
    states, tokens = t5_text(r, texts, r.option("length", 128))
    texts_read = {"states": states, "mask": t5_masks(r, tokens)}
    told = {"guidance": r.number("guidance", 3.0)} if len(texts) > 1 else {}
    first: dict[str, Value] = {}
    if has_image:
        noise = r.noise((1, channels, 1, *sizes[1:]), "encode_noise", salt=4)
        first["first"] = r.stage(encode_frame, "vae", image=r.image("image", height, width),
                                 noise=noise, tokens=(1, places, channels))  # fmt: skip
    z = r.noise((1, (sizes[0] - has_image) * places, channels))
    settings = {"sizes": list(sizes), "scales": [long / rate, wide, wide]}
    with r.sampling(z, steps=50, given=_sigmas(r, sizes[0] * places)) as loop:
        loop.step(in_halves(r, denoise, loop.input, told, sliced=texts_read, settings=settings,
                            time=loop.time, **first))  # fmt: skip
    decode_video(r, loop.z, sizes, rate, **first)


def _sigmas(r: Recipe, tokens: int) -> dict[str, Any]:
    """What the scheduler is told: even steps, shifted by the number of tokens."""
    of, steps = r.config("scheduler"), r.sampling_steps(50)
    defaults = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5,
                "max_shift": 1.15}  # fmt: skip
    mu = calculate_shift(tokens, *(of.get(key, value) for key, value in defaults.items()))
    return {"sigmas": torch.linspace(1, 1 / steps, steps, dtype=torch.float64).tolist(), "mu": mu}
