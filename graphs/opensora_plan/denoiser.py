"""Open-Sora Plan 1.3's transformers: `OpenSoraT2V_v1_3`, and `OpenSoraInpaint_v1_3`, which also
reads the frames that are given.

Source: Open-Sora Plan 1.3, `opensora/models/diffusion/opensora_v1_3/modeling_opensora.py` and
`modeling_inpaint.py`, in our words; parameters have upstream's names.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.embeddings import PixArtAlphaTextProjection
from diffusers.models.normalization import AdaLayerNormSingle
from torch import Tensor, nn

from entracte.graphs.checks import GraphFault
from entracte.graphs.opensora_plan.skiparse import Attention, Pattern, Turns, turns_of

_MASKED = -10000.0
_SPARSE = range(2, 30)
"""Blocks that are skiparse, however many there are."""


class PatchEmbed(nn.Module):
    """Patches of each frame, (batch, channels, frames, rows, columns) -> (batch, tokens, width)."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens in the order of frames, rows, columns."""
        batch = x.shape[0]
        tokens: Tensor = self.proj(x.transpose(1, 2).flatten(0, 1)).flatten(2).transpose(1, 2)
        return tokens.reshape(batch, -1, tokens.shape[-1])


class Block(nn.Module):
    """Attention to one another, to the text, and a feed-forward; modulated by the time."""

    def __init__(
        self, width: int, heads: int, pattern: Pattern, *, bias: bool, activation: str, eps: float,
        affine: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps, affine)
        self.attn1 = Attention(width, heads, bias, pattern)
        self.norm2 = nn.LayerNorm(width, eps, affine)
        self.attn2 = Attention(width, heads, bias)
        self.ff = FeedForward(width, activation_fn=activation)
        self.scale_shift_table = nn.Parameter(torch.randn(6, width) / width**0.5)

    def forward(self, x: Tensor, time: Tensor, turns: Turns, text: Tensor, bias: Tensor) -> Tensor:
        """x (batch, tokens, width), time (batch, 6, width), text (batch, words, width)."""
        # As it is: a weight that is reshaped first would make every block a program of its own.
        parts = (self.scale_shift_table + time).chunk(6, 1)
        shift, scale, gate, shift_ff, scale_ff, gate_ff = parts
        x = gate * self.attn1(self.norm1(x) * (1 + scale) + shift, turns) + x
        x = self.attn2.across(x, text, bias) + x
        made: Tensor = gate_ff * self.ff(self.norm2(x) * (1 + scale_ff) + shift_ff) + x
        return made


