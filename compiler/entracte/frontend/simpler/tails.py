"""Logarithms, exponentials and losses, with the tails that fp16 and coremltools cut off."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from entracte.frontend.simpler.sums import dims_of

__all__ = ["ROWS"]

_aten = torch.ops.aten
Rule = Callable[..., Any]


def _log_softmax(x: Tensor, dim: int, _: Any = None) -> Tensor:
    x = x if x.is_floating_point() else x.float()
    x = x - x.amax(dim, keepdim=True)
    return x - torch.log(torch.exp(x).sum(dim, keepdim=True))


def _logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    x = x if x.is_floating_point() else x.float()
    dims = dims_of(x, dim)
    top = x.amax(dims, keepdim=True)
    # where all is -inf the difference would be NaN; its result is -inf
    top = torch.clamp_min(top, torch.finfo(torch.float16).min)
    total = torch.log(torch.exp(x - top).sum(dims, keepdim=True)) + top
    return total if keepdim else total.squeeze(dims)


def _logcumsumexp(x: Tensor, dim: int) -> Tensor:
    """By blocks of one: the running maximum is not there, so every row gets its own sum."""
    length = x.shape[dim]
    rows = x.transpose(dim, -1).unsqueeze(-2)
    hidden = torch.full((length, length), -3e4, dtype=x.dtype).triu(1)
    return _logsumexp(rows + hidden, -1).transpose(dim, -1)


def _log1p(x: Tensor) -> Tensor:
    """Of 1 + x the digits of a small x are gone; atanh(x / (2 + x)) is half of it, with them."""
    x = x if x.is_floating_point() else x.float()
    small = x.clamp(-0.5, 0.5)
    return torch.where(x.abs() < 0.5, 2 * torch.atanh(small / (2 + small)), torch.log(1 + x))


def _expm1(x: Tensor) -> Tensor:
    x = x if x.is_floating_point() else x.float()
    half = x.clamp(-1, 1) * 0.5
    return torch.where(x.abs() < 1, 2 * torch.sinh(half) * torch.exp(half), torch.exp(x) - 1)


def _log_of_base(base: float) -> Rule:
    def rule(x: Tensor) -> Tensor:
        x = x if x.is_floating_point() else x.float()
        return torch.log(x) * (1 / math.log(base))

    return rule


def _nll_loss(
    x: Tensor, target: Tensor, weight: Any = None, reduction: int = 1, ignored: int = -100
) -> Any:  # noqa: E501
    """Only of the plain kind; a target that is left out depends on values."""
    if weight is not None or ignored != -100:
        return NotImplemented
    dim = min(1, x.dim() - 1)
    loss = -torch.gather(x, dim, target.unsqueeze(dim)).squeeze(dim)
    return loss if reduction == 0 else loss.mean() if reduction == 1 else loss.sum()


def _cosine_similarity(x: Tensor, y: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    x, y = (t / torch.sqrt((t * t).sum(dim, keepdim=True)).clamp_min(eps) for t in (x, y))
    return (x * y).sum(dim)


def _softplus(x: Tensor, beta: Any = 1, threshold: Any = 20) -> Tensor:
    scaled = x if beta == 1 else x * beta
    y = torch.relu(scaled) + _log1p(torch.exp(-scaled.abs()))
    y = y if beta == 1 else y / beta
    # above log(1 + exp(-20)) fp32 does not tell the difference
    return y if threshold >= 20 else torch.where(scaled > threshold, x, y)


def _log_sigmoid(x: Tensor) -> Tensor:
    return -torch.relu(-x) - _log1p(torch.exp(-x.abs()))


def _logaddexp(a: Tensor, b: Tensor) -> Tensor:
    return torch.maximum(a, b) + _log1p(torch.exp(-(a - b).abs()))


def _logaddexp2(a: Tensor, b: Tensor) -> Tensor:
    ln2 = math.log(2)
    return torch.maximum(a, b) + _log1p(torch.exp(-(a - b).abs() * ln2)) / ln2


def _mish(x: Tensor) -> Tensor:
    return x * torch.tanh(_softplus(x))


ROWS: dict[object, Rule] = {
    _aten.log_softmax.int: _log_softmax,
    _aten._log_softmax.default: _log_softmax,
    _aten.logsumexp.default: _logsumexp,
    _aten.logcumsumexp.default: _logcumsumexp,
    _aten.log1p.default: _log1p,
    _aten.expm1.default: _expm1,
    _aten.log2.default: _log_of_base(2),
    _aten.log10.default: _log_of_base(10),
    _aten.nll_loss_nd.default: _nll_loss,
    _aten.nll_loss.default: _nll_loss,
    _aten.cosine_similarity.default: _cosine_similarity,
    _aten.softplus.default: _softplus,
    _aten.log_sigmoid.default: _log_sigmoid,
    _aten.log_sigmoid_forward.default: lambda x: (_log_sigmoid(x), x.new_zeros(0)),
    _aten.logaddexp.default: _logaddexp,
    _aten.logaddexp2.default: _logaddexp2,
    _aten.mish.default: _mish,
}
