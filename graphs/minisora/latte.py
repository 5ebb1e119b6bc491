"""OpenDiT's Latte: blocks by turns over the places of a frame and over the frames of a place. Not
the Latte of diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from entracte.graphs.minisora.dit import Sizes, Transformer
from entracte.graphs.minisora.embed import grid_table, line_table


class OpenDiTLatte(Transformer):
    """Latte-XL/1x2x2 of 16 x 256 x 256 by its defaults."""

    unused = (*Transformer.unused, "use_video")
    pos_embed_spatial: Tensor
    pos_embed_temporal: Tensor

    def __init__(
        self, input_size: Sizes = (16, 32, 32), patch_size: Sizes = (1, 2, 2),
        in_channels: int = 4, hidden_size: int = 1152, depth: int = 28, num_heads: int = 16,
        mlp_ratio: float = 4.0, class_dropout_prob: float = 0.1, num_classes: int = 1000,
        learn_sigma: bool = True, clip: Mapping[str, Any] | None = None,
        sequence_parallel_type: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, patch_size, in_channels, hidden_size, depth, num_heads, mlp_ratio,
            class_dropout_prob, num_classes, learn_sigma, True, clip, sequence_parallel_type,
        )  # fmt: skip
        rows, columns = self.grid[1:]
        self.register_buffer("pos_embed_spatial", grid_table(rows, columns, hidden_size))
        self.register_buffer("pos_embed_temporal", line_table(self.grid[0], hidden_size))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """x (B, C, T, H, W), t (B,), y: see `condition` -> (B, out, T, H, W)."""
        c = self.condition(t, y)
        batch, frames, places = x.shape[0], self.grid[0], self.grid[1] * self.grid[2]
        x = self.x_embedder(x).reshape(batch * frames, places, -1) + self.pos_embed_spatial
        for k, block in enumerate(self.blocks):
            if k % 2 == 0:
                x = block(x, c)
                continue
            x = _turned(x, batch, frames, places)
            # Frames are told apart before the first block over them, and never again.
            x = block(x + self.pos_embed_temporal if k == 1 else x, c)
            x = _turned(x, batch, places, frames)
        x = x.reshape(batch, frames * places, -1)
        return self.joined(self.final_layer(x, c))


def _turned(x: Tensor, batch: int, first: int, second: int) -> Tensor:
    """(B * first, second, hidden) -> (B * second, first, hidden)."""
    made = x.reshape(batch, first, second, -1).transpose(1, 2)
    return made.reshape(batch * second, first, -1)