class OpenSoraT2V_v1_3(nn.Module):  # noqa: N801 - upstream's name
    """The transformer of text to video; arguments are upstream's keys.

    Raises `GraphFault` for what upstream itself cannot compute.

    Args:
        sparse1d: whether blocks 2 to 29 are skiparse, single skip and group skip in turn.
        sparse_n: into how many sequences they cut the tokens.
        interpolation_scale_t, interpolation_scale_h, interpolation_scale_w: what positions along
            an axis are divided by.
    """

    unused = ("dropout", "sample_size", "sample_size_t", "sample_size_h", "sample_size_w",
              "only_cross_attention", "double_self_attention", "upcast_attention")  # fmt: skip

    def __init__(
        self,
        num_attention_heads: int = 24,
        attention_head_dim: int = 96,
        in_channels: int = 8,
        out_channels: int | None = None,
        num_layers: int = 32,
        cross_attention_dim: int | None = 2304,
        attention_bias: bool = True,
        patch_size: int = 2,
        patch_size_t: int = 1,
        activation_fn: str = "gelu-approximate",
        norm_elementwise_affine: bool = False,
        norm_eps: float = 1e-6,
        caption_channels: int = 4096,
        interpolation_scale_h: float = 1.0,
        interpolation_scale_w: float = 1.0,
        interpolation_scale_t: float = 1.0,
        sparse1d: bool = True,
        sparse_n: int = 4,
    ) -> None:
        super().__init__()
        width = num_attention_heads * attention_head_dim
        _check(width, attention_head_dim, cross_attention_dim, patch_size_t, sparse_n)
        self._patch, self._dim, self._width = patch_size, attention_head_dim, width
        self._scales = (interpolation_scale_t, interpolation_scale_h, interpolation_scale_w)
        self._out_channels = out_channels or in_channels
        self.pos_embed = PatchEmbed(in_channels, width, patch_size)
        self.transformer_blocks = nn.ModuleList(
            Block(
                width, num_attention_heads, _pattern(i, sparse_n if sparse1d else 1),
                bias=attention_bias, activation=activation_fn, eps=norm_eps,
                affine=norm_elementwise_affine,
            )
            for i in range(num_layers)
        )  # fmt: skip
        self.norm_out = nn.LayerNorm(width, 1e-6, elementwise_affine=False)
        self.scale_shift_table = nn.Parameter(torch.randn(2, width) / width**0.5)
        self.proj_out = nn.Linear(width, patch_size**2 * self._out_channels)
        self.adaln_single = AdaLayerNormSingle(width)
        self.caption_projection = PixArtAlphaTextProjection(caption_channels, width)

    def forward(
        self, z: Tensor, time: Tensor, states: Tensor, mask: Tensor, seen: Tensor | None = None
    ) -> Tensor:
        """The velocity, (batch, out_channels, frames, rows, columns).

        Args:
            z: latents, (batch, in_channels, frames, rows, columns).
            time: (batch,), from 0 to 1000.
            states: of the text encoder, (batch, words, caption_channels).
            mask: (batch, words), 1 where there is a word.
            seen: what is added to the tokens of `z`, (batch, tokens, width).
        """
        x = self.pos_embed(z)
        x = x if seen is None else x + seen
        size = (z.shape[2], z.shape[3] // self._patch, z.shape[4] // self._patch)
        parts, embedded = self.adaln_single(
            time, {"resolution": None, "aspect_ratio": None}, batch_size=len(z),
            hidden_dtype=z.dtype,
        )  # fmt: skip
        text = self.caption_projection(states)
        bias = ((1 - mask) * _MASKED)[:, None, None]
        turns, parts = turns_of(size, self._dim, self._scales), parts.unflatten(-1, (6, -1))
        for block in self.transformer_blocks:
            x = block(x, parts, turns, text, bias)
        shift, scale = (self.scale_shift_table + embedded[:, None]).chunk(2, 1)
        x = self.proj_out(self.norm_out(x) * (1 + scale) + shift)
        return self._unpatched(x, size)

    def _unpatched(self, x: Tensor, size: tuple[int, int, int]) -> Tensor:
        """A token has (rows, columns, channels) of its patch, channels fastest."""
        frames, rows, columns = size
        patch, many = self._patch, self._out_channels
        x = x.reshape(-1, rows, columns, patch, patch * many)
        x = x.transpose(2, 3).reshape(len(x), rows * patch, columns * patch, many)
        return x.reshape(-1, frames, *x.shape[1:]).permute(0, 4, 1, 2, 3)


class OpenSoraInpaint_v1_3(OpenSoraT2V_v1_3):  # noqa: N801 - upstream's name
    """As `OpenSoraT2V_v1_3`, with frames that are given: their latents and where they are."""

    def __init__(
        self, num_attention_heads: int = 24, attention_head_dim: int = 96, in_channels: int = 8,
        patch_size: int = 2, vae_scale_factor_t: int = 4, **keys: Any,
    ) -> None:  # fmt: skip
        keys |= {"in_channels": in_channels, "patch_size": patch_size}
        super().__init__(num_attention_heads, attention_head_dim, **keys)
        self.pos_embed_masked_hidden_states = self._embedding(in_channels)
        self.pos_embed_mask = self._embedding(vae_scale_factor_t)

    def _embedding(self, channels: int) -> nn.ModuleList:
        width = self._width
        return nn.ModuleList(
            [PatchEmbed(channels, width, self._patch), nn.Linear(width, width, bias=False)]
        )

    def see(self, latents: Tensor, mask: Tensor) -> Tensor:
        """What the tokens of every step get, (batch, tokens, width).

        Args:
            latents: of the given frames, (batch, in_channels, frames, rows, columns).
            mask: (batch, vae_scale_factor_t, frames, rows, columns), 0 where a frame is given.
        """
        patches, linear = self.pos_embed_masked_hidden_states
        of_mask, linear_of_mask = self.pos_embed_mask
        made: Tensor = linear(patches(latents)) + linear_of_mask(of_mask(mask))
        return made


def _pattern(block: int, stride: int) -> Pattern:
    if block not in _SPARSE:
        return Pattern(1, 1)
    return Pattern(stride, stride if block % 2 else 1)


def _check(width: int, dim: int, cross: int | None, patch_t: int, stride: int) -> None:
    faults = {
        f"attention_head_dim: {dim}: positions need a multiple of 6": dim % 6 > 0,
        f"cross_attention_dim: {cross}: the text is {width} wide where blocks read it; give "
        f"{width}": cross not in (None, width),
        f"patch_size_t: {patch_t}: patches are of one frame; give 1": patch_t != 1,
        f"sparse_n: {stride}: give 1 or more": stride < 1,
    }
    for fault, is_there in faults.items():
        if is_there:
            raise GraphFault(f"OpenSoraT2V_v1_3: {fault}")
