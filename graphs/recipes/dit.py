"""DiTPipeline: pictures of a class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts import decode_image, guided, twice
from entracte.graphs.recipes.parts_halves import in_halves
from entracte.graphs.recipes.recipe import Recipe, Value, image_scale, stage

NONE = 1000
"""The class of no class: the pipeline says this number, whatever the model has."""
_CLASS = "diffusers.DiTTransformer2DModel"
"""The hub's folders have its older name, Transformer2DModel."""


@stage
def beside_none(label: Tensor) -> Tensor:
    """No class, and the class."""
    return torch.cat([torch.full_like(label, NONE), label])


@stage
def denoise(
    dit: nn.Module, z: Tensor, time: Tensor, label: Tensor, guidance: Tensor | None = None
) -> Tensor:
    """What the scheduler takes away; of learned variances only the means. With `guidance` of two
    classes."""
    both, channels = z if guidance is None else twice(z), z.shape[1]
    made: Tensor = dit(both, time.expand(len(both)), label, return_dict=False)[0]
    made = made[:, :channels] if made.shape[1] // 2 == channels else made
    return made if guidance is None else guided(made, guidance)


def dit(r: Recipe) -> None:
    """A transformer with guidance (`guided`), a VAE; no text."""
    model, vae, is_guided = r.config("transformer"), r.config("vae"), r.option("guided", True)
    size, scale = model["sample_size"], image_scale(vae)
    label = r.given("label", (1,), kind="choice", default=207, least=0, most=NONE - 1)
    told = {"guidance": r.number("guidance", 4.0)} if is_guided else {}
    if is_guided:
        both: Value = r.stage(beside_none, label=label, labels=(2,))
        label = Value(both.name, both.shape, is_whole=True)
    z = r.noise((1, model["in_channels"], size, size))
    with r.sampling(z, steps=50, starts=False) as loop:
        loop.step(in_halves(r, denoise, loop.input, told, sliced={"label": label}, inside=True,
                            time=loop.time, options={"class": _CLASS}))  # fmt: skip
    r.picture(r.stage(decode_image, "vae", z=loop.z, settings={"scaling": vae["scaling_factor"]},
                      image=(1, 3, size * scale, size * scale)))  # fmt: skip
