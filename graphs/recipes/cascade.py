"""Stable Cascade as its own people run it: stages C, B and A under their checkpoints' names, their
own sampler. A text becomes stage C's latents, these become stage B's, and these pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from entracte.graphs.cascade.sampler import SAMPLERS
from entracte.graphs.recipes import clip, stable_cascade, stable_cascade_decoder
from entracte.graphs.recipes.guidance import TOGETHER
from entracte.graphs.recipes.parts import twice
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.recipe import Recipe, Value, stage

_SHARE = 0.7
"""Of guidance' correction, upstream's `cfg_rho`."""
_LEAST = 1e-9
_PIXELS = 42.67
"""That one of stage C's latents stands for."""
_DIVISOR = 64.0
"""What residual streams are kept divided by: stage C's leaves the range of fp16 in its last level
(docs/stable-cascade.md)."""
_FINE = {"precision": "fp32"}


@stage
def imagine(
    net: nn.Module, z: Tensor, step: Tensor, states: Tensor, pooled: Tensor,
    images: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Stage C's noise, of [without, with] where there are two texts. `images` has a row, (width,),
    for each; zeros where there are none."""
    stage_c, count = cast("Any", net), len(pooled)
    seen = torch.zeros(count, 1, stage_c.image_width) if images is None else images[:, None]
    tokens = stage_c.condition(states, pooled, seen)
    made: Tensor = stage_c.predict(_both(z, count), step.expand(count, -1), tokens)
    return made


@stage
def paint(net: nn.Module, z: Tensor, step: Tensor, latents: Tensor, pooled: Tensor) -> Tensor:
    """Stage B's noise; with guidance of [without stage C's latents, with them]."""
    stage_b, count = cast("Any", net), len(pooled)
    tokens = stage_b.condition(pooled)
    made: Tensor = stage_b.predict(_both(z, count), step.expand(count, -1), latents, tokens)
    return made


@stage
def decode(net: nn.Module, z: Tensor) -> Tensor:
    """Stage B's latents -> (1, 3, height, width), from 0 to 1."""
    made: Tensor = cast("Any", net).pixels(z)
    return made


@stage
def preview(net: nn.Module, z: Tensor) -> Tensor:
    """Stage C's latents -> a small picture, from 0 to 1."""
    made: Tensor = net(z)
    return made


@stage
def last(pooled: Tensor) -> Tensor:
    """The prompt's alone."""
    return pooled[-1:]


