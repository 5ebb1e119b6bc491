"""Guidance one half after the other: what a transformer over a clip holds is there once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from entracte.graphs.recipes.parts import guided
from entracte.graphs.recipes.recipe import Recipe, Value, stage


@stage
def guide(both: Tensor, guidance: Tensor) -> Tensor:
    """Of [without, with]."""
    return guided(both, guidance)


def texts_of(r: Recipe, prompt: str) -> list[Value]:
    """The texts' inputs: [negative, prompt], or the prompt alone without `guided`."""
    without = [r.text("negative")] if r.option("guided", True) else []
    return [*without, r.text("prompt", prompt)]


def in_halves(
    r: Recipe, function: Callable[..., Any], z: Value, guidance: Value | None, *,
    sliced: Mapping[str, Value], settings: Any = None, component: Any = "transformer",
    **ports: Value,
) -> Value:  # fmt: skip
    """What the scheduler takes: `function` of the component for each text, then guidance.

    Args:
        z: as it is for one text; so is the output.
        guidance: the user's number; None where only the prompt is read.
        sliced: of the function's ports those that have a row for each text.
        ports: its others.
    """
    first = {name: value.of(1, *value.shape[1:]) for name, value in sliced.items()}
    options = {"map": {"port": list(sliced), "axis": 0, "size": 1}} if guidance else {}
    made: Value = r.stage(function, component, settings=settings, z=z, **ports, **first,
                          output=z.shape, options=options)  # fmt: skip
    if guidance is None:
        return made
    both = made.of(2, *z.shape[1:])
    found: Value = r.stage(guide, both=both, guidance=guidance, output=z.shape)
    return found
