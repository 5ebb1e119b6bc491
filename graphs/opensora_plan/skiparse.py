"""Attention over the tokens of a clip: Open-Sora Plan's skiparse patterns and its positions.

Source: Open-Sora Plan 1.3, `opensora/models/diffusion/opensora_v1_3/modules.py`, in our words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

_PADDED = -9980.0
"""Added to scores of keys that only fill up the last group of tokens."""
_BASE = 10000.0
Turns = tuple[Tensor, Tensor]


def turns_of(size: Sequence[int], dim: int, scales: Sequence[float]) -> Turns:
    """Cosines and signed sines of a grid of tokens, (tokens, 1, dim) each.

    A head has a third of `dim` for each axis; in a third, the first half turns with the second.

    Args:
        size: tokens along time, height and width.
        dim: of a head, a multiple of 6.
        scales: what the positions along each axis are divided by. Of axes with equally many tokens
            the first one's holds for all, as upstream's cache of tables has it.
    """
    rates = _BASE ** (-np.arange(0, dim // 3, 2) / (dim // 3))
    angles = dict[int, np.ndarray]()
    for count, scale in zip(size, scales, strict=True):
        angles.setdefault(count, np.outer(np.arange(count) / scale, rates))
    cos, sin = list[Tensor](), list[Tensor]()
    for axis, count in enumerate(size):
        along = [1, 1, 1, len(rates)]
        along[axis] = count
        for found, parts in ((cos, np.cos), (sin, np.sin)):
            # By way of lists: constants where the transformer is exported, in full precision.
            table = torch.tensor(parts(angles[count]).tolist()).view(along)
            found.append(table.expand(*size, -1).reshape(-1, 1, len(rates)))
    return (
        torch.cat([c for part in cos for c in (part, part)], -1),
        torch.cat([s for part in sin for s in (-part, part)], -1),
    )


def turned(x: Tensor, turns: Turns) -> Tensor:
    """Rotary positions (Su et al. 2021) of (batch, tokens, heads, dim)."""
    cos, sin = turns
    halves = x.reshape(-1, x.shape[2], 3, 2, x.shape[3] // 6)
    swapped = torch.cat([halves[:, :, :, 1:], halves[:, :, :, :1]], 3).reshape(x.shape)
    return x * cos + swapped * sin


class Pattern:
    """Which tokens attend to one another: `stride` sequences, each with every token of its own.

    With `group` 1, sequence j has tokens j, j + stride, ... (single skip); with `group` equal to
    `stride` it has every stride-th run of so many tokens (group skip). A stride of 1 is dense.
    """

    def __init__(self, stride: int, group: int) -> None:
        self.stride, self.group = stride, group

    def padding(self, tokens: int) -> int:
        """Tokens that fill up the last square of the stride."""
        return -tokens % self.stride**2

    def cut(self, x: Tensor, heads: int) -> Tensor:
        """(batch, tokens, width) -> (batch * stride, heads, tokens / stride, width / heads)."""
        batch, tokens, width = x.shape
        x = functional.pad(x, (0, 0, 0, self.padding(tokens)))
        if self.stride > 1:
            x = x.reshape(batch, -1, self.stride, self.group * width).transpose(1, 2)
        return x.reshape(batch * self.stride, -1, heads, width // heads).transpose(1, 2)

    def joined(self, x: Tensor, tokens: int) -> Tensor:
        """Back again, without what was filled up."""
        whole, heads, _, dim = x.shape
        x = x.transpose(1, 2).reshape(whole, -1, heads * dim)
        if self.stride > 1:
            batch = whole // self.stride
            x = x.reshape(batch, self.stride, -1, self.group * heads * dim).transpose(1, 2)
            x = x.reshape(batch, -1, heads * dim)
        return x[:, :tokens]

    def mask(self, tokens: int, batch: int) -> Tensor | None:
        """What is added to scores, (batch * stride, 1, 1, tokens / stride); None: nothing."""
        if not self.padding(tokens):
            return None
        bias = functional.pad(torch.zeros(1, tokens, 1), (0, 0, 0, self.padding(tokens)),
                              value=_PADDED)  # fmt: skip
        x = bias.reshape(1, -1, self.stride, self.group).transpose(1, 2)
        return x.reshape(self.stride, 1, 1, -1).repeat(batch, 1, 1, 1)


class Attention(nn.Module):
    """Heads side by side; names of parameters as diffusers' and upstream's.

    Args:
        width: of tokens, heads times the width of each.
        pattern: of self-attention; None: it attends to what is given.
    """

    def __init__(self, width: int, heads: int, bias: bool, pattern: Pattern | None = None) -> None:
        super().__init__()
        self._heads, self._pattern = heads, pattern
        self.to_q = nn.Linear(width, width, bias)
        self.to_k = nn.Linear(width, width, bias)
        self.to_v = nn.Linear(width, width, bias)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, turns: Turns) -> Tensor:
        """Of tokens to one another, (batch, tokens, width)."""
        pattern, heads = self._pattern, self._heads
        assert pattern is not None
        tokens = x.shape[1]
        split = (*x.shape[:2], heads, -1)
        q = turned(self.to_q(x).view(split), turns).flatten(2)
        k = turned(self.to_k(x).view(split), turns).flatten(2)
        q, k, v = (pattern.cut(y, heads) for y in (q, k, self.to_v(x)))
        made = functional.scaled_dot_product_attention(q, k, v, pattern.mask(tokens, x.shape[0]))
        return self._out(pattern.joined(made, tokens))

    def across(self, x: Tensor, text: Tensor, bias: Tensor) -> Tensor:
        """To the text, (batch, words, width); `bias` (batch, 1, 1, words) is added to scores.

        Upstream arranges tokens here too, which changes nothing: each attends to the whole text.
        """
        q, k, v = (
            y.unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for y in (self.to_q(x), self.to_k(text), self.to_v(text))
        )
        made = functional.scaled_dot_product_attention(q, k, v, bias)
        return self._out(made.transpose(1, 2).flatten(2))

    def _out(self, x: Tensor) -> Tensor:
        found: Tensor = self.to_out[0](x)
        return found
