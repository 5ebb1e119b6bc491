"""STDiT3's sizes, and how its inputs become tokens and vectors. Names as published."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TIME_FREQUENCIES = 256


@dataclass(frozen=True)
class STDiT3Config:
    """Sizes of STDiT3; the defaults are STDiT3-XL/2 on a 2 s, 240p, 9:16 clip.

    Attributes:
        hidden, depth, heads, mlp_ratio: width, pairs of blocks, attention heads, MLP expansion.
        patch: latent frames, rows and columns per token.
        in_channels: latent channels; the output has twice as many when `pred_sigma` is set.
        qk_norm: whether queries and keys of self-attention are normalised.
        caption_channels, text_tokens: width and length of the text encoder's output.
        input_sq_size: pixel size at which positions have unit spacing.
        latent: latent frames, rows and columns.
        pixels: height and width of the video, for the position scale.
        fps: frame rate the model is conditioned on.
    """

    hidden: int = 1152
    depth: int = 28
    heads: int = 16
    mlp_ratio: float = 4.0
    patch: tuple[int, int, int] = (1, 2, 2)
    in_channels: int = 4
    pred_sigma: bool = True
    qk_norm: bool = True
    caption_channels: int = 4096
    text_tokens: int = 300
    input_sq_size: int = 512
    latent: tuple[int, int, int] = (15, 30, 53)
    pixels: tuple[int, int] = (240, 426)
    fps: float = 24.0

    @property
    def out_channels(self) -> int:
        """Channels of the prediction: the velocity, then (unused) variances."""
        return self.in_channels * (2 if self.pred_sigma else 1)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along time, height and width, after padding to whole patches."""
        t, h, w = (-(-size // patch) for size, patch in zip(self.latent, self.patch, strict=True))
        return t, h, w


def position_table(cfg: STDiT3Config) -> Tensor:
    """Sine and cosine of the column, then of the row, of every token of a frame: [1, S, hidden]."""
    _, rows, columns = cfg.grid
    scale = math.sqrt(cfg.pixels[0] * cfg.pixels[1]) / cfg.input_sq_size
    base = round(math.sqrt(rows * columns))
    row = np.arange(rows) / scale * base / rows
    column = np.arange(columns) / scale * base / columns
    half = cfg.hidden // 2
    frequency = 10000.0 ** (-2.0 * np.arange(half // 2) / half)
    row, column = np.meshgrid(row, column, indexing="ij")
    parts = []
    for place in (column, row):
        angle = place.reshape(-1, 1) * frequency
        parts += [np.sin(angle), np.cos(angle)]
    # from_numpy, not torch.tensor: a real table also while parameters are made on `meta`.
    return torch.from_numpy(np.concatenate(parts, axis=1, dtype=np.float32)[None])


def _time_frequencies() -> Tensor:
    """The 128 frequencies of the timestep and frame-rate embeddings."""
    half = TIME_FREQUENCIES // 2
    return torch.from_numpy(np.exp(-math.log(10000.0) * np.arange(half) / half).astype(np.float32))


class MLP(nn.Module):
    """Linear, GELU (tanh form), linear."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, middle)
        self.fc2 = nn.Linear(middle, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class PatchEmbedder(nn.Module):
    """Latents -> tokens; odd heights and widths are zero-padded on the right and bottom."""

    def __init__(self, cfg: STDiT3Config) -> None:
        super().__init__()
        self.proj = nn.Conv3d(cfg.in_channels, cfg.hidden, cfg.patch, cfg.patch)
        missing = [-size % patch for size, patch in zip(cfg.latent, cfg.patch, strict=True)]
        self.padding = (0, missing[2], 0, missing[1], 0, missing[0])

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] -> [B, T*S, hidden]."""
        if any(self.padding):
            x = F.pad(x, self.padding)
        return self.proj(x).flatten(2).transpose(1, 2)


class ScalarEmbedder(nn.Module):
    """Sinusoids of a scalar (cosines first), then two linear layers."""

    frequencies: Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(TIME_FREQUENCIES, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        self.register_buffer("frequencies", _time_frequencies(), persistent=False)

    def forward(self, value: Tensor) -> Tensor:
        """[B] -> [B, hidden]."""
        angle = value[:, None] * self.frequencies
        return self.mlp(torch.cat((angle.cos(), angle.sin()), dim=-1))


class CaptionEmbedder(nn.Module):
    """Projects text features; owns the embedding that stands for "no caption"."""

    y_embedding: Tensor

    def __init__(self, cfg: STDiT3Config) -> None:
        super().__init__()
        null = torch.randn(cfg.text_tokens, cfg.caption_channels) / cfg.caption_channels**0.5
        self.register_buffer("y_embedding", null)
        self.y_proj = MLP(cfg.caption_channels, cfg.hidden, cfg.hidden)

    def forward(self, y: Tensor) -> Tensor:
        """[B, L, caption_channels] -> [B, L, hidden]."""
        return self.y_proj(y)
