"""Rectified flow as Open-Sora v1.2 samples it: timesteps 1000 (noise) -> 0 (data), Euler steps.

The velocity points from noise to data, v = data - noise, so a step adds v * dt
(`reference/systems.md` section 1.1).
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor, nn


def resolution_shift(frames: int, height: int, width: int) -> float:
    """Open-Sora's timestep shift: larger videos spend more steps near pure noise.

    Upstream counts latent frames as `frames // 17 * 5`; fewer than 17 frames count as one.
    """
    latent_frames = 1 if frames == 1 else max(1, frames // 17 * 5)
    return math.sqrt(height * width / 512**2) * math.sqrt(latent_frames)


def rflow_timesteps(
    steps: int, frames: int, height: int, width: int, shift: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Timesteps and step lengths, each float64 [steps].

    Args:
        steps: number of Euler steps.
        frames, height, width: size of the video in pixels.
        shift: use this shift instead of `resolution_shift`; 1 spaces the steps evenly.
    """
    if shift is None:
        shift = resolution_shift(frames, height, width)
    even = 1.0 - np.arange(steps, dtype=np.float64) / steps
    timesteps = 1000.0 * shift * even / (1.0 + (shift - 1.0) * even)
    return timesteps, (timesteps - np.append(timesteps[1:], 0.0)) / 1000.0


class GuidedEuler(nn.Module):
    """Classifier-free guidance and one Euler step."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, z: Tensor, v: Tensor, dt: Tensor, guidance: Tensor) -> Tensor:
        """z [1, C, T, H, W], v [2, >=C, T, H, W] as [cond, uncond], dt [1], guidance [1] -> z'."""
        conditional = v[:1, : self.channels]
        unconditional = v[1:, : self.channels]
        return z + (unconditional + guidance * (conditional - unconditional)) * dt
