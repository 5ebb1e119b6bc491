"""StableCascadePriorPipeline: a text becomes an image's embedding, some numbers for many pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts import guided, twice
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.recipe import Recipe, Value, stage

_ONLY = "DDPMWuerstchenScheduler"


@stage
def text(
    clip: nn.Module, prompt: Tensor, mask: Tensor, negative: Tensor | None = None,
    negative_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Features and pooled features, [without, with]."""
    ids = prompt if negative is None else torch.cat([negative, prompt])
    masks = mask if negative_mask is None else torch.cat([negative_mask, mask])
    made = clip(ids, attention_mask=masks, output_hidden_states=True)
    return made.hidden_states[-1], made.text_embeds[:, None]


@stage
def imagine(
    prior: nn.Module, z: Tensor, time: Tensor, states: Tensor, pooled: Tensor,
    guidance: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """What the scheduler takes away; images as conditions are none."""
    z = z if guidance is None else twice(z)
    width: int = prior.config.clip_image_in_channels  # type: ignore[union-attr,assignment]
    images = torch.zeros(len(z), 1, width)
    made: Tensor = prior(z, time.expand(len(z)), pooled, states, images, return_dict=False)[0]
    return made if guidance is None else guided(made, guidance)


def encoded(r: Recipe, prefix: str, *, is_guided: bool) -> tuple[Value, Value]:
    """The prompt, and with guidance the negative one before it."""
    clip, ports = r.config(f"{prefix}text_encoder"), dict[str, Value]()
    length, batch = clip["max_position_embeddings"], 2 if is_guided else 1
    for name, value in {"prompt": "a red cat", **({"negative": ""} if is_guided else {})}.items():
        tokens = r.tokenize(f"{prefix}tokenizer", r.text(name, value), length)
        ports |= {name: tokens.ids, "mask" if name == "prompt" else "negative_mask": tokens.mask}
    made: tuple[Value, Value] = r.stage(
        text, f"{prefix}text_encoder", **ports, states=(batch, length, clip["hidden_size"]),
        pooled=(batch, 1, clip["projection_dim"]),
    )  # fmt: skip
    return made


def multiple(r: Recipe) -> float:
    """How many pixels a number of the embedding stands for."""
    return float(r.folder.index.get("resolution_multiple", 42.67))


def embedding_shape(r: Recipe, channels: int, default: int) -> tuple[int, int, int, int]:
    """Of `height` and `width` pixels."""
    sizes = [r.size(name, default) for name in ("height", "width")]
    rows, columns = (math.ceil(size / multiple(r)) for size in sizes)
    return (1, channels, rows, columns)


def check_scheduler(r: Recipe, component: str) -> None:
    """Others count time in another way."""
    kind = r.option(component, r.folder.component(component).kind)
    if kind != _ONLY:
        raise ValueError(f"pipeline.options.{component}: {kind}: Stable Cascade takes {_ONLY} only")


def prior(r: Recipe, prefix: str = "", *, size: int = 1024, steps: int = 20) -> tuple[Value, Value]:
    """The embedding, and the pooled features of its texts."""
    model, is_guided = r.config(f"{prefix}prior"), r.option("guided", True)
    states, pooled = encoded(r, prefix, is_guided=is_guided)
    guidance = {"guidance": r.number("guidance", 4.0)} if is_guided else {}
    check_scheduler(r, f"{prefix}scheduler")
    z = r.noise(embedding_shape(r, model["in_channels"], size))
    with r.sampling(z, steps=steps, component=f"{prefix}scheduler", fixed=bool(prefix)) as loop:
        loop.step(in_halves(r, imagine, loop.input, guidance, component=f"{prefix}prior",
                            sliced={"states": states, "pooled": pooled}, inside=True,
                            time=loop.time))  # fmt: skip
    return loop.z, pooled


def stable_cascade_prior(r: Recipe) -> None:
    """CLIP, a UNet with guidance; no decoder."""
    r.output("image_embeddings", "tensor", prior(r)[0])
