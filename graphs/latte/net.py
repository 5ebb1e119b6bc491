"""Latte of Vchitect (`models/latte.py`; Ma et al. 2024): DiT's blocks by turns over the places of a
frame and over the frames of a place. Its text-to-video form is diffusers' LatteTransformer3DModel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entracte.graphs.checks import GraphFault
from entracte.graphs.minisora.dit import Sizes, Transformer
from entracte.graphs.minisora.embed import grid_table, line_table

ALONE, CLASS, TEXT = 1, 2, 78
"""`extras`: what a clip is of beside the time: nothing, a class, CLIP's features of a text."""
_TEXT = 77 * 768
GUIDED = 4
"""Channels that guidance reaches: upstream says this number."""


class Latte(Transformer):
    """Latte-XL/2 of 16 x 256 x 256 by its defaults, as upstream's without a condition."""

    pos_embed: Tensor
    temp_embed: Tensor

    def __init__(
        self, input_size: Sizes = 32, patch_size: Sizes = 2, in_channels: int = 4,
        hidden_size: int = 1152, depth: int = 28, num_heads: int = 16, mlp_ratio: float = 4.0,
        num_frames: int = 16, class_dropout_prob: float = 0.1, num_classes: int = 1000,
        learn_sigma: bool = True, extras: int = ALONE,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, patch_size, in_channels, hidden_size, depth, num_heads, mlp_ratio,
            class_dropout_prob, num_classes, learn_sigma, False, None, None,
        )  # fmt: skip
        if extras not in (ALONE, CLASS, TEXT):
            raise GraphFault(
                f"extras: {extras} is neither {ALONE} (no condition), {CLASS} (classes) nor {TEXT} "
                "(texts)"
            )
        if depth % 2:
            raise GraphFault(f"depth: {depth}: blocks come in pairs; give {depth + 1}")
        self.extras, self.frames = extras, num_frames
        if extras != CLASS:
            del self.y_embedder
        if extras == TEXT:
            self.text_embedding_projection = nn.Sequential(nn.SiLU(), nn.Linear(_TEXT, hidden_size))
        rows, columns = self.grid
        # Upstream's checkpoints hold both; these stand where a file has none.
        self.register_buffer("pos_embed", grid_table(rows, columns, hidden_size))
        self.register_buffer("temp_embed", line_table(num_frames, hidden_size))

    def told(self, y: Tensor) -> Tensor:
        """Classes (B,), or features of texts (B, 77, 768) -> (B, hidden)."""
        made: Tensor
        if self.extras == CLASS:
            made = self.y_embedder(y)
        else:
            made = self.text_embedding_projection(y.flatten(1))
        return made

    def predict(self, x: Tensor, t: Tensor, embedded: Tensor | None = None) -> Tensor:
        """x (B, F, C, H, W), t (B,), `told` -> (B, F, out, H, W): noise, then of what range of
        variances."""
        batch, frames, channels = x.shape[:3]
        c = self.t_embedder(t) if embedded is None else self.t_embedder(t) + embedded
        x = x.reshape(batch * frames, channels, *x.shape[3:])
        x = self.x_embedder(x) + self.pos_embed
        for k, block in enumerate(self.blocks):
            if k % 2 == 0:
                x = block(x, c)
                continue
            x = _turned(x, batch)
            # Frames are told apart before the first block over them, and never again.
            x = _turned(block(x + self.temp_embed if k == 1 else x, c), batch)
        of_frames = c[:, None].expand(-1, frames, -1).reshape(batch * frames, -1)
        made = self.joined(self.final_layer(x, of_frames))
        return made.reshape(batch, frames, *made.shape[1:])

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """As `predict`; y: see `told`, nothing where there is no condition."""
        return self.predict(x, t, None if y is None else self.told(y))


def _turned(x: Tensor, batch: int) -> Tensor:
    """(B * first, second, hidden) -> (B * second, first, hidden)."""
    rows, second, hidden = x.shape
    made = x.reshape(batch, rows // batch, second, hidden).transpose(1, 2)
    return made.reshape(batch * second, rows // batch, hidden)


def guided_latents(both: Tensor, guidance: Tensor) -> Tensor:
    """Classifier-free guidance of [without, with], (2, F, C, H, W) -> (1, F, C, H, W): of all
    channels of latents, not of the first three as DiT has it."""
    without, given = both.chunk(2)
    noise, others = without[:, :, :GUIDED], given[:, :, GUIDED:]
    return torch.cat([noise + guidance * (given[:, :, :GUIDED] - noise), others], 2)
