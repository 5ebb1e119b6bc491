"""Rectified flow as Open-Sora v1.2 samples it: timesteps 1000 (noise) -> 0 (data), Euler steps.

The velocity points from noise to data, v = data - noise, so a step adds v * dt
(`reference/systems.md` section 1.1).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn


def resolution_shift(frames: int, height: int, width: int) -> float:
    """Open-Sora's timestep shift: larger videos spend more steps near pure noise.

    Upstream counts latent frames as `frames // 17 * 5`, whatever the rest. Of 2 to 16 frames these
    would be none, and all its timesteps NaN; here they count as one, like the one of an image.
    """
    latent_frames = 1 if frames == 1 else max(1, frames // 17 * 5)
    return math.sqrt(height * width / 512**2) * math.sqrt(latent_frames)


def rflow_timesteps(
    steps: int,
    frames: int,
    height: int,
    width: int,
    shift: float | None = None,
    evaluations: int | None = None,
    discrete: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Timesteps and step lengths, each float64 [evaluations].

    With fewer evaluations than steps the last length is all the time that remains: the static
    linear proportional leap (arXiv 2502.04363v2, equation 5), `evaluations - 1` plain steps and
    the leap.

    Args:
        steps: number of Euler steps that divide the whole time.
        frames, height, width: size of the video in pixels.
        shift: use this shift instead of `resolution_shift`; 1 spaces the steps evenly.
        evaluations: how many of the steps are taken, by default all.
        discrete: round the evenly spaced timesteps to whole ones before they are shifted
            (`use_discrete_timesteps`, as both codes of On-device Sora have it).

    Raises:
        ValueError: there are fewer steps than evaluations.
    """
    taken = steps if evaluations is None else evaluations
    if not 1 <= taken <= steps:
        raise ValueError(f"sampler.evaluations: {taken} of {steps} steps; give 1 to {steps}")
    if shift is None:
        shift = resolution_shift(frames, height, width)
    even = 1.0 - np.arange(taken, dtype=np.float64) / steps
    if discrete:
        even = np.rint(1000.0 * even) / 1000.0
    timesteps = 1000.0 * shift * even / (1.0 + (shift - 1.0) * even)
    return timesteps, (timesteps - np.append(timesteps[1:], 0.0)) / 1000.0


def guided(velocity: Tensor, guidance: Tensor, channels: int) -> Tensor:
    """Classifier-free guidance: [2, >= channels, T, H, W] as [cond, uncond] -> [1, channels, ...].

    Channels after the first ones (variances) are not read.
    """
    conditional = velocity[:1, :channels]
    unconditional = velocity[1:, :channels]
    return unconditional + guidance * (conditional - unconditional)


def guidance_interval(count: int, begin: int = 0, end: int | None = None) -> np.ndarray:
    """1 for the iterations from `begin` up to `end`, which is not one of them, else 0: [count].

    Raises `ValueError` where there is no such iteration.
    """
    stop = count if end is None else end
    if not 0 <= begin < stop <= count:
        raise ValueError(f"guidance: from {begin} up to {stop} of {count}; give at least one step")
    places = np.arange(count)
    return ((places >= begin) & (places < stop)).astype(np.float32)


class GuidedEuler(nn.Module):
    """Classifier-free guidance and one Euler step."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(
        self,
        z: Tensor,
        velocity: Tensor,
        dt: Tensor,
        guidance: Tensor,
        unconditional: Tensor | None = None,
        within: Tensor | None = None,
    ) -> Tensor:
        """One step.

        Args:
            z: [1, C, T, H, W].
            velocity: [2, >=C, T, H, W] as [cond, uncond], or cond alone.
            dt: [1], or [1, T, 1, 1] where latent frames differ.
            guidance: [1].
            unconditional: uncond, where `velocity` is cond alone.
            within: [1], of `guidance_interval`; 0: the step follows cond alone.

        Returns z'.
        """
        both = together(velocity, unconditional, within)
        return z + guided(both, guidance, self.channels) * dt


def together(
    velocity: Tensor, unconditional: Tensor | None = None, within: Tensor | None = None
) -> Tensor:
    """[cond, uncond] as one batch; where `within` is 0, [cond, cond], whose guidance is cond."""
    if unconditional is None or within is None:
        return velocity
    return torch.cat((velocity, velocity + within * (unconditional - velocity)))
