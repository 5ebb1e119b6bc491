"""STDiT3, the denoiser of Open-Sora v1.2, at any width and depth.

Parameter names and shapes are those of `hpcai-tech/OpenSora-STDiT-v3` (973 tensors at depth 28);
the arithmetic follows `reference/systems.md` section 3.1. Every size that could vary at run time
upstream (latent grid, pixel size, frame rate, text length) is fixed when the module is built, so
the forward pass holds no data-dependent control flow and no tensor of more than five dimensions.
Latent frames that are given, not denoised, are modulated as at timestep 0 (upstream's `x_mask`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from entracte.graphs.opensora.embed import (
    MLP,
    CaptionEmbedder,
    PatchEmbedder,
    ScalarEmbedder,
    STDiT3Config,
    position_table,
)
from entracte.graphs.opensora.merge import merge_frames, merged_count, unmerge_frames

NORM_EPS = 1e-6


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without parameters, scaled and shifted.

    x [B, T*S, C]; shift and scale [B, 1, C], or [B*T, 1, C] where frames differ -> as x.
    """
    h = _rows(F.layer_norm(x, x.shape[-1:], eps=NORM_EPS), shift)
    return (h * (1 + scale) + shift).reshape(x.shape)


def gated(gate: Tensor, x: Tensor) -> Tensor:
    """x [B, T*S, C] times gate [B, 1, C], or [B*T, 1, C] where frames differ -> as x."""
    return (gate * _rows(x, gate)).reshape(x.shape)


def _rows(x: Tensor, vectors: Tensor) -> Tensor:
    """x [B, T*S, C] with a row for each of the vectors: [B*T, S, C] where frames differ."""
    return x.reshape(vectors.shape[0], -1, x.shape[-1])


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> the same."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + NORM_EPS) * self.weight


