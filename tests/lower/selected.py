"""What masks select and put back, distances and nearest rows: cases of `kinds.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Case = tuple[Callable[..., Any], tuple[Tensor, ...]]

torch.manual_seed(1)
X = torch.randn(2, 3, 4)
MASK = torch.tensor([[1, 0, 1], [0, 1, 1]])
FEW, MANY = torch.randn(1, 5, 3), torch.randn(1, 30, 3)


def halved(x: Tensor, mask: Tensor) -> Tensor:
    y = x * 1
    y[mask.bool()] *= 0.5
    return y


def shifted(x: Tensor, mask: Tensor) -> Tensor:
    """With a value for each of the last dimension, and what was selected read twice."""
    y, chosen = x * 1, mask > 0
    y[chosen] = torch.sin(y[chosen]) * x[chosen] + torch.arange(4.0)
    return y


def by_element(x: Tensor, mask: Tensor) -> Tensor:
    y, chosen = x * 1, (mask > 0)[:, :, None].expand(2, 3, 4)
    y[chosen] = y[chosen] + x[chosen] * 3
    return y


def padded_turns(a: Tensor, b: Tensor) -> Tensor:
    pairs = [torch.view_as_complex(t.reshape(-1, 2, 2)) for t in (a, b)]
    rows = torch.nn.utils.rnn.pad_sequence(pairs, batch_first=True)
    return torch.view_as_real(rows * (2 + 1j)).flatten(2)


def interleaved(x: Tensor) -> Tensor:
    y = x[0] * 1
    y[..., torch.arange(1, 4, 2)] = x[1][..., torch.arange(1, 4, 2)]
    return y


def with_rows(x: Tensor, mask: Tensor) -> Tensor:
    """One row for all tokens that are chosen, one number for chosen columns."""
    y = x * 1
    y[mask > 0] = torch.arange(4.0)[None]
    y[:, :, mask[0].repeat(2)[:4] > 0] = 7.0
    return y


def padded(mask: Tensor) -> tuple[Tensor, ...]:
    truths, numbers = (F.pad(m, (1, 2), value=1) for m in (mask > 0, mask))
    return torch.where(truths, 2.0, 3.0), numbers


SELECTED: dict[str, Case] = {
    "halved": (halved, (X, MASK)),
    "shifted": (shifted, (X, MASK)),
    "interleaved": (interleaved, (X,)),
    "with rows": (with_rows, (X, MASK)),
    "padded": (padded, (MASK,)),
    "bounded": (lambda m: (m.sum(1).clamp(min=3), (m * 9).clamp(2, 5), m.clamp(max=0)), (MASK,)),
    "by element": (by_element, (X, MASK)),
    "turns padded": (padded_turns, (X[0], X[1, :2])),
    "distances of few": (torch.cdist, (FEW, FEW.flip(1) * 2)),
    "distances of many": (torch.cdist, (MANY, FEW)),
    "sums of distances": (lambda a, b: torch.cdist(a, b, p=1.0), (FEW, MANY)),
    "orthogonal": (lambda a: torch.linalg.qr(a), (torch.randn(2, 7, 4),)),
    "orthogonal square": (lambda a: torch.linalg.qr(a), (torch.randn(4, 4),)),
    "nearest": (lambda a, b: torch.cdist(a, b).argmin(-1), (FEW, MANY)),
}
