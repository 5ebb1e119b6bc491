"""What published models compute with six to eight dimensions, and tables made in `forward`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Case = tuple[Callable[..., Any], tuple[Tensor, ...]]

torch.manual_seed(0)
X, LINE = torch.randn(1, 8, 2, 3, 4), torch.randn(1, 8)
WIDE = torch.randn(1, 8, 2, 4, 6)
WEIGHT, TABLE = torch.randn(5, 4), torch.randn(1, 2, 4, 1, 3, 4)
ANGLES = torch.polar(torch.ones(3, 2), torch.rand(3, 2))


def six(x: Tensor) -> Tensor:
    return x.reshape(1, 2, 4, 2, 3, 4)


def frames_between(x: Tensor) -> Tensor:
    """WanVAE's upsampling in time."""
    x = six(x)
    return torch.stack((x[:, 0], x[:, 1]), 3).reshape(1, 4, 4, 3, 4) * 2


def shuffled(x: Tensor) -> Tensor:
    """LTX's pixels in three dimensions."""
    x = (x.reshape(1, -1, 2, 2, 2, 2, 3, 4) * 2).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return F.silu(x.flatten(6, 7).flatten(4, 5).flatten(2, 3)[:, :, 1:])


def unshuffled(x: Tensor) -> Tensor:
    x = F.silu(x.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).unflatten(2, (-1, 2)))
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4).unflatten(1, (-1, 4)).mean(2)


RANKS: dict[str, Case] = {
    "frames between": (frames_between, (X,)),
    "frames between, permuted": (
        lambda x: x.unflatten(1, (2, -1)).permute(0, 2, 3, 1, 4, 5).flatten(2, 3) * 2, (X,)
    ),
    "pixels shuffled": (shuffled, (X,)),
    "pixels gathered": (unshuffled, (WIDE,)),
    "patches of an activation": (
        lambda x: F.silu(x.view(1, 2, 2, 2, 2, 3, 4)).permute(0, 1, 4, 5, 3, 6, 2).reshape(1, 2, 2, 6, 8),  # noqa: E501
        (X,),
    ),
    "all around": (
        lambda x: (x.reshape(2, 2, 2, 2, 3, 2, 2) + 1).permute(5, 1, 3, 0, 6, 2, 4).flatten(1), (X,)
    ),
    "twice": (lambda x: six(x).permute(0, 2, 4, 1, 3, 5).transpose(1, 4).flatten(2) * 2, (X,)),
    "each again": (lambda x: x.repeat_interleave(2, 2).repeat_interleave(3, -1) * 2, (X,)),
    "expanded": (
        lambda x: x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 3, -1).reshape(1, 8, 4, 9, 4),
        (X,),
    ),
    "repeated": (lambda x: x[:, :, :, None].repeat(2, 1, 1, 2, 1, 2).flatten(2, 3) * 2, (X,)),
    "parts": (
        lambda x: (six(x).unbind(1)[1] + six(x).split(1, 1)[0][:, 0],
                   x.reshape(2, 2, 2, 2, 3, 4).chunk(2, 2)[1].flatten(2),
                   six(x)[:, :, 1:3, ..., ::2].flatten(3)),
        (X,),
    ),
    "joined": (lambda x: torch.cat([six(x), six(x) * 2], -2).flatten(2, 3), (X,)),
    "reduced": (
        lambda x: (six(x).mean((1, 3)), x.reshape(2, 2, 2, 2, 3, 4).sum((0, 2, 4)),
                   six(x).amax(-1, keepdim=True)[..., 0]),
        (X,),
    ),
    "broadcast": (
        lambda x: (six(x) * torch.arange(4.0)[:, None, None, None]).flatten(2) + 1, (X,)
    ),
    "broadcast in turns": (
        lambda x: (x.reshape(2, 2, 2, 2, 3, 4, 1) + x.reshape(2, 2, 2, 2, 3, 4, 1).mean((1, 3, 5), True)).flatten(2),  # noqa: E501
        (X,),
    ),
    "by a table": (lambda x: (six(x) * TABLE).flatten(2), (X,)),
    "along an axis": (lambda x: six(x).softmax(2).flip((1, 3)).cumsum(1).flatten(2), (X,)),
    "chosen": (lambda x: torch.where(six(x) > 0, six(x), 0).flatten(2), (X,)),
    "layers": (lambda x: F.layer_norm(F.linear(six(x), WEIGHT), (5,)).flatten(2), (X,)),
    "products": (lambda x: (six(x) @ six(x).transpose(-1, -2)).flatten(2), (X,)),
    "attention": (lambda x: F.scaled_dot_product_attention(*[six(x)] * 3).flatten(2), (X,)),
    "attention with a mask": (
        lambda x: F.scaled_dot_product_attention(
            *[six(x)] * 3, attn_mask=torch.ones(3, 3).triu(1) * -1e4
        ).flatten(2),
        (X,),
    ),
    "rotated": (
        lambda x: torch.view_as_real(torch.view_as_complex(x.reshape(1, 4, 2, 2, 3, 2, 2)) * ANGLES).flatten(3),  # noqa: E501
        (X,),
    ),
}  # fmt: skip


def _positions(length: int) -> Tensor:
    """Whole numbers that say they are float."""
    return torch.arange(0, length, dtype=torch.float32)


def _half_constant(x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    a, b = torch.cat([x, known], 1).chunk(2, 1)
    return a * 2 + b, b + x


CONSTANTS: dict[str, Case] = {
    "outer": (lambda x: torch.outer(_positions(8), torch.tensor([0.5, 0.25])).sum(1) + x, (LINE,)),
    "outer of whole numbers": (
        lambda x: torch.outer(torch.arange(8), torch.tensor([0.5, 0.25])).sum(1) + x, (LINE,)
    ),
    "outer in 64 bits": (
        lambda x: torch.outer(
            torch.arange(8, dtype=torch.float64), 1 / 100 ** (torch.arange(0, 4, 2).double() / 4)
        ).float().sum(1) + x,
        (LINE,),
    ),
    "product of matrices": (
        lambda x: (_positions(8)[:, None] @ torch.tensor([[0.5, 0.25]])).sum(1) + x, (LINE,)
    ),
    "mean": (lambda x: _positions(8).mean() + x, (LINE,)),
    "mean of a grid": (
        lambda x: torch.stack(
            torch.meshgrid(_positions(8), _positions(3), indexing="ij"), -1
        ).mean((1, 2)) + x,
        (LINE,),
    ),
    "powers": (lambda x: (_positions(8) + 1) ** -0.5 + _positions(8).cos() + x, (LINE,)),
    "half of zeros": (lambda x: _half_constant(x, torch.zeros_like(x)), (LINE,)),
    "half of a number": (lambda x: _half_constant(x, torch.full_like(x, 0.5)), (LINE,)),
    "half of a table": (lambda x: _half_constant(x, torch.linspace(0, 1, 8)[None]), (LINE,)),
    "cut off a half": (lambda x: torch.cat([x, torch.full_like(x, 0.5)], 1)[:, 8:] + x, (LINE,)),
    "one of a stack": (
        lambda x: torch.stack([x, torch.full_like(x, 0.5)], 1).unbind(1)[1] + x, (LINE,)
    ),
    "fewer than a part": (
        lambda x: (x.split(100, 1)[0] * 2, torch.cat([p * 2 for p in x.split(5, 0)])), (LINE,)
    ),
    "nothing beside it": (
        lambda x: torch.concatenate([x[:, :1].repeat(1, 0), x, x[:, -1:].repeat(1, 0)], 1) * 2,
        (LINE,),
    ),
}  # fmt: skip
