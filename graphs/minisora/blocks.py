"""Blocks of the DiT family (Peebles and Xie 2022): attention and an MLP, shifted, scaled and gated
by what the time and the class, or text, say. Names as published."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (B, N, hidden); shift, scale (B, hidden)."""
    return x * (1 + scale[:, None]) + shift[:, None]


class Attention(nn.Module):
    """Self-attention; `by_head`: rows of `qkv` are ordered (heads, 3, width) and not (3, heads,
    width), as OpenDiT's `longseq` sequence parallelism leaves them."""

    def __init__(self, hidden: int, heads: int, *, by_head: bool = False) -> None:
        super().__init__()
        self.heads, self.by_head = heads, by_head
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.proj = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, hidden) -> the same."""
        batch, tokens, hidden = x.shape
        parts = (self.heads, 3) if self.by_head else (3, self.heads)
        made = self.qkv(x).reshape(batch, tokens, *parts, hidden // self.heads)
        q, k, v = (part.transpose(1, 2) for part in made.unbind(3 if self.by_head else 2))
        seen = F.scaled_dot_product_attention(q, k, v)
        return self.proj(seen.transpose(1, 2).reshape(batch, tokens, hidden))


class MLP(nn.Module):
    """Linear, GELU (tanh form), linear."""

    def __init__(self, hidden: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden, int(hidden * ratio))
        self.fc2 = nn.Linear(int(hidden * ratio), hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(..., hidden) -> the same."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def _norm(hidden: int) -> nn.Module:
    return nn.LayerNorm(hidden, eps=1e-6, elementwise_affine=False)


def _repeated(told: Tensor, count: int) -> Tensor:
    """(B, numbers) -> (count, numbers), each as often as the others; a single one suits all."""
    if told.shape[0] in (1, count):
        return told
    made = told[:, None].expand(-1, count // told.shape[0], -1)
    return made.reshape(count, told.shape[1])


class Block(nn.Module):
    """A block with adaLN-zero."""

    def __init__(self, hidden: int, heads: int, ratio: float, *, by_head: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(hidden), _norm(hidden)
        self.attn = Attention(hidden, heads, by_head=by_head)
        self.mlp = MLP(hidden, ratio)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 6 * hidden))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x (B, N, hidden), or k times as many, one after the other for each of c, (B, hidden) ->
        like x."""
        told = _repeated(self.adaLN_modulation(c), x.shape[0])
        shift, scale, gate, shift_2, scale_2, gate_2 = told.chunk(6, dim=1)
        x = x + gate[:, None] * self.attn(modulated(self.norm1(x), shift, scale))
        return x + gate_2[:, None] * self.mlp(modulated(self.norm2(x), shift_2, scale_2))


class FinalLayer(nn.Module):
    """Tokens -> the numbers of their patches."""

    def __init__(self, hidden: int, numbers: int) -> None:
        super().__init__()
        self.norm_final = _norm(hidden)
        self.linear = nn.Linear(hidden, numbers)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 2 * hidden))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x (B, N, hidden), c (B, hidden) -> (B, N, numbers)."""
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=1)
        return self.linear(modulated(self.norm_final(x), shift, scale))
