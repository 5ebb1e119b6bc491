"""Schedulers by class: what a loop must know of one before any of its numbers are computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from entracte.graphs.checks import GraphFault, similar


@dataclass(frozen=True, slots=True)
class Row:
    """A scheduler. `probe.py` asserts all of this of the library's own."""

    history: bool = False
    """Whether it remembers more than the latents from step to step."""
    noise: bool = False
    """Whether its steps add fresh noise."""
    scales: bool = False
    """Whether the model reads latents that are scaled, by another factor in each step."""
    starts: bool = False
    """Whether the first latents are normal numbers times a sigma."""
    evaluations: Callable[[int], int] = lambda steps: steps
    """How often the model runs."""
    ends: bool = False
    """Whether its last time is where it ends, and no step is taken there."""


Config = Mapping[str, Any]


def _twice(steps: int) -> int:
    return 2 * steps - 1


def _one_more(steps: int) -> int:
    return steps + 1


def _solver(config: Config) -> Row:
    """DPM-Solver++: its SDE forms add noise."""
    return Row(history=True, noise=str(config.get("algorithm_type", "")).startswith("sde"))


_ROWS: dict[str, Row | Callable[[Config], Row]] = {
    "CogVideoXDDIMScheduler": Row(),
    "CogVideoXDPMScheduler": Row(history=True, noise=True),
    "DDIMScheduler": Row(),
    "DDPMScheduler": Row(noise=True),
    "DDPMWuerstchenScheduler": Row(noise=True, ends=True),
    "DPMSolverMultistepScheduler": _solver,
    "EulerDiscreteScheduler": Row(scales=True, starts=True),
    "EulerAncestralDiscreteScheduler": Row(noise=True, scales=True, starts=True),
    "FlowMatchEulerDiscreteScheduler": Row(),
    "FlowMatchHeunDiscreteScheduler": Row(history=True, evaluations=_twice),
    "HeunDiscreteScheduler": Row(history=True, scales=True, starts=True, evaluations=_twice),
    "LCMScheduler": Row(noise=True),
    "PNDMScheduler": Row(history=True, evaluations=_one_more),
    "UniPCMultistepScheduler": Row(history=True),
}


def row_of(kind: str, config: Config) -> Row:
    """The row of a scheduler's class. Raises `GraphFault` for one that is not known."""
    found = _ROWS.get(kind)
    if found is None:
        raise GraphFault(
            f"the scheduler {kind!r} is not known{similar(kind, _ROWS)}; choose another, "
            f"`pipeline.options.scheduler=NAME`: {', '.join(sorted(_ROWS))}"
        )
    return found if isinstance(found, Row) else found(config)
