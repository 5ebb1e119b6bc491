"""MiniSoraDiTPipeline and MiniSoraSiTPipeline: pictures of a class, with original checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from entracte.graphs.recipes.parts import decode_image
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_minisora import (
    Stepping,
    ddpm_loop,
    denoise,
    guide,
    latents_of,
    transport_loop,
)
from entracte.graphs.recipes.recipe import Recipe, Value, image_scale, stage


@stage
def embed(net: Any, label: Tensor, none: int | None) -> Tensor:
    """Rows of a class, behind that of no class where `none` says which it is."""
    labels = label if none is None else torch.cat([torch.full_like(label, none), label])
    made: Tensor = net.y_embedder(labels)
    return made


def condition(r: Recipe, config: dict[str, Any]) -> tuple[Value, dict[str, Value]]:
    """What the class says, [without, with], and the guidance where there is some."""
    classes, is_guided = config["num_classes"], r.option("guided", True)
    if is_guided and not config["class_dropout_prob"] > 0:
        raise ValueError(
            "pipeline.options.guided: the model has no row for no class (class_dropout_prob 0); "
            "give false"
        )
    label = r.given("label", (1,), kind="choice", default=min(207, classes - 1), least=0,
                    most=classes - 1)  # fmt: skip
    y = r.stage(embed, "transformer", label=label, options={"config": config},
                settings={"none": classes if is_guided else None},
                y=(1 + is_guided, config["hidden_size"]))  # fmt: skip
    return y, {"guidance": r.number("guidance", 4.0)} if is_guided else {}


def output_of(r: Recipe, loop: Stepping, y: Value, guidance: dict[str, Value],
              config: dict[str, Any], channels: int) -> Value:  # fmt: skip
    """What the model makes in a step."""
    return in_halves(r, denoise, loop.z, guidance, sliced={"y": y}, inside=True, guide=guide,
                     output=(1, channels, *loop.z.shape[2:]), precise=True, time=loop.time,
                     options={"config": config})  # fmt: skip


def picture(r: Recipe, z: Value) -> None:
    """Of latents."""
    vae = r.config("vae")
    size = tuple(n * image_scale(vae) for n in z.shape[2:])
    r.picture(r.stage(decode_image, "vae", z=z, settings={"scaling": vae["scaling_factor"]},
                      image=(1, 3, *size)))  # fmt: skip


def minisora_dit(r: Recipe) -> None:
    """DiT of facebookresearch/DiT, or OpenDiT's: respaced DDPM with learned variances."""
    config, shape = latents_of(r, 2)
    y, guidance = condition(r, config)
    learned = bool(config["learn_sigma"])
    with ddpm_loop(r, r.noise(shape), learn_sigma=learned) as loop:
        loop.step(output_of(r, loop, y, guidance, config, shape[1] * (1 + learned)))
    picture(r, Value("sample.z", shape))


def minisora_sit(r: Recipe) -> None:
    """SiT: the same transformer, over a path from noise to data."""
    config, shape = latents_of(r, 2)
    y, guidance = condition(r, config)
    with transport_loop(r, r.noise(shape)) as loop:
        loop.step(output_of(r, loop, y, guidance, config, shape[1]))
    picture(r, Value("sample.z", shape))
