"""DiT of facebookresearch/DiT and OpenDiT, for images and videos, and SiT of willisma/SiT: one
transformer, one set of parameters' names.

Positions are tables that upstream's checkpoints hold; what is made here (sines of rows, columns and
frames) stands where a file has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from entracte.graphs.checks import GraphFault
from entracte.graphs.minisora.blocks import Block, FinalLayer
from entracte.graphs.minisora.embed import (
    LabelEmbedder,
    PatchEmbedder,
    TextEmbedder,
    TimestepEmbedder,
    grid_table,
    line_table,
    patches_of,
)

Sizes = int | Sequence[int]


def sizes_of(name: str, given: Sizes, axes: int) -> tuple[int, ...]:
    """A number for each axis; one number is a square's. Raises `GraphFault`."""
    found = (given,) * axes if isinstance(given, int) and axes == 2 else given
    if isinstance(found, int) or len(found) != axes:
        raise GraphFault(
            f"{name}: {given!r}: give {axes} numbers, "
            + ("frames, rows, columns" if axes == 3 else "or one for rows and columns alike")
        )
    return tuple(int(size) for size in found)


class Transformer(nn.Module):
    """What DiT, SiT, VDiT and OpenDiT's Latte share.

    Args:
        input_size: latent rows and columns (one number: both), of a video frames before them.
        patch_size: of a token, likewise.
        in_channels: of latents; with `learn_sigma` there come out twice as many, the second half
            of variances.
        hidden_size, depth, num_heads, mlp_ratio: width, blocks, heads, expansion of the MLP.
        class_dropout_prob: above 0, there is a row for no class behind the others.
        num_classes: of images.
        use_video: of texts, not of classes.
        clip: configuration of CLIP's text model, of a video.
        sequence_parallel_type: `longseq` for checkpoints whose rows of `qkv` are (heads, 3, width).
    """

    unused: tuple[str, ...] = (
        "text_encoder", "enable_flashattn", "enable_layernorm_kernel", "enable_modulate_kernel",
        "sequence_parallel_size", "sequence_parallel_group", "attention_mode", "dtype",
    )  # fmt: skip

    def __init__(
        self, input_size: Sizes, patch_size: Sizes, in_channels: int, hidden_size: int, depth: int,
        num_heads: int, mlp_ratio: float, class_dropout_prob: float, num_classes: int,
        learn_sigma: bool, use_video: bool, clip: Mapping[str, Any] | None,
        sequence_parallel_type: str | None,
    ) -> None:  # fmt: skip
        super().__init__()
        axes = 3 if use_video else 2
        self.patch = sizes_of("patch_size", patch_size, axes)
        self.grid = patches_of(sizes_of("input_size", input_size, axes), self.patch)
        self.in_channels = in_channels
        self.out_channels = in_channels * (2 if learn_sigma else 1)
        if hidden_size % num_heads:
            raise GraphFault(f"hidden_size: {hidden_size} is no multiple of {num_heads} heads")
        if sequence_parallel_type not in (None, "longseq", "ulysses", "fastseq"):
            raise GraphFault(
                f"sequence_parallel_type: {sequence_parallel_type!r}: give longseq where rows of "
                "qkv are ordered by head, else nothing"
            )
        by_head = sequence_parallel_type == "longseq"
        self.x_embedder = PatchEmbedder(in_channels, hidden_size, self.patch)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = (
            TextEmbedder(clip or {}, hidden_size) if use_video
            else LabelEmbedder(num_classes, hidden_size, class_dropout_prob)
        )  # fmt: skip
        self.blocks = nn.ModuleList(
            Block(hidden_size, num_heads, mlp_ratio, by_head=by_head) for _ in range(depth)
        )
        numbers = self.out_channels
        for size in self.patch:
            numbers *= size
        self.final_layer = FinalLayer(hidden_size, numbers)

    def condition(self, t: Tensor, y: Tensor) -> Tensor:
        """What blocks are told, (B, hidden). y: classes (B,), ids of a text (B, L), or, where it is
        no whole numbers, what `y_embedder` made of them, (B, hidden)."""
        embedded = y if y.is_floating_point() else self.y_embedder(y)
        return self.t_embedder(t) + embedded

    def joined(self, x: Tensor) -> Tensor:
        """Patches (B, N, numbers) -> latents (B, out, ..., H, W); channels are innermost in a
        patch."""
        batch = x.shape[0]
        if len(self.grid) == 2:
            (rows, columns), (high, wide) = self.grid, self.patch
            x = x.reshape(batch, rows, columns, high * wide, self.out_channels)
            x = x.permute(0, 4, 1, 2, 3).reshape(-1, rows, columns, high, wide)
            return x.transpose(2, 3).reshape(batch, self.out_channels, rows * high, columns * wide)
        (frames, rows, columns), (deep, high, wide) = self.grid, self.patch
        x = x.reshape(batch, frames * rows * columns, deep * high * wide, self.out_channels)
        x = x.permute(0, 3, 1, 2).reshape(-1, rows, columns, deep, high * wide)
        # Rank 5 at most, which is what packages take: frames first, then rows and columns.
        x = x.permute(0, 3, 1, 2, 4).reshape(-1, rows, columns, high, wide)
        x = x.transpose(2, 3)
        return x.reshape(batch, self.out_channels, frames * deep, rows * high, columns * wide)


