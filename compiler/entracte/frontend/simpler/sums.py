"""Sums with factors, norms, variances and their roots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["ROWS", "dims_of"]

_aten = torch.ops.aten
Rule = Callable[..., Any]


# ---------------------------------------------------------------- alpha, beta, value
def _add(x: Tensor, other: Any, alpha: Any = 1) -> Any:
    return NotImplemented if alpha == 1 else x + other * alpha


def _sub(x: Tensor, other: Any, alpha: Any = 1) -> Any:
    return NotImplemented if alpha == 1 else x - other * alpha


def _rsub(x: Tensor, other: Any, alpha: Any = 1) -> Any:
    return NotImplemented if alpha == 1 else other - x * alpha


def _sum_of(x: Tensor, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    """`beta * x + alpha * product`; x is not read at all where beta is 0."""
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    return product + (x if beta == 1 else x * beta)


def _addmm(x: Tensor, a: Tensor, b: Tensor, beta: Any = 1, alpha: Any = 1) -> Any:
    return NotImplemented if alpha == beta == 1 else _sum_of(x, torch.mm(a, b), beta, alpha)


def _baddbmm(x: Tensor, a: Tensor, b: Tensor, beta: Any = 1, alpha: Any = 1) -> Any:
    return _sum_of(x, torch.bmm(a, b), beta, alpha)


def _addbmm(x: Tensor, a: Tensor, b: Tensor, beta: Any = 1, alpha: Any = 1) -> Any:
    return _sum_of(x, torch.bmm(a, b).sum(0), beta, alpha)


def _addmv(x: Tensor, a: Tensor, b: Tensor, beta: Any = 1, alpha: Any = 1) -> Any:
    return _sum_of(x, torch.mm(a, b.unsqueeze(1)).squeeze(1), beta, alpha)


def _addr(x: Tensor, a: Tensor, b: Tensor, beta: Any = 1, alpha: Any = 1) -> Any:
    return _sum_of(x, a.unsqueeze(1) * b.unsqueeze(0), beta, alpha)


# ---------------------------------------------------------------- norms and statistics
def _rms_norm(x: Tensor, shape: Any, weight: Any = None, eps: Any = None) -> Any:
    dims = list(range(x.dim() - len(shape), x.dim()))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    y = x * torch.rsqrt(x.pow(2).mean(dims, keepdim=True) + eps)
    return y if weight is None else y * weight


def _instance_norm(x: Tensor, *given: Any) -> Any:
    """With statistics that were learnt and not the input's own."""
    weight, bias, mean, variance, is_own, _, eps, *_ = given
    if is_own:
        return NotImplemented
    shape = [-1, *[1] * (x.dim() - 2)]
    scale = torch.rsqrt(variance + eps) if weight is None else weight * torch.rsqrt(variance + eps)
    y = (x - mean.reshape(shape)) * scale.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _mse_loss(x: Tensor, y: Tensor, reduction: int = 1) -> Tensor:
    loss: Tensor = (x - y).square()
    return loss if reduction == 0 else loss.mean() if reduction == 1 else loss.sum()


def _hypot(x: Tensor, y: Tensor) -> Tensor:
    return torch.sqrt(x * x + y * y)


def _lerp(x: Tensor, y: Tensor, weight: float) -> Tensor:
    return x + (y - x) * weight if abs(weight) < 0.5 else y - (y - x) * (1 - weight)


def _sum_all(x: Tensor, *, dtype: Any = None) -> Any:
    """Of truth values, how many are true."""
    kind = _summed_as(x, dtype)
    return NotImplemented if kind is None else x.to(kind).sum().to(kind)


def _sum_dims(x: Tensor, dim: Any, keepdim: bool = False, *, dtype: Any = None) -> Any:
    kind = _summed_as(x, dtype)
    if kind is None:
        return NotImplemented
    return x.to(kind).sum(dims_of(x, dim), keepdim=keepdim).to(kind)


def _summed_as(x: Tensor, dtype: Any) -> Any:
    """What values become before they are added up; None: they stay what they are."""
    if x.dtype is torch.bool:
        return dtype or torch.int64
    return None if dtype in (None, x.dtype) else dtype


def _variance(x: Tensor, dim: Any, correction: Any, keepdim: bool) -> tuple[Tensor, Tensor]:
    """(variance, mean), the mean with its dimensions kept."""
    dims = dims_of(x, dim)
    count = 1
    for d in dims:
        count *= x.shape[d]
    correction = 1 if correction is None else correction
    mean = x.mean(dims, keepdim=True)
    squares = (x - mean).square()
    if correction == 0:
        return squares.mean(dims, keepdim=keepdim), mean
    # a mean, then a factor near 1: a sum would leave fp16 where the result does not
    factor = count / (count - correction) if count > correction else float("nan")
    return squares.mean(dims, keepdim=keepdim) * factor, mean


