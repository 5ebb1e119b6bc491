"""Respaced DDPM and DDIM as DiT samples (`create_diffusion` of facebookresearch/DiT; Nichol and
Dhariwal 2021): some of a thousand steps, each variance between two bounds as the model says.

All tables are computed in fp64 and stored as fp32; a step runs in fp32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from entracte.graphs.checks import GraphFault, similar
from entracte.graphs.spec import Constants, Graph, Input

METHODS = ("ddpm", "ddim")
_SCHEDULES = ("linear", "squaredcos_cap_v2")
_MOST_BETA = 0.999
_DEFAULTS: dict[str, Any] = {
    "noise_schedule": "linear", "diffusion_steps": 1000, "learn_sigma": True,
    "sigma_small": False, "predict_xstart": False, "sampling_method": "ddpm",
}  # fmt: skip


def betas_of(schedule: str, steps: int) -> np.ndarray:
    """Of the whole process, (steps,). Raises `GraphFault` for a schedule that is not known."""
    if schedule == "linear":
        scale = 1000 / steps
        return np.linspace(scale * 1e-4, scale * 0.02, steps)
    if schedule != "squaredcos_cap_v2":
        raise GraphFault(
            f"noise_schedule: {schedule!r} is none of {', '.join(_SCHEDULES)}"
            f"{similar(schedule, _SCHEDULES)}"
        )
    left = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - left[1:] / left[:-1], _MOST_BETA)


def kept_steps(steps: int, respacing: str) -> list[int]:
    """Which of the process' steps are made, ascending.

    Args:
        respacing: `250`; `10,15,20`, so many of each third; `ddim50`, evenly from 0 on; empty for
            all.

    Raises:
        GraphFault: it is none of these, or there are not so many.
    """
    if not respacing:
        return list(range(steps))
    plain = respacing.removeprefix("ddim")
    counts = [int(part) for part in plain.split(",") if part.strip().isdecimal()]
    if len(counts) != plain.count(",") + 1 or min(counts) < 1:
        raise GraphFault(f"respacing: {respacing!r}: give 250, ddim50, or 10,15,20")
    if respacing != plain:
        strides = [s for s in range(1, steps) if len(range(0, steps, s)) == counts[0]]
        if not strides or len(counts) > 1:
            raise GraphFault(
                f"respacing: {respacing}: no whole stride makes so many of {steps} steps; give "
                f"{plain}, which needs none"
            )
        return list(range(0, steps, strides[0]))
    return _of_sections(steps, counts)


def _of_sections(steps: int, counts: Sequence[int]) -> list[int]:
    each, rest = divmod(steps, len(counts))
    found, start = list[int](), 0
    for k, count in enumerate(counts):
        size = each + int(k < rest)
        if count > size:
            raise GraphFault(f"respacing: {count} of {size} steps; give {size} at most")
        stride = (size - 1) / (count - 1) if count > 1 else 1.0
        place = 0.0
        for _ in range(count):
            found.append(start + round(place))
            place += stride
        start += size
    return found


@dataclass(frozen=True)
class Spaced:
    """The process over the steps that are kept, ascending; all (steps,), fp64."""

    timesteps: np.ndarray
    """What the model is told."""
    betas: np.ndarray
    alphas_cumprod: np.ndarray
    alphas_cumprod_prev: np.ndarray
    posterior_variance: np.ndarray
    posterior_log_variance_clipped: np.ndarray
    posterior_mean_coef1: np.ndarray
    posterior_mean_coef2: np.ndarray


def spaced(schedule: str, steps: int, respacing: str) -> Spaced:
    """See `betas_of` and `kept_steps`."""
    kept = kept_steps(steps, respacing)
    left = np.cumprod(1 - betas_of(schedule, steps))[kept]
    before = np.append(1.0, left[:-1])
    betas = 1 - left / before
    variance = betas * (1 - before) / (1 - left)
    return Spaced(
        np.array(kept), betas, left, before, variance,
        # The first one is 0: the next one's logarithm stands for its.
        np.log(np.append(variance[min(1, len(kept) - 1)], variance[1:]).clip(1e-20)),
        betas * np.sqrt(before) / (1 - left),
        (1 - before) * np.sqrt(1 - betas) / (1 - left),
    )  # fmt: skip


def _settings(config: str) -> dict[str, Any]:
    given: Mapping[str, Any] = json.loads(config)
    found = _DEFAULTS | {k: v for k, v in given.items() if k in _DEFAULTS}
    if found["sampling_method"] not in METHODS:
        raise GraphFault(
            f"sampling_method: {found['sampling_method']!r} is neither {' nor '.join(METHODS)}"
        )
    return found


def evaluations(config: str, respacing: str) -> int:
    """How often the model runs."""
    return len(kept_steps(_settings(config)["diffusion_steps"], respacing))


def table(config: str, respacing: str) -> Constants:
    """`time` (steps,) and `parts` (steps, 7) of each step, the first step first: roots of what the
    model's noise and latents are worth, two factors of the next latents, two logarithms between
    which the variance is, and 1 where noise is added."""
    c = _settings(config)
    s = spaced(c["noise_schedule"], c["diffusion_steps"], respacing)
    more, zeros = np.sqrt(1 / s.alphas_cumprod), np.zeros(len(s.betas))
    noise = np.sqrt(1 / s.alphas_cumprod - 1)
    if c["sampling_method"] == "ddim":
        to = (np.sqrt(s.alphas_cumprod_prev), np.sqrt(1 - s.alphas_cumprod_prev))
        low, high, noisy = zeros, zeros, zeros
    else:
        to = (s.posterior_mean_coef1, s.posterior_mean_coef2)
        low, high = s.posterior_log_variance_clipped, np.log(s.betas)
        if not c["learn_sigma"]:
            wide = np.append(s.posterior_variance[min(1, len(zeros) - 1)], s.betas[1:])
            low = high = low if c["sigma_small"] else np.log(wide)
        noisy = np.append(0.0, zeros[1:] + 1)
    parts = np.stack([more, noise, *to, low, high, noisy], axis=1)[::-1]
    return Constants({"time": s.timesteps[::-1].astype(np.float32).copy(),
                      "parts": parts.astype(np.float32)})  # fmt: skip


class Step(nn.Module):
    """The next latents, of the mean of what the model says was there before the noise.

    Args:
        channels: of latents; `learned`: behind so many of the output stand those of the variance.
        is_ddim: without noise, along the same direction (Song et al. 2021, eta 0).
        is_data: the model says what was there, not the noise.
    """

    def __init__(self, channels: int, *, learned: bool, is_ddim: bool, is_data: bool) -> None:
        super().__init__()
        self._channels, self._learned = channels, learned
        self._is_ddim, self._is_data = is_ddim, is_data

    def forward(
        self, z: Tensor, output: Tensor, parts: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """z, noise (1, C, ...), output (1, C or 2 C, ...), parts (1, 7) -> like z."""
        said, told = output[:, : self._channels], [parts[0, k] for k in range(parts.shape[1])]
        more, less, first, second, low, high, noisy = told
        start = said if self._is_data else more * z - less * said
        if self._is_ddim:
            return first * start + second * ((more * z - start) / less if self._is_data else said)
        mean = first * start + second * z
        assert noise is not None
        logarithm = low
        if self._learned:
            part = (output[:, self._channels :] + 1) / 2
            logarithm = part * high + (1 - part) * low
        return mean + noisy * torch.exp(0.5 * logarithm) * noise


def step(config: str, shape: Sequence[int]) -> Graph:
    """`z`, `output`, `parts`, for DDPM `noise` -> `z_next`."""
    c, size = _settings(config), tuple(shape)
    is_ddim = c["sampling_method"] == "ddim"
    module = Step(size[1], learned=c["learn_sigma"], is_ddim=is_ddim, is_data=c["predict_xstart"])
    made = (size[0], size[1] * (2 if c["learn_sigma"] else 1), *size[2:])
    inputs = [Input("z", size), Input("output", made), Input("parts", (1, 7))]
    inputs += [] if is_ddim else [Input("noise", size)]
    return Graph(module.eval(), tuple(inputs), ("z_next",))
