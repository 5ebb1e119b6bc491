"""Activations, selections and types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["ROWS"]

_aten = torch.ops.aten
Rule = Callable[..., Any]


def _elu(x: Tensor, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Any:
    if scale == input_scale == 1:
        return NotImplemented
    below = (torch.exp(-torch.relu(-x) * input_scale) - 1) * (alpha * scale)
    return torch.where(x > 0, x * scale, below)


def _celu(x: Tensor, alpha: Any = 1) -> Any:
    return torch.relu(x) + (torch.exp(-torch.relu(-x) / alpha) - 1) * alpha


def _hardshrink(x: Tensor, lambd: Any = 0.5) -> Any:
    return x * (x.abs() > lambd).to(x.dtype)


def _clamp(x: Tensor, least: Any = None, most: Any = None) -> Any:
    """Without a bound that no fp32 number passes: it would bound nothing. Whole numbers stay whole,
    which converters make floats of."""
    if not x.dtype.is_floating_point:
        return _between_whole(x, least, most)
    end = torch.finfo(torch.float32).max
    low = None if least is None or least <= -end else least
    high = None if most is None or most >= end else most
    if (low, high) == (None, None):
        return x.clone()
    return NotImplemented if (low, high) == (least, most) else torch.clamp(x, low, high)


def _between_whole(x: Tensor, least: Any, most: Any) -> Any:
    if any(isinstance(bound, float) for bound in (least, most)):
        return NotImplemented
    for choose, bound in ((torch.maximum, least), (torch.minimum, most)):
        x = x if bound is None else choose(x, torch.full((), bound, dtype=x.dtype))
    return x


def _prelu(x: Tensor, weight: Tensor) -> Tensor:
    weight = weight.reshape([-1, *[1] * (x.dim() - 2)])
    return torch.relu(x) - weight * torch.relu(-x)


def _fmod(x: Any, y: Any) -> Any:
    return x - torch.div(x, y, rounding_mode="trunc") * y


def _quotient(x: Any, y: Any, *, rounding_mode: Any = None) -> Any:
    """Of whole numbers, towards zero."""
    kind = torch.result_type(x, y)
    if rounding_mode is None or kind.is_floating_point:
        return NotImplemented
    if rounding_mode == "floor":
        return torch.floor_divide(x, y)
    sizes = torch.floor_divide(x.abs(), abs(y))
    if isinstance(y, Tensor):
        return sizes * torch.sign(x) * torch.sign(y)
    return sizes * torch.sign(x) * (1 if y > 0 else -1)


def _softmax(x: Tensor, dim: int, dtype: Any = None) -> Any:
    return NotImplemented if dtype is None else torch.softmax(x.to(dtype), dim)


def _argmax(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return _over_all(torch.argmax, x, keepdim) if dim is None else NotImplemented


def _argmin(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return _over_all(torch.argmin, x, keepdim) if dim is None else NotImplemented


def _over_all(find: Rule, x: Tensor, keepdim: bool) -> Tensor:
    found: Tensor = find(x.reshape(-1), 0, True)
    return found.reshape([1] * x.dim() if keepdim else [])


def _kth(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    parts = [part.narrow(dim, k - 1, 1) for part in torch.sort(x, dim)]
    values, indices = parts if keepdim else [part.squeeze(dim) for part in parts]
    return values, indices


def _median(x: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return _kth(x, (x.shape[dim] + 1) // 2, dim, keepdim)


def _where(condition: Tensor, x: Any, y: Any) -> Any:
    """Both sides of the result's type; a number is a tensor of no dimensions."""
    dtype = torch.result_type(x, y)
    sides = (
        s.to(dtype) if isinstance(s, Tensor) else torch.full((), s, dtype=dtype) for s in (x, y)
    )
    return _aten.where.self(condition, *sides)


ROWS: dict[object, Rule] = {
    _aten.elu.default: _elu,
    _aten.celu.default: _celu,
    _aten.hardshrink.default: _hardshrink,
    _aten.argmax.default: _argmax,
    _aten.argmin.default: _argmin,
    _aten.kthvalue.default: _kth,
    _aten.median.dim: _median,
    _aten.div.Tensor_mode: _quotient,
    _aten.div.Scalar_mode: _quotient,
    _aten.fmod.Tensor: _fmod,
    _aten.fmod.Scalar: _fmod,
    _aten.softmax.int: _softmax,
    _aten.clamp.default: _clamp,
    _aten.prelu.default: _prelu,
    _aten._prelu_kernel.default: lambda x, weight: torch.relu(x) - weight * torch.relu(-x),
    _aten.where.ScalarOther: _where,
    _aten.where.ScalarSelf: _where,
    _aten.where.Scalar: _where,
}
