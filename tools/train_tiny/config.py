"""Step budgets of the training stages. They, not the clock, define the result."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Optimiser steps and batch sizes of every stage."""

    spatial_steps: int = 2600
    spatial_batch: int = 32
    temporal_clips: int = 2048
    temporal_steps: int = 1500
    temporal_batch: int = 32
    finish_steps: int = 320
    finish_batch: int = 16
    cached_clips: int = 4096
    fresh_every: int = 24
    fresh_clips: int = 16
    denoiser_steps: int = 5200
    denoiser_batch: int = 64
