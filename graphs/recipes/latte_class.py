"""LatteClassPipeline: Vchitect's Latte, a clip of a class or of nothing, by original names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from entracte.graphs.latte.net import ALONE, CLASS, guided_latents
from entracte.graphs.minisora.dit import sizes_of
from entracte.graphs.recipes.minisora_video import frame_by_frame
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.parts_minisora import ddpm_loop
from entracte.graphs.recipes.recipe import Recipe, Value, image_scale, stage


@stage
def embed(net: Any, label: Tensor, none: int | None) -> Tensor:
    """Rows of a class, behind that of no class where `none` says which it is."""
    labels = label if none is None else torch.cat([torch.full_like(label, none), label])
    made: Tensor = net.told(labels)
    return made


@stage
def denoise(
    net: Any, z: Tensor, time: Tensor, y: Tensor | None = None, guidance: Tensor | None = None
) -> Tensor:
    """z (1, C, F, h, w) -> what a step reads; with guidance of [without, with]."""
    count = 1 if y is None else len(y)
    x = z.transpose(1, 2).expand(count, -1, -1, -1, -1)
    made = net.predict(x, time.expand(count), y)
    return (made if guidance is None else guided_latents(made, guidance)).transpose(1, 2)


@stage
def guide(both: Tensor, guidance: Tensor) -> Tensor:
    """Of [without, with], (2, C, F, h, w), computed one after the other."""
    return guided_latents(both.transpose(1, 2), guidance).transpose(1, 2)


def latte_class(r: Recipe) -> None:
    """A class's row once, a transformer over a clip, respaced DDPM, frames decoded one by one."""
    config, shape = _latents(r)
    y, guidance = _condition(r, config)
    learned = bool(config["learn_sigma"])
    made = (1, shape[1] * (1 + learned), *shape[2:])
    with ddpm_loop(r, r.noise(shape), learn_sigma=learned) as loop:
        loop.step(in_halves(r, denoise, loop.z, guidance, sliced=y, inside=True, guide=guide,
                            output=made, time=loop.time, options={"config": config}))  # fmt: skip
    frame_by_frame(r, Value("sample.z", shape))


def _latents(r: Recipe) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The transformer's configuration for the size that the user wants, and the latents' shape."""
    config, scale = r.config("transformer"), image_scale(r.config("vae"))
    sides = sizes_of("input_size", config["input_size"], 2)
    patch = sizes_of("patch_size", config["patch_size"], 2)
    sizes = [
        r.size(name, side * scale, scale * edge) // scale
        for name, side, edge in zip(("height", "width"), sides, patch, strict=True)
    ]
    frames = r.size("frames", config["num_frames"])
    changed = config | {"input_size": sizes, "num_frames": frames}
    return changed, (1, config["in_channels"], frames, *sizes)


def _condition(r: Recipe, config: dict[str, Any]) -> tuple[dict[str, Value], dict[str, Value]]:
    """What the class says, [without, with], and the guidance, as far as there are any."""
    kind, classes = config["extras"], config["num_classes"]
    if kind == ALONE:
        return {}, {}
    if kind != CLASS:
        raise ValueError(
            f"{r.folder.path}: transformer/config.json: extras {kind} is of texts; this pipeline "
            f"is of classes ({CLASS}) or of no condition ({ALONE}). LattePipeline is of texts"
        )
    is_guided = r.option("guided", True)
    if is_guided and not config["class_dropout_prob"] > 0:
        raise ValueError(
            "pipeline.options.guided: the model has no row for no class (class_dropout_prob 0); "
            "give false"
        )
    label = r.given("label", (1,), kind="choice", default=0, least=0, most=classes - 1)
    y = r.stage(embed, "transformer", label=label, options={"config": config},
                settings={"none": classes if is_guided else None},
                y=(1 + is_guided, config["hidden_size"]))  # fmt: skip
    return {"y": y}, {"guidance": r.number("guidance", 7.0)} if is_guided else {}
