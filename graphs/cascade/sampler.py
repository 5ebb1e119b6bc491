"""Stable Cascade's own sampler as tables (`gdf` of Stability-AI/StableCascade).

A cosine schedule (Nichol and Dhariwal 2021), variances kept from 1e-4 to 0.9999, epsilon predicted,
steps of DDPM (Ho et al. 2020) or DDIM (Song et al. 2020). Where diffusers' scheduler differs: the
model's first number is 0.9936 and not 1, since it is worked out of the limited variance; and the
last step adds noise.
"""

from __future__ import annotations

import numpy as np
import torch

from entracte.graphs.cascade.net import sinusoids
from entracte.graphs.checks import GraphFault
from entracte.graphs.spec import Constants

_S = 0.008
_LEAST, _MOST = 1e-4, 0.9999
_ETA = {"ddpm": 1.0, "ddim": 0.0}
"""How much of a step's variance is fresh noise."""
SAMPLERS = tuple(_ETA)


def _first() -> float:
    """The squared cosine at 0, which the variance is divided by."""
    return float(np.cos(_S / (1 + _S) * np.pi / 2) ** 2)


def _log_snr(t: np.ndarray) -> np.ndarray:
    variance = np.cos((t + _S) / (1 + _S) * np.pi / 2) ** 2 / _first()
    variance = variance.clip(_LEAST, _MOST)
    return np.asarray(np.log(variance / (1 - variance)))


def times(steps: int, shift: float = 1.0, start: float = 1.0) -> np.ndarray:
    """log SNR at the steps + 1 ends of steps; with `shift` that of pictures so many times larger
    (Hoogeboom et al. 2023), never beyond where it begins and ends without."""
    low, high = _log_snr(np.array([1.0, 0.0]))
    made = _log_snr(np.linspace(start, 0.0, steps + 1)) - 2 * np.log(shift)
    return np.asarray(made.clip(low, high))


def condition(log_snr: np.ndarray) -> np.ndarray:
    """The number that the model is told, from 0 to 1."""
    variance = (1 / (1 + np.exp(-log_snr))).clip(_LEAST, _MOST)
    angle = np.arccos(np.sqrt(variance * _first())) / (np.pi / 2)
    return np.asarray((angle * (1 + _S) - _S).clip(0, 1))


def parts(log_snr: np.ndarray, sampler: str = "ddpm") -> np.ndarray:
    """(steps, 3): each step's factors of latents, predicted noise and fresh noise."""
    signal, noise = np.sqrt(1 / (1 + np.exp(-log_snr))), np.sqrt(1 / (1 + np.exp(log_snr)))
    a, a_next, b, b_next = signal[:-1], signal[1:], noise[:-1], noise[1:]
    fresh = _ETA[sampler] * b_next / b * np.sqrt(1 - (a / a_next) ** 2)
    kept = a_next / a
    return np.stack([kept, np.sqrt(b_next**2 - fresh**2) - kept * b, fresh], 1)


def schedule(
    steps: int, width: int, numbers: int, shift: float = 1.0, sampler: str = "ddpm"
) -> Constants:
    """Rows for each step: `step`, the model's embedding of it, and `parts`.

    Args:
        steps: how many.
        width, numbers: of sinusoids, and of how many numbers; all but the first are 0.
        shift, sampler: as of `times` and `parts`.
    """
    if sampler not in _ETA:
        raise GraphFault(f"sampler: {sampler!r} is none of {', '.join(SAMPLERS)}")
    if not shift > 0 or steps < 1:
        raise GraphFault(f"steps and shift: {steps} and {shift}; give numbers above 0")
    log_snr = times(steps, shift)
    told = torch.tensor(condition(log_snr)[:-1], dtype=torch.float32)
    columns = [sinusoids(told if k == 0 else torch.zeros(steps), width) for k in range(numbers)]
    made = torch.cat(columns, 1).numpy()
    return Constants({"step": made, "parts": parts(log_snr, sampler)})
