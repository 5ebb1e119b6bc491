"""MiniSoraVideoPipeline: OpenDiT's VDiT and Latte, text to video, with original checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from entracte.graphs.recipes.latte import decode
from entracte.graphs.recipes.parts_halves import in_halves, texts_of
from entracte.graphs.recipes.parts_minisora import ddpm_loop, denoise, guide, latents_of
from entracte.graphs.recipes.recipe import Recipe, Value, image_scale, stage

_RATE, _LENGTH = 8, 77
"""Frames a second, tokens of a text."""


@stage
def embed(net: Any, *ids: Tensor) -> Tensor:
    """What CLIP, which is part of the transformer's checkpoint, says of each text: (texts,
    hidden)."""
    made: Tensor = net.y_embedder(torch.cat(ids))
    return made


def minisora_video(r: Recipe) -> None:
    """CLIP once, a transformer over a clip, respaced DDPM, frames decoded one by one."""
    config, shape = latents_of(r, 3)
    texts = texts_of(r, "a red cat")
    length = (config["clip"] or {}).get("max_position_embeddings", _LENGTH)
    ids = {f"ids{k}": r.tokenize("tokenizer", text, length).ids for k, text in enumerate(texts)}
    y = r.stage(embed, "transformer", **ids, options={"config": config},
                y=(len(texts), config["hidden_size"]))  # fmt: skip
    learned = bool(config["learn_sigma"])
    with ddpm_loop(r, r.noise(shape), learn_sigma=learned) as loop:
        told = {"guidance": r.number("guidance", 4.0)} if len(texts) == 2 else {}
        loop.step(in_halves(r, denoise, loop.z, told, sliced={"y": y}, guide=guide, precise=True,
                            output=(1, shape[1] * (1 + learned), *shape[2:]), time=loop.time,
                            options={"config": config}))  # fmt: skip
    frame_by_frame(r, Value("sample.z", shape))


def frame_by_frame(r: Recipe, z: Value) -> None:
    """A frame of latents is a frame of the video."""
    vae, (_, channels, frames, *size) = r.config("vae"), z.shape
    pixels = [n * image_scale(vae) for n in size]
    made = r.stage(
        decode, "vae", z=z.of(1, channels, 1, *size), options={"map": {"port": "z", "axis": 2,
                                                                       "size": 1}},
        settings={"scaling": vae["scaling_factor"], "is_temporal": False}, video=(1, 3, 1, *pixels),
    )  # fmt: skip
    r.video(made.of(1, 3, frames, *pixels), float(r.option("fps", _RATE)))
