"""What MiniSora's transformers read: patches, positions, the time, a class or a text. Names as
published (`reference/systems.md` section 3.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from entracte.graphs.checks import GraphFault

_FREQUENCIES = 256
"""Numbers of which a time is told."""


def sines(positions: np.ndarray, dim: int) -> np.ndarray:
    """Sines, then cosines of positions, (count, dim); Vaswani et al. 2017 with all sines first."""
    rates = 10000.0 ** (-np.arange(dim // 2) / (dim // 2))
    angles = positions.reshape(-1, 1) * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def grid_table(rows: int, columns: int, dim: int) -> Tensor:
    """Of each place of a grid its column, then its row: (1, rows * columns, dim), fp32.

    Raises `GraphFault` for a width that has no four equal parts.
    """
    if dim % 4:
        raise GraphFault(f"hidden_size: {dim} is no multiple of 4, as positions in a plane need")
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    parts = [sines(place, dim // 2) for place in (column, row)]
    # from_numpy, not torch.tensor: a real table also while parameters are made on `meta`.
    return torch.from_numpy(np.concatenate(parts, axis=1, dtype=np.float32)[None])


def line_table(count: int, dim: int) -> Tensor:
    """Of each frame its place: (1, count, dim), fp32."""
    return torch.from_numpy(sines(np.arange(count), dim).astype(np.float32)[None])


def patches_of(size: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    """How many patches along each axis. Raises `GraphFault` where some would not be whole."""
    if len(size) != len(patch) or any(s % p for s, p in zip(size, patch, strict=True)):
        raise GraphFault(
            f"input_size: {list(size)} is not made of whole patches of {list(patch)}: give a "
            "multiple of each, and as many numbers"
        )
    return tuple(s // p for s, p in zip(size, patch, strict=True))


class PatchEmbedder(nn.Module):
    """Latents -> tokens, in the order of rows."""

    def __init__(self, channels: int, hidden: int, patch: Sequence[int]) -> None:
        super().__init__()
        kind = nn.Conv2d if len(patch) == 2 else nn.Conv3d
        self.proj = kind(channels, hidden, tuple(patch), tuple(patch))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ..., H, W) -> (B, tokens, hidden)."""
        return self.proj(x).flatten(2).transpose(1, 2)


class TimestepEmbedder(nn.Module):
    """Cosines, then sines of a time, and two linear layers."""

    frequencies: Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(_FREQUENCIES, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        half = _FREQUENCIES // 2
        rates = np.exp(-math.log(10000.0) * np.arange(half) / half).astype(np.float32)
        self.register_buffer("frequencies", torch.from_numpy(rates), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """(B,) -> (B, hidden)."""
        angles = t[:, None] * self.frequencies
        return self.mlp(torch.cat((angles.cos(), angles.sin()), dim=-1))


class LabelEmbedder(nn.Module):
    """A row for each class; behind them, where labels were dropped in training, one for none."""

    def __init__(self, classes: int, hidden: int, dropped: float) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(classes + int(dropped > 0), hidden)

    def forward(self, labels: Tensor) -> Tensor:
        """(B,) -> (B, hidden)."""
        return self.embedding_table(labels)


class TextEncoder(nn.Module):
    """CLIP's text model, under the name that OpenDiT's checkpoints have for it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import CLIPTextConfig, CLIPTextModel

        made = CLIPTextConfig(**config)
        made._attn_implementation = "sdpa"
        self.transformer = CLIPTextModel(made)
        self.width = int(made.hidden_size)


class TextEmbedder(nn.Module):
    """What CLIP says of a whole text, projected: it takes a class's place."""

    def __init__(self, clip: Mapping[str, Any], hidden: int) -> None:
        super().__init__()
        self.text_encoder = TextEncoder(clip)
        self.output_projection = nn.Linear(self.text_encoder.width, hidden)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (B, L) -> (B, hidden)."""
        pooled = self.text_encoder.transformer(input_ids=ids).pooler_output
        return self.output_projection(pooled)
