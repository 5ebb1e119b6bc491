"""Schedulers of diffusers that are known, and how each is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from entracte.graphs.checks import GraphFault, similar

Times = Sequence[torch.Tensor]
Call = Callable[[Any, Times, int, torch.Tensor, torch.Tensor], torch.Tensor]
"""(scheduler, times, index, output, latents) -> the next latents."""


def _usual(made: Any, times: Times, i: int, output: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = made.step(output, times[i], z, return_dict=False)[0]
    return found


def _with_last_sample(
    made: Any, times: Times, i: int, output: torch.Tensor, z: torch.Tensor
) -> torch.Tensor:
    """As CogVideoX' pipelines call it: the caller remembers the last predicted sample."""
    before = times[i - 1] if i else None
    last = getattr(made, "last_predicted", None)
    found: torch.Tensor
    found, made.last_predicted = made.step(output, last, times[i], before, z, return_dict=False)
    return found


def _with_next_time(
    made: Any, times: Times, i: int, output: torch.Tensor, z: torch.Tensor
) -> torch.Tensor:
    """As UnCLIP's pipelines call it."""
    after = times[i + 1] if i + 1 < len(times) else None
    found: torch.Tensor = made.step(output, times[i], z, prev_timestep=after, return_dict=False)[0]
    return found


def _with_a_row_of_times(
    made: Any, times: Times, i: int, output: torch.Tensor, z: torch.Tensor
) -> torch.Tensor:
    """As Wuerstchen's and StableCascade's pipelines call it: a time for each of the batch."""
    found: torch.Tensor = made.step(output, times[i].reshape(1), z, return_dict=False)[0]
    return found


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of schedulers."""

    call: Call = _usual
    has_end: bool = False
    """Whether the last of its times is where the last step arrives: no evaluation."""


_PLAIN = (
    "CMStochasticIterativeScheduler", "CogVideoXDDIMScheduler", "CosineDPMSolverMultistepScheduler",
    "DDIMInverseScheduler", "DDIMParallelScheduler", "DDIMScheduler", "DDPMParallelScheduler",
    "DDPMScheduler", "DEISMultistepScheduler", "DPMSolverMultistepInverseScheduler",
    "DPMSolverMultistepScheduler", "DPMSolverSDEScheduler", "DPMSolverSinglestepScheduler",
    "EDMDPMSolverMultistepScheduler", "EDMEulerScheduler", "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler",
    "FlowMatchLCMScheduler", "HeunDiscreteScheduler", "IPNDMScheduler",
    "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "LCMScheduler",
    "LMSDiscreteScheduler", "LTXEulerAncestralRFScheduler", "PNDMScheduler", "SASolverScheduler",
    "TCDScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
KINDS: Mapping[str, Kind] = {
    **{name: Kind() for name in _PLAIN},
    "CogVideoXDPMScheduler": Kind(_with_last_sample),
    "DDPMWuerstchenScheduler": Kind(_with_a_row_of_times, has_end=True),
    "SCMScheduler": Kind(has_end=True),
    "UnCLIPScheduler": Kind(_with_next_time),
}


def settings_of(scheduler: str) -> tuple[str, ...]:
    """What a class's configuration may say. Raises `GraphFault` for one that is not known."""
    import diffusers

    kind_of(scheduler)
    taken = inspect.signature(getattr(diffusers, scheduler).__init__).parameters.values()
    return tuple(p.name for p in taken if p.kind is not p.VAR_KEYWORD)[1:]


def kind_of(scheduler: str) -> Kind:
    """Raises `GraphFault` for a class that is not known."""
    if scheduler not in KINDS:
        raise GraphFault(
            f"the scheduler {scheduler!r} is not known{similar(scheduler, KINDS)}; choose another, "
            f"`pipeline.options.scheduler=NAME`: {', '.join(sorted(KINDS))}"
        )
    return KINDS[scheduler]
