"""Whisper's log-mel features, as `WhisperFeatureExtractor` makes them of 16 kHz."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from entracte.graphs.recipes.recipe import stage

RATE = 16_000


@stage
def log_mel(sound: Tensor, mels: int, window: int, hop: int) -> Tensor:
    """Samples (1, n) to (1, mels, n / hop): powers of a windowed Fourier transform, in bands.

    Args:
        window: samples that a transform reads (`n_fft`).
        hop: from one to the next.
    """
    from transformers.audio_utils import mel_filter_bank

    bands = mel_filter_bank(1 + window // 2, mels, 0.0, 8000.0, RATE, "slaney", "slaney")
    padded = functional.pad(sound[:, None], (window // 2, window // 2), mode="reflect")
    real, imaginary = functional.conv1d(padded, _waves(window), stride=hop).chunk(2, dim=1)
    power = (real * real + imaginary * imaginary)[:, :, :-1]
    filters = torch.tensor(bands.T.tolist())
    log = torch.log(torch.clamp(filters @ power, min=1e-10)) / math.log(10.0)
    largest = log.amax(dim=(1, 2), keepdim=True)
    return (torch.maximum(log, largest - 8.0) + 4.0) / 4.0


def _waves(window: int) -> Tensor:
    """Cosines and sines under Hann's window, (2 (window / 2 + 1), 1, window)."""
    n = np.arange(window)
    angle = 2 * np.pi * np.outer(np.arange(window // 2 + 1), n) / window
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / window)
    waves = np.concatenate([np.cos(angle), -np.sin(angle)]) * hann
    return torch.tensor(waves[:, None].tolist())