def dims_of(x: Tensor, dim: Any) -> list[int]:
    """The dimensions that `dim` names, from the front: all if it names none."""
    if dim is None or dim == []:
        return list(range(x.dim()))
    return [int(d) % x.dim() for d in (dim if isinstance(dim, list | tuple) else [dim])]


def _var_correction(
    x: Tensor, dim: Any = None, *, correction: Any = None, keepdim: bool = False
) -> Tensor:  # noqa: E501
    return _variance(x, dim, correction, keepdim)[0]


def _var_dim(x: Tensor, dim: Any, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    return _variance(x, dim, int(unbiased), keepdim)[0]


def _var_all(x: Tensor, unbiased: bool = True) -> Tensor:
    return _variance(x, None, int(unbiased), False)[0]


def _root(rule: Rule) -> Rule:
    return lambda *args, **kwargs: torch.sqrt(rule(*args, **kwargs))


def _with_mean(root: bool) -> Rule:
    def rule(x: Tensor, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> Any:
        variance, mean = _variance(x, dim, correction, keepdim)
        mean = mean if keepdim else mean.reshape(variance.shape)
        return (torch.sqrt(variance) if root else variance), mean

    return rule


def _vector_norm(
    x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    dims = dims_of(x, dim)
    x = x if dtype is None else x.to(dtype)
    if ord == 2:
        return torch.sqrt((x * x).sum(dims, keepdim=keepdim))
    size = x.abs()
    if ord == float("inf"):
        return size.amax(dims, keepdim=keepdim)
    if ord == float("-inf"):
        return size.amin(dims, keepdim=keepdim)
    if ord == 0:
        return (x != 0).to(x.dtype).sum(dims, keepdim=keepdim)
    if ord == 1:
        return size.sum(dims, keepdim=keepdim)
    return size.pow(ord).sum(dims, keepdim=keepdim).pow(1.0 / ord)


def _norm_dim(x: Tensor, p: Any, dim: Any, keepdim: bool = False) -> Any:
    return _vector_norm(x, 2 if p is None else p, dim, keepdim)


def _norm_all(x: Tensor, p: Any = 2) -> Any:
    return _vector_norm(x, p, None, False)


_MOST_APART = 25
"""Rows up to which torch subtracts each from each; with more it multiplies, as a matrix."""


def _distances(x: Tensor, y: Tensor, p: float, mode: Any = None) -> Any:
    """[..., P, M] and [..., R, M] -> [..., P, R], how far each row is from each."""
    is_large = max(x.shape[-2], y.shape[-2]) > _MOST_APART
    if p != 2 or mode == 2 or not (mode == 1 or is_large):
        return _vector_norm(x.unsqueeze(-2) - y.unsqueeze(-3), p, [-1])
    sizes = x.square().sum(-1, keepdim=True) + y.square().sum(-1).unsqueeze(-2)
    return torch.sqrt(torch.relu(sizes - 2 * torch.matmul(x, y.transpose(-1, -2))))


ROWS: dict[object, Rule] = {
    _aten.add.Tensor: _add,
    _aten.add.Scalar: _add,
    _aten.sub.Tensor: _sub,
    _aten.sub.Scalar: _sub,
    _aten.subtract.Tensor: lambda x, y, alpha=1: x - (y if alpha == 1 else y * alpha),
    _aten.rsub.Tensor: _rsub,
    _aten.rsub.Scalar: _rsub,
    _aten.addmm.default: _addmm,
    _aten.baddbmm.default: _baddbmm,
    _aten.addbmm.default: _addbmm,
    _aten.addmv.default: _addmv,
    _aten.addr.default: _addr,
    _aten.rms_norm.default: _rms_norm,
    _aten.instance_norm.default: _instance_norm,
    _aten.mse_loss.default: _mse_loss,
    _aten.hypot.default: _hypot,
    _aten.lerp.Scalar: _lerp,
    _aten.sum.default: _sum_all,
    _aten.sum.dim_IntList: _sum_dims,
    _aten.var.correction: _var_correction,
    _aten.var.dim: _var_dim,
    _aten.var.default: _var_all,
    _aten.std.correction: _root(_var_correction),
    _aten.std.dim: _root(_var_dim),
    _aten.std.default: _root(_var_all),
    _aten.var_mean.correction: _with_mean(root=False),
    _aten.std_mean.correction: _with_mean(root=True),
    _aten.linalg_vector_norm.default: _vector_norm,
    _aten._cdist_forward.default: _distances,
    _aten.norm.ScalarOpt_dim: _norm_dim,
    _aten.norm.Scalar: _norm_all,
}
