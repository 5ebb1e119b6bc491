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


@stage
def guide_within(given: Tensor, without: Tensor, guidance: Tensor, within: Tensor) -> Tensor:
    """Of two, where `within` is 1; where it is 0, `given` alone."""
    return given + within * (guidance - 1.0) * (given - without)


def texts_of(r: Recipe, prompt: str) -> list[Value]:
    """The texts' inputs: [negative, prompt], or the prompt alone without `guided`."""
    without = [r.text("negative")] if r.option("guided", True) else []
    return [*without, r.text("prompt", prompt)]


def in_halves(
    r: Recipe, function: Callable[..., Any], z: Value, guidance: Value | None, *,
    sliced: Mapping[str, Value], settings: Any = None, **ports: Value,
) -> Value:  # fmt: skip
    """What the scheduler takes: `function` of the transformer, or UNet, for each text, then
    guidance. With the options `guidance_begin` and `guidance_end` it is in these steps only; the
    others run the prompt's half alone (arXiv 2404.07724; docs/techniques.md).

    Args:
        z: as it is for one text; so is the output.
        guidance: the user's number; None where only the prompt is read.
        sliced: of the function's ports those that have a row for each text.
        ports: its others.
    """
    first = {name: value.of(1, *value.shape[1:]) for name, value in sliced.items()}
    halves: dict[str, Any] = {"port": list(sliced), "axis": 0, "size": 1, "count": 2}
    interval = _interval(r) if guidance else None
    if interval is not None:
        begin, end = interval
        halves["rests"] = {"slices": [0], "at": {"from": begin, "to": end}}
    options = {"map": halves} if guidance else {}
    component = "transformer" if r.folder.has("transformer") else "unet"
    made: Value = r.stage(function, component, settings=settings, z=z, **ports, **first,
                          output=z.shape, options=options)  # fmt: skip
    if guidance is None:
        return made
    if interval is not None:
        within = r.within(*interval)
        without = Value(f"{made.name}_rests", z.shape)
        alone: Value = r.stage(guide_within, name="guide", given=made, without=without,
                               guidance=guidance, within=within, output=z.shape)  # fmt: skip
        return alone
    both = made.of(2, *z.shape[1:])
    found: Value = r.stage(guide, both=both, guidance=guidance, output=z.shape)
    return found


def _interval(r: Recipe) -> tuple[int, int] | None:
    """The steps [begin, end) that are guided; None where all are."""
    count = r.steps_here
    begin, last = r.option("guidance_begin", 0), r.option("guidance_end", None)
    end = count if last is None else last
    if not isinstance(end, int) or isinstance(end, bool) or not 0 <= begin < end <= count:
        raise ValueError(
            f"pipeline.options.guidance_begin={begin}, guidance_end={last}: of {count} steps; give "
            "the first guided one, and the one before which guidance ends"
        )
    return None if (begin, end) == (0, count) else (begin, end)
