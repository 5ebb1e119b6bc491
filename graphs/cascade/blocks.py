"""Blocks of Stable Cascade's two denoisers, parameters named as in their checkpoints.

Everything that reads a denoiser's residual stream normalises it first, but for what scales it by
the step and where a level's result joins a later one. So the stream may be kept divided by a
number: `written` has the parameters that are to be divided with it (`CascadeNet.scales`), and norms
divide their epsilon by its square. A power of two changes no digit.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-6
"""Of every norm here."""
Names = tuple[str, ...]


class Norm(nn.Module):
    """A layer norm over channels, without parameters, of a stream that is kept divided by `by`."""

    def __init__(self, by: float = 1.0) -> None:
        super().__init__()
        self._epsilon = EPSILON / by**2

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, h, w, c)."""
        rows = x.permute(0, 2, 3, 1)
        return functional.layer_norm(rows, rows.shape[-1:], eps=self._epsilon)


class NormFirst(Norm):
    """The same, channels first again."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> the same shape."""
        return super().forward(x).permute(0, 3, 1, 2)


class ResponseNorm(nn.Module):
    """Global response normalization (Woo et al. 2023, ConvNeXt V2, section 3).

    Means of squares in the place of sums: what the root of their number would be cancels, and sums
    over a whole picture leave the range of fp16.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(b, h, w, c) -> the same shape."""
        size = x.square().mean((1, 2), keepdim=True).sqrt()
        least = EPSILON / (x.shape[1] * x.shape[2]) ** 0.5
        share = size / (size.mean(-1, keepdim=True) + least)
        return x * (self.gamma * share + 1) + self.beta


def _channelwise(read: int, channels: int) -> nn.Sequential:
    """The fourth is a dropout upstream."""
    return nn.Sequential(
        nn.Linear(read, 4 * channels), nn.GELU(), ResponseNorm(4 * channels), nn.Identity(),
        nn.Linear(4 * channels, channels),
    )  # fmt: skip


class ResBlock(nn.Module):
    """A depthwise convolution, then each pixel by itself; `skip` more channels join in between.

    Args:
        by: what the residual stream is divided by.
    """

    written: ClassVar[Names] = ("depthwise.bias", "channelwise.4.weight", "channelwise.4.bias")

    def __init__(self, channels: int, skip: int, kernel: int, by: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels, channels, kernel, padding=kernel // 2, groups=channels
        )  # fmt: skip
        self.norm = Norm(by)
        self.channelwise = _channelwise(channels + skip, channels)
        self._by = by

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """x (b, c, h, w), skip (b, c_skip, h, w) -> the shape of x."""
        rows = self.norm(self.depthwise(x))
        if skip is not None:
            # Joined as large as it is: the activation behind is not linear.
            whole = skip if self._by == 1 else skip * self._by
            rows = torch.cat([rows, whole.permute(0, 2, 3, 1)], -1)
        return x + self.channelwise(rows).permute(0, 3, 1, 2)


class FeedForwardBlock(nn.Module):
    """Each pixel by itself."""

    written: ClassVar[Names] = ("channelwise.4.weight", "channelwise.4.bias")

    def __init__(self, channels: int, by: float) -> None:
        super().__init__()
        self.norm = Norm(by)
        self.channelwise = _channelwise(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> the same shape."""
        return x + self.channelwise(self.norm(x)).permute(0, 3, 1, 2)


class TimestepBlock(nn.Module):
    """Scales and moves channels by what the step is; `conditions` name further numbers like it."""

    written: ClassVar[Names] = ()

    def __init__(self, channels: int, width: int, conditions: Names, by: float) -> None:
        super().__init__()
        self.mapper = nn.Linear(width, 2 * channels)
        for name in conditions:
            setattr(self, f"mapper_{name}", nn.Linear(width, 2 * channels))
        self._mappers = ("mapper", *(f"mapper_{name}" for name in conditions))
        self._by = by

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """x (b, c, h, w), step (b, width * numbers) -> the shape of x."""
        parts = step.chunk(len(self._mappers), 1)
        made = [getattr(self, n)(part) for n, part in zip(self._mappers, parts, strict=True)]
        scale, shift = torch.stack(made).sum(0)[:, :, None, None].chunk(2, 1)
        return x * (1 + scale) + (shift if self._by == 1 else shift / self._by)


class _Projections(nn.Module):
    """The parameters of torch's `MultiheadAttention`, by its names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)


class _Attention(nn.Module):
    """Attention (Vaswani et al. 2017). Queries, keys and values are of one product: a weight of a
    third is none that a checkpoint has."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attn = _Projections(channels)
        self._heads = heads

    def forward(self, x: Tensor, others: Tensor, with_itself: bool) -> Tensor:
        """x (b, n, c), others (b, m, c) -> the shape of x."""
        count = x.shape[1]
        rows = self._rows(torch.cat([x, others], 1))
        query, key, value = rows.unbind(2)
        first = 0 if with_itself else count
        made = functional.scaled_dot_product_attention(
            query[:, :count].transpose(1, 2), key[:, first:].transpose(1, 2),
            value[:, first:].transpose(1, 2),
        )  # fmt: skip
        joined: Tensor = self.attn.out_proj(made.transpose(1, 2).reshape(x.shape))
        return joined

    def _rows(self, rows: Tensor) -> Tensor:
        """(b, n, c) -> (b, n, 3, heads, c / heads)."""
        made = functional.linear(rows, self.attn.in_proj_weight, self.attn.in_proj_bias)
        return made.reshape(*rows.shape[:2], 3, self._heads, -1)


class AttnBlock(nn.Module):
    """Pixels look at themselves (`with_itself`) and at the condition's tokens."""

    written: ClassVar[Names] = ("attention.attn.out_proj.weight", "attention.attn.out_proj.bias")

    def __init__(
        self, channels: int, condition: int, heads: int, with_itself: bool, by: float
    ) -> None:
        super().__init__()
        self.norm = Norm(by)
        self.attention = _Attention(channels, heads)
        self.kv_mapper = nn.Sequential(nn.SiLU(), nn.Linear(condition, channels))
        self._with_itself = with_itself

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """x (b, c, h, w), tokens (b, m, condition) -> the shape of x."""
        rows = self.norm(x).flatten(1, 2)
        made = self.attention(rows, self.kv_mapper(tokens), self._with_itself)
        return x + made.transpose(1, 2).reshape(x.shape)


class Resized(nn.Module):
    """A convolution of single pixels and, where `is_on`, twice or half the size before or after."""

    def __init__(self, read: int, channels: int, *, is_up: bool, is_on: bool) -> None:
        super().__init__()
        factor = (2.0 if is_up else 0.5) if is_on else None
        resize = _Resize(factor) if factor else nn.Identity()
        mapping = nn.Conv2d(read, channels, 1)
        self.blocks = nn.ModuleList([resize, mapping] if is_up else [mapping, resize])

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w)."""
        for block in self.blocks:
            x = block(x)
        return x


class _Resize(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return resized(x, [int(side * self._factor) for side in x.shape[2:]])


def resized(x: Tensor, size: list[int]) -> Tensor:
    """Bilinear, corners on corners."""
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