class DiT(Transformer):
    """DiT-XL/2 of 256 x 256 by its defaults; with `use_video` OpenDiT's VDiT."""

    pos_embed: Tensor
    pos_embed_spatial: Tensor
    pos_embed_temporal: Tensor

    def __init__(
        self, input_size: Sizes = 32, patch_size: Sizes = 2, in_channels: int = 4,
        hidden_size: int = 1152, depth: int = 28, num_heads: int = 16, mlp_ratio: float = 4.0,
        class_dropout_prob: float = 0.1, num_classes: int = 1000, learn_sigma: bool = True,
        use_video: bool = False, clip: Mapping[str, Any] | None = None,
        sequence_parallel_type: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, patch_size, in_channels, hidden_size, depth, num_heads, mlp_ratio,
            class_dropout_prob, num_classes, learn_sigma, use_video, clip, sequence_parallel_type,
        )  # fmt: skip
        rows, columns = self.grid[-2:]
        if not use_video:
            self.register_buffer("pos_embed", grid_table(rows, columns, hidden_size))
            return
        self.register_buffer("pos_embed_spatial", grid_table(rows, columns, hidden_size))
        self.register_buffer("pos_embed_temporal", line_table(self.grid[0], hidden_size))

    def placed(self, x: Tensor) -> Tensor:
        """Tokens (B, N, hidden) with their places added."""
        if len(self.grid) == 2:
            return x + self.pos_embed
        frames, places = self.grid[0], self.grid[1] * self.grid[2]
        x = x.reshape(x.shape[0], frames, places, -1)
        x = x + self.pos_embed_spatial[:, None] + self.pos_embed_temporal[:, :, None]
        return x.reshape(x.shape[0], frames * places, -1)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """x (B, C, H, W), of a video (B, C, T, H, W); t (B,), from 0 to 999; y: see `condition`
        -> (B, out, ..., H, W): the noise, then of what range of variances."""
        c = self.condition(t, y)
        x = self.placed(self.x_embedder(x))
        for block in self.blocks:
            x = block(x, c)
        return self.joined(self.final_layer(x, c))


class VDiT(DiT):
    """OpenDiT's VDiT-XL/1x2x2 of 16 x 256 x 256 by its defaults: attention over all of a clip."""

    def __init__(
        self, input_size: Sizes = (16, 32, 32), patch_size: Sizes = (1, 2, 2),
        use_video: bool = True, clip: Mapping[str, Any] | None = None,
        sequence_parallel_type: str | None = None, **others: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, patch_size, use_video=use_video, clip=clip,
            sequence_parallel_type=sequence_parallel_type, **others,
        )  # fmt: skip


class SiT(DiT):
    """SiT-XL/2: DiT's parameters; times from 0, noise, to 1, and a velocity comes out."""

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """x (B, C, H, W), t (B,), y: see `condition` -> like x."""
        return super().forward(x, t, y)[:, : self.in_channels]
