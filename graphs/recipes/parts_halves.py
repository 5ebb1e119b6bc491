"""Both halves of guidance: in one batch, one after the other, or one of them in some steps only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from entracte.graphs.recipes.guidance import INTERVAL, TOGETHER
from entracte.graphs.recipes.parts import guided
from entracte.graphs.recipes.recipe import Recipe, Shape, Value, stage


@stage
def guide(both: Tensor, guidance: Tensor) -> Tensor:
    """Of [without, with]."""
    return guided(both, guidance)


@stage
def guide_within(given: Tensor, without: Tensor, guidance: Tensor, within: Tensor) -> Tensor:
    """Of two, where `within` is 1; where it is 0, `given` alone."""
    return given + within * (guidance - 1.0) * (given - without)


@stage
def halves_within(given: Tensor, without: Tensor, within: Tensor) -> Tensor:
    """[without, with] where `within` is 1; where it is 0, [with, with], whose guidance is with."""
    return torch.cat([within * without + (1.0 - within) * given, given])


def texts_of(r: Recipe, prompt: str) -> list[Value]:
    """The texts' inputs: [negative, prompt], or the prompt alone without `guided`."""
    without = [r.text("negative")] if r.option("guided", True) else []
    return [*without, r.text("prompt", prompt)]


def in_halves(
    r: Recipe, function: Callable[..., Any], z: Value, told: Mapping[str, Value], *,
    sliced: Mapping[str, Value], component: str = "transformer", inside: bool = False,
    own: str = "", guide: Callable[..., Any] | None = guide, output: Shape = (),
    settings: Any = None, options: Mapping[str, Any] | None = None, precise: bool = False,
    **ports: Value,
) -> Value:  # fmt: skip
    """What the scheduler takes: `function` of the denoiser for both halves of guidance, [without,
    with], and guidance, as the user wants it (`guidance=NAME`): in one batch, in one call for each
    half, which has half the activations, or in some steps only; the others run the half with the
    prompt alone (arXiv 2404.07724; docs/techniques.md).

    Args:
        function: of z (1, ...) and n rows of what is sliced -> (n, ...).
        told: the numbers that `guide` reads; none of them: only the prompt is read.
        sliced: of the function's ports those that have a row for each half.
        inside: whether the function itself guides where it is given what is told -> (1, ...).
        own: `together` or `apart`, where the user does not say; by default as `inside`.
        guide: the stage of `both` and what is told; None: the caller guides, and gets both halves.
        output: of one half, z's shape by default.
        settings, options, ports: of the denoiser's stage, as `Recipe.stage` has them.
        precise: whether `guide` is computed in fp32.
    """
    shape = output or z.shape
    usual: dict[str, Any] = {"settings": settings, "z": z, **ports}
    if not told:
        alone: Value = r.stage(function, component, **usual, **sliced, output=shape,
                               options=options)  # fmt: skip
        return alone
    way = r.way(own or (TOGETHER if inside else ""))
    fine = {"precision": "fp32"} if precise else {}
    if way == TOGETHER and inside:
        done: Value = r.stage(function, component, **usual, **sliced, **told, output=shape,
                              options=options)  # fmt: skip
        return done
    if way == TOGETHER:
        both: Value = r.stage(function, component, **usual, **sliced, output=(2, *shape[1:]),
                              options=options)  # fmt: skip
        return _guided(r, guide, both, told, fine)
    interval = r.guidance.steps(r.steps_here) if way == INTERVAL else None
    rests = {} if interval is None else {
        "rests": {"slices": [0], "at": {"from": interval[0], "to": interval[1]}}}  # fmt: skip
    first = {name: value.of(1, *value.shape[1:]) for name, value in sliced.items()}
    made: Value = r.stage(
        function, component, **usual, **first, output=shape,
        options={**(options or {}), "map": {"port": list(sliced), "axis": 0, "size": 1, "count": 2,
                                           **rests}},
    )  # fmt: skip
    if interval is None:
        return _guided(r, guide, made.of(2, *shape[1:]), told, fine)
    ports = {"given": made, "without": Value(f"{made.name}_rests", shape),
             "within": r.within(*interval)}  # fmt: skip
    if guide is _PLAIN:
        within: Value = r.stage(guide_within, name=r.free("guide"), **ports, **told, output=shape,
                                options=fine)  # fmt: skip
        return within
    standing: Value = r.stage(halves_within, name=r.free("halves"), **ports, options=fine,
                              both=(2, *shape[1:]))  # fmt: skip
    return _guided(r, guide, standing, told, fine)


_PLAIN = guide


def _guided(
    r: Recipe, guide: Callable[..., Any] | None, both: Value, told: Mapping[str, Value],
    options: Mapping[str, Any],
) -> Value:  # fmt: skip
    if guide is None:
        return both
    made: Value = r.stage(guide, name=r.free("guide"), both=both, **told, options=options,
                          output=(1, *both.shape[1:]))  # fmt: skip
    return made