class RotaryFrequencies(nn.Module):
    """Holder of the stored `rope.freqs`; rotates neighbouring channel pairs by time."""

    places: Tensor

    def __init__(self, head: int, frames: int) -> None:
        super().__init__()
        freqs = 10000.0 ** (-2.0 * torch.arange(head // 2) / head)
        self.freqs = nn.Parameter(freqs, requires_grad=False)
        places = torch.from_numpy(np.arange(frames, dtype=np.float32)[:, None])
        self.register_buffer("places", places, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, heads, n, head], n up to `frames` -> the same, rotated by places 0 to n - 1."""
        shorter = x.shape[2] < self.places.shape[0]
        places = self.places[: x.shape[2]] if shorter else self.places
        angle = places * self.freqs
        cos, sin = angle.cos(), angle.sin()
        even, odd = x[..., 0::2], x[..., 1::2]
        pairs = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1)
        return pairs.reshape(x.shape)


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, N, heads * D] -> [B, heads, N, D]."""
    b, n, c = x.shape
    return x.reshape(b, n, heads, c // heads).transpose(1, 2)


class SelfAttention(nn.Module):
    """Self-attention with RMS-normalised queries and keys (`norm`), and optional rotation."""

    def __init__(self, hidden: int, heads: int, norm: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.q_norm = RMSNorm(hidden // heads) if norm else nn.Identity()
        self.k_norm = RMSNorm(hidden // heads) if norm else nn.Identity()
        self.proj = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor, rope: RotaryFrequencies | None = None) -> Tensor:
        """x [B, N, C] -> [B, N, C]."""
        q, k, v = (_split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rope(q), rope(k)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(x.shape))


class CrossAttention(nn.Module):
    """Attention from video tokens to text tokens."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear = nn.Linear(hidden, hidden)
        self.kv_linear = nn.Linear(hidden, 2 * hidden)
        self.proj = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor, y: Tensor, mask_bias: Tensor) -> Tensor:
        """x [B, N, C], y [B, L, C], mask_bias [1 or B, 1, 1, L] additive -> [B, N, C]."""
        q = _split_heads(self.q_linear(x), self.heads)
        k, v = (_split_heads(part, self.heads) for part in self.kv_linear(y).chunk(2, dim=-1))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_bias)
        return self.proj(out.transpose(1, 2).reshape(x.shape))


class STDiT3Block(nn.Module):
    """Modulated self-attention along space or time, cross-attention, modulated MLP.

    With `merged`, both attentions run on averaged pairs of frames (`graphs/opensora/merge.py`);
    modulation, gates, residuals and the MLP keep all frames. Self-attention merges its normalised
    and modulated input, cross-attention the residual stream, as published.
    """

    def __init__(self, cfg: STDiT3Config, temporal: bool, merged: bool = False) -> None:
        super().__init__()
        self.temporal, self.merged = temporal, merged
        self.scale_shift_table = nn.Parameter(torch.randn(6, cfg.hidden) / cfg.hidden**0.5)
        self.attn = SelfAttention(cfg.hidden, cfg.heads, cfg.qk_norm)
        self.cross_attn = CrossAttention(cfg.hidden, cfg.heads)
        self.mlp = MLP(cfg.hidden, int(cfg.hidden * cfg.mlp_ratio), cfg.hidden)
        self.frames, self.tokens = cfg.grid[0], cfg.grid[1] * cfg.grid[2]

    def forward(
        self, x: Tensor, y: Tensor, t_mlp: Tensor, mask_bias: Tensor, rope: RotaryFrequencies
    ) -> Tensor:
        """x [B, T*S, C], y [B, L, C], t_mlp [B, 6, C], or [B*T, 6, C] -> [B, T*S, C]."""
        table = self.scale_shift_table + t_mlp
        shift1, scale1, gate1, shift2, scale2, gate2 = table.chunk(6, dim=1)
        h = self._merge(modulate(x, shift1, scale1))
        x = x + gated(gate1, self._unmerge(self._attend(h, rope)))
        x = x + self._unmerge(self.cross_attn(self._merge(x), y, mask_bias))
        return x + gated(gate2, self.mlp(modulate(x, shift2, scale2)))

    def _merge(self, x: Tensor) -> Tensor:
        return merge_frames(x, self.frames) if self.merged else x

    def _unmerge(self, x: Tensor) -> Tensor:
        return unmerge_frames(x, self.frames) if self.merged else x

    def _attend(self, x: Tensor, rope: RotaryFrequencies) -> Tensor:
        """Self-attention over each frame's tokens, or over each place's frames."""
        b, n, c = x.shape
        frames = merged_count(self.frames) if self.merged else self.frames
        if not self.temporal:
            return self.attn(x.reshape(b * frames, self.tokens, c)).reshape(b, n, c)
        x = x.reshape(b, frames, self.tokens, c).transpose(1, 2)
        x = self.attn(x.reshape(b * self.tokens, frames, c), rope)
        x = x.reshape(b, self.tokens, frames, c).transpose(1, 2)
        return x.reshape(b, n, c)


class FinalLayer(nn.Module):
    """Modulated norm and projection back to patches."""

    def __init__(self, cfg: STDiT3Config) -> None:
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.randn(2, cfg.hidden) / cfg.hidden**0.5)
        self.linear = nn.Linear(cfg.hidden, math.prod(cfg.patch) * cfg.out_channels)

    def forward(
        self, x: Tensor, t: Tensor, t0: Tensor | None = None, moves: Tensor | None = None
    ) -> Tensor:
        """x [B, N, hidden], t [B, hidden], t0 [1, hidden], moves [B*T, 1, 1] of 0 and 1 -> [B, N,
        patch * out channels]. Frames that do not move (see `STDiT3`) are modulated with t and, as
        upstream does, the result once more with t0."""
        x = self._modulated(x, t)
        if moves is not None and t0 is not None:
            still = self._modulated(x, t0)
            rows = torch.where(moves > 0.5, _rows(x, moves), _rows(still, moves))
            x = rows.reshape(x.shape)
        return self.linear(x)

    def _modulated(self, x: Tensor, t: Tensor) -> Tensor:
        shift, scale = (self.scale_shift_table + t[:, None]).chunk(2, dim=1)
        return modulate(x, shift, scale)


def _blocks(cfg: STDiT3Config, temporal: bool, merged: bool) -> nn.ModuleList:
    return nn.ModuleList(STDiT3Block(cfg, temporal, merged) for _ in range(cfg.depth))


class STDiT3(nn.Module):
    """The denoiser. Predicts velocity (and unused variances) for latents at a timestep.

    `merged` makes the variant whose attentions run on averaged pairs of frames: the same
    parameters, inputs and outputs.
    """

    positions: Tensor
    fps: Tensor
    still: Tensor

    def __init__(self, cfg: STDiT3Config, merged: bool = False) -> None:
        super().__init__()
        self.cfg = cfg
        self.rope = RotaryFrequencies(cfg.hidden // cfg.heads, cfg.grid[0])
        self.x_embedder = PatchEmbedder(cfg)
        self.t_embedder = ScalarEmbedder(cfg.hidden)
        self.fps_embedder = ScalarEmbedder(cfg.hidden)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(cfg.hidden, 6 * cfg.hidden))
        self.y_embedder = CaptionEmbedder(cfg)
        self.spatial_blocks = _blocks(cfg, False, merged)
        self.temporal_blocks = _blocks(cfg, True, merged)
        self.final_layer = FinalLayer(cfg)
        self.register_buffer("positions", position_table(cfg), persistent=False)
        fps = torch.from_numpy(np.array([cfg.fps], dtype=np.float32))
        self.register_buffer("fps", fps, persistent=False)
        still = torch.from_numpy(np.zeros(1, dtype=np.float32))
        self.register_buffer("still", still, persistent=False)

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        y: Tensor,
        mask_bias: Tensor,
        x_mask: Tensor | None = None,
    ) -> Tensor:
        """One evaluation.

        Args:
            x: latents [B, in_channels, T, H, W].
            timestep: [B], 1000 for noise, 0 for data.
            y: text features [B, L, caption_channels].
            mask_bias: 0 where a text token counts and a large negative number where it does
                not, [1 or B, 1, 1, L].
            x_mask: of the frames of tokens, [B, T]: 1 where one is denoised, 0 where it is given
                and is read as at timestep 0; None where all are denoised.

        Returns:
            [B, out_channels, T, H, W]; the first `in_channels` are the velocity.
        """
        fps = self.fps_embedder(self.fps)
        t = self.t_embedder(timestep) + fps
        t_mlp = self.t_block(t).reshape(-1, 6, self.cfg.hidden)
        t0, moves = None, None
        if x_mask is not None:
            t0, moves = self.t_embedder(self.still) + fps, x_mask.reshape(-1, 1, 1)
            t_mlp = self._of_frames(t_mlp, t0, moves)
        y = self.y_embedder(y)
        x = self._add_positions(self.x_embedder(x))
        for spatial, temporal in zip(self.spatial_blocks, self.temporal_blocks, strict=True):
            x = spatial(x, y, t_mlp, mask_bias, self.rope)
            x = temporal(x, y, t_mlp, mask_bias, self.rope)
        return self._unpatchify(self.final_layer(x, t, t0, moves))

    def _of_frames(self, t_mlp: Tensor, t0: Tensor, moves: Tensor) -> Tensor:
        """t_mlp [B, 6, C] where a frame moves, else what t0 gives: [B*T, 6, C]."""
        frames = moves.shape[0] // t_mlp.shape[0]
        still = self.t_block(t0).reshape(1, 6, self.cfg.hidden)
        # No truth values: none can be handed from package to package, and the last layer reads
        # `moves` too, so that blocks could not be cut apart.
        return t_mlp.repeat_interleave(frames, dim=0) * moves + still * (1 - moves)

    def _add_positions(self, x: Tensor) -> Tensor:
        """Add the same place table to every frame; x [B, T*S, hidden]."""
        b, n, c = x.shape
        frames = self.cfg.grid[0]
        return (x.reshape(b * frames, n // frames, c) + self.positions).reshape(b, n, c)

    def _unpatchify(self, x: Tensor) -> Tensor:
        """[B, T*S, (pt, ph, pw, out)] -> [B, out, T, H, W], channel fastest, padding cropped."""
        (pt, ph, pw), (t, h, w) = self.cfg.patch, self.cfg.grid
        b, out = x.shape[0], self.cfg.out_channels
        if pt > 1:
            # Its frames one after the other: then a token is a patch of one frame.
            x = x.reshape(b * t, h * w, pt, ph * pw * out).transpose(1, 2)
        x = x.reshape(b * t * pt, h, w, ph, pw * out).permute(0, 1, 3, 2, 4)
        x = x.reshape(b, t * pt, h * ph, w * pw, out).permute(0, 4, 1, 2, 3)
        frames, rows, columns = self.cfg.latent
        x = x if frames == t * pt else x[:, :, :frames]
        return x[:, :, :, :rows, :columns]