@stage
def gdf_step(
    z: Tensor, output: Tensor, parts: Tensor, guidance: Tensor | None = None,
    noise: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Guidance, then the sampler's step."""
    made = output if guidance is None else rescaled(output, guidance)
    return stepped(z, made, parts, noise)


def _both(z: Tensor, count: int) -> Tensor:
    return twice(z) if count == 2 else z


def _deviation(x: Tensor) -> Tensor:
    """Of all numbers, of a batch too (as upstream), (b, c, h, w) -> (1, 1, 1, 1)."""
    centred = x - x.mean((0, 1, 2, 3), keepdim=True)
    squares = centred.square().sum((0, 1, 2, 3), keepdim=True)
    return (squares / (x.numel() - 1)).sqrt()


def rescaled(both: Tensor, guidance: Tensor) -> Tensor:
    """Guidance of [without, with] whose deviation is for the most part that of what is given (Lin
    et al. 2024, section 3.4)."""
    without, given = both.chunk(2)
    made = without + guidance * (given - without)
    corrected = made * (_deviation(given) / (_deviation(made) + _LEAST))
    return _SHARE * corrected + (1 - _SHARE) * made


def stepped(z: Tensor, output: Tensor, parts: Tensor, noise: Tensor | None = None) -> Tensor:
    """The next latents; `parts` (1, 3) as `cascade.sampler.parts` has them."""
    made = z * parts[0, 0] + output * parts[0, 1]
    return made if noise is None else made + noise * parts[0, 2]


# -------------------------------------------------------------------- what is declared


def cascade(r: Recipe) -> None:
    """CLIP, stage C with guidance, stage B (with guidance where `decoder_guided`), stage A."""
    sampler, is_guided = r.option("sampler", "ddpm"), r.option("guided", True)
    if sampler not in SAMPLERS:
        raise ValueError(f"pipeline.options.sampler: {sampler!r} is none of {', '.join(SAMPLERS)}")
    shift = r.option("shift", 1.0)
    if not shift > 0:
        raise ValueError(f"pipeline.options.shift: {shift}; give a number above 0, such as 2.0")
    sizes = _sizes(r)
    states, pooled = stable_cascade.encoded(r, "", is_guided=is_guided)
    guidance = {"guidance": r.number("guidance", 4.0)} if is_guided else {}
    latents = _sampled(
        r, imagine, _one_of(r, "stage_c"), sizes[0], steps=r.sampling_steps(20), shift=shift,
        sampler=sampler, name="imagining", guidance=guidance,
        given={"states": states, "pooled": pooled, **_image(r, is_guided=is_guided)},
    )  # fmt: skip
    if r.option("preview", False):
        shape = (1, 3, *(8 * side for side in sizes[0]))
        r.output("preview", "image", r.stage(preview, "previewer", z=latents, small=shape))
    has = r.option("decoder_guided", False) and is_guided
    if is_guided and not has:
        pooled = r.stage(last, name="prompt_pooled", pooled=pooled, one=(1, *pooled.shape[1:]))
    guidance = {"guidance": r.number("decoder_guidance", 1.5)} if has else {}
    seen = _beside_zeros(r, latents, "latents") if has else latents
    z = _sampled(
        r, paint, _one_of(r, "stage_b"), sizes[1], steps=r.size("decoder_steps", 10), shift=1.0,
        sampler=sampler, name="painting", guidance=guidance,
        given={"latents": seen, "pooled": pooled}, salt=2,
    )  # fmt: skip
    scale = 2 ** r.config("stage_a")["levels"]
    image = (1, 3, *(scale * side for side in sizes[1]))
    r.output("image", "image", r.stage(decode, "stage_a", z=z, image=image))


def _sizes(r: Recipe) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of stage C's and of stage B's latents."""
    scale = 2 ** r.config("stage_a")["levels"]
    multiple = scale * r.config(_one_of(r, "stage_b"))["patch_size"]
    height, width = (r.size(name, 1024, multiple) for name in ("height", "width"))
    few = (math.ceil(height / _PIXELS), math.ceil(width / _PIXELS))
    return few, (height // scale, width // scale)


def _one_of(r: Recipe, name: str) -> str:
    """The component, or its lite form: as their files are called."""
    return f"{name}_lite" if r.folder.has(f"{name}_lite") else name


def _image(r: Recipe, *, is_guided: bool) -> dict[str, Value]:
    """A picture as a condition, with `image_prompt`."""
    if not r.option("image_prompt", False):
        return {}
    config = r.config("image_encoder")
    side, settings = config["image_size"], {"mean": clip.MEAN, "std": clip.STD}
    image = r.image("image", side, side, range=[0.0, 1.0], fit="crop")
    seen = r.stage(clip.image_embedding, "image_encoder", image=image, settings=settings,
                   seen=(1, config["projection_dim"]))  # fmt: skip
    return {"images": _beside_zeros(r, seen, "images") if is_guided else seen}


def _beside_zeros(r: Recipe, given: Value, name: str) -> Value:
    """[without, with] of a condition."""
    made: Value = r.stage(
        stable_cascade_decoder.beside_zeros, name=name, given=given, both=(2, *given.shape[1:])
    )
    return made


def _sampled(
    r: Recipe, function: Callable[..., Any], component: str, sizes: tuple[int, int], *,
    steps: int, shift: float, sampler: str, name: str, guidance: Mapping[str, Value],
    given: Mapping[str, Value], salt: int = 0,
) -> Value:  # fmt: skip
    """A loop of a denoiser over the sampler's steps, from noise."""
    config = {**r.config(component), "residual_divisor": _DIVISOR}
    width, numbers = config["c_r"], 1 + len(config["t_conds"])
    table = r.constant("cascade.schedule", f"{name}_table", steps=steps, width=width,
                       numbers=numbers, shift=shift, sampler=sampler)  # fmt: skip
    shape = (1, config["c_in"], *sizes)
    first = r.noise(shape, f"{name}_start", salt=salt)
    with r.loop(name, steps) as loop:
        z = loop.state("z", first)
        row = loop.scan("step", f"{table}.step", (1, width * numbers))
        parts = loop.scan("parts", f"{table}.parts", (1, 3))
        made = in_halves(r, function, z, guidance, sliced=given, component=component, step=row,
                         own=TOGETHER, guide=None, options={"config": config})  # fmt: skip
        more: dict[str, Any] = dict(guidance)
        if sampler == "ddpm":
            more["noise"] = r.noise(shape, f"{name}_noise", salt=salt + 1)
        loop.next("z", r.stage(gdf_step, name=f"{name}_step", z=z, output=made, parts=parts,
                               **more, options=_FINE, z_next=shape))  # fmt: skip
    return Value(f"{name}.z", shape)
