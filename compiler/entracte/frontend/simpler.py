"""Operations written in simpler ones, exactly as torch defines them, wherever a converter may not
read an argument or computes something less.

A row is an ATen operation and a function of the same arguments. Some operations are written out
only where an argument asks for it; in the plain case they stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

__all__ = ["SIMPLER", "is_written_out"]

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


def _variance(x: Tensor, dim: Any, correction: Any, keepdim: bool) -> tuple[Tensor, Tensor]:
    """(variance, mean), the mean with its dimensions kept."""
    dims = _dims(x, dim)
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


def _dims(x: Tensor, dim: Any) -> list[int]:
    if dim is None or dim == []:
        return list(range(x.dim()))
    return [int(d) % x.dim() for d in (dim if isinstance(dim, list | tuple) else [dim])]


def _var_correction(x: Tensor, dim: Any = None, *, correction: Any = None, keepdim: bool = False):  # noqa: ANN202
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
    dims = _dims(x, dim)
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


# ---------------------------------------------------------------- logarithms and exponentials


def _log_softmax(x: Tensor, dim: int, half_to_float: Any = None) -> Tensor:
    x = x if x.is_floating_point() else x.float()
    x = x - x.amax(dim, keepdim=True)
    return x - torch.log(torch.exp(x).sum(dim, keepdim=True))


def _logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    x = x if x.is_floating_point() else x.float()
    dims = _dims(x, dim)
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


def _nll_loss(x: Tensor, target: Tensor, weight: Any = None, reduction: int = 1, ignored: int = -100) -> Any:  # noqa: E501
    """Only of the plain kind; a target that is left out depends on values."""
    if weight is not None or ignored != -100:
        return NotImplemented
    dim = min(1, x.dim() - 1)
    loss = -torch.gather(x, dim, target.unsqueeze(dim)).squeeze(dim)
    return loss if reduction == 0 else loss.mean() if reduction == 1 else loss.sum()


def _cosine_similarity(x: Tensor, y: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    x, y = (
        t / torch.sqrt((t * t).sum(dim, keepdim=True)).clamp_min(eps) for t in (x, y)
    )
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


# ---------------------------------------------------------------- activations


def _elu(x: Tensor, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Any:
    if scale == input_scale == 1:
        return NotImplemented
    below = (torch.exp(-torch.relu(-x) * input_scale) - 1) * (alpha * scale)
    return torch.where(x > 0, x * scale, below)


def _celu(x: Tensor, alpha: Any = 1) -> Tensor:
    return torch.relu(x) + (torch.exp(-torch.relu(-x) / alpha) - 1) * alpha


def _hardshrink(x: Tensor, lambd: Any = 0.5) -> Tensor:
    return x * (x.abs() > lambd).to(x.dtype)


def _fmod(x: Any, y: Any) -> Any:
    return x - torch.div(x, y, rounding_mode="trunc") * y


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


def _where(condition: Tensor, x: Any, y: Any) -> Tensor:
    """Both sides of the result's type; a number is a tensor of no dimensions."""
    dtype = torch.result_type(x, y)
    sides = (
        s.to(dtype) if isinstance(s, Tensor) else torch.full((), s, dtype=dtype) for s in (x, y)
    )
    return _aten.where.self(condition, *sides)


# ---------------------------------------------------------------- parts of a matrix


def _diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Of the rows laid end to end, every (columns + 1)-th value."""
    rank = x.dim()
    dim1, dim2 = dim1 % rank, dim2 % rank
    kept = [d for d in range(rank) if d not in (dim1, dim2)]
    rows, columns = x.shape[dim1], x.shape[dim2]
    first = offset if offset >= 0 else -offset * columns
    count = min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns)
    x = x if kept == list(range(rank - 2)) and dim1 < dim2 else x.permute(*kept, dim1, dim2)
    flat = x.reshape(*(x.shape[:-2]), rows * columns)
    last = first + (count - 1) * (columns + 1) + 1
    return _aten.slice.Tensor(flat, flat.dim() - 1, first, last, columns + 1)


def _trace(x: Tensor) -> Tensor:
    return _diagonal(x).sum()


# ---------------------------------------------------------------- edges


def _pad(x: Tensor, pads: Any, mode: str = "constant", value: Any = None) -> Any:
    """Around for `circular`; what is negative is cut off first."""
    if mode != "circular" and min(pads) >= 0:
        return NotImplemented
    pairs = [(pads[i], pads[i + 1]) for i in range(0, len(pads), 2)]
    for i, (before, after) in enumerate(pairs):
        axis = x.dim() - 1 - i
        first, last = max(0, -before), x.shape[axis] - max(0, -after)
        x = _aten.slice.Tensor(x, axis, first, last) if (first, last) != (0, x.shape[axis]) else x
        if mode == "circular" and (before > 0 or after > 0):
            x = _around(x, axis, max(0, before), max(0, after))
    rest = [max(0, n) for n in pads]
    if mode == "circular" or not any(rest):
        return x
    return _aten.pad.default(x, rest, mode, value)


def _around(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    size = x.shape[axis]
    parts = [x]
    if before:
        parts.insert(0, _aten.slice.Tensor(x, axis, size - before, size))
    if after:
        parts.append(_aten.slice.Tensor(x, axis, 0, after))
    return torch.cat(parts, axis)


def _constant_pad(x: Tensor, pads: Any, value: Any = 0) -> Any:
    return _pad(x, pads, "constant", value)


# ---------------------------------------------------------------- shapes


def _matmul(x: Tensor, y: Tensor) -> Any:
    """A vector on either side, as the matrix that it stands for."""
    if 1 not in (x.dim(), y.dim()):
        return NotImplemented
    if x.dim() == 1 and y.dim() == 1:
        return (x * y).sum()
    if x.dim() == 1:
        return torch.matmul(x.unsqueeze(0), y).squeeze(-2)
    return torch.matmul(x, y.unsqueeze(1)).squeeze(-1)


def _unfold(x: Tensor, dim: int, size: int, step: int) -> Tensor:
    """Windows side by side; by position in the window or by window, whichever are fewer."""
    dim = dim % x.dim()
    count = (x.shape[dim] - size) // step + 1
    if size <= count:
        last = (count - 1) * step + 1
        rows = [_aten.slice.Tensor(x, dim, i, i + last, step) for i in range(size)]
        return torch.stack(rows, -1)
    windows = [_aten.slice.Tensor(x, dim, i * step, i * step + size) for i in range(count)]
    return torch.stack([w.movedim(dim, -1) for w in windows], dim)


def _as_strided(x: Tensor, size: Any, stride: Any, offset: Any = None) -> Tensor:
    place = torch.full((1,), int(offset or 0))
    for length, step in zip(size, stride, strict=True):
        place = place.unsqueeze(-1) + torch.arange(length) * step
    return x.reshape(-1).index_select(0, place.reshape(-1)).reshape(size)


def _roll_flat(x: Tensor, shifts: Any, dims: Any = ()) -> Any:
    if dims:
        return NotImplemented
    return torch.roll(x.reshape(-1), shifts, 0).reshape(x.shape)


def _gather(x: Tensor, dim: int, index: Tensor, sparse_grad: bool = False) -> Any:
    """torch lets the indices be fewer than the values, in the other dimensions too."""
    dim, whole = dim % x.dim(), x
    for axis, length in enumerate(index.shape):
        if axis != dim and length != x.shape[axis]:
            x = _aten.slice.Tensor(x, axis, 0, length)
    return NotImplemented if x is whole else torch.gather(x, dim, index)


def _fill_masked(x: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Any:
    (mask, *more) = indices
    is_mask = mask is not None and mask.dtype is torch.bool and mask.shape == x.shape
    if more or not is_mask or values.numel() != 1 or accumulate:
        return NotImplemented
    return torch.where(mask, values.reshape([]).to(x.dtype), x)


SIMPLER: dict[object, Rule] = {
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
    _aten.var.correction: _var_correction,
    _aten.var.dim: _var_dim,
    _aten.var.default: _var_all,
    _aten.std.correction: _root(_var_correction),
    _aten.std.dim: _root(_var_dim),
    _aten.std.default: _root(_var_all),
    _aten.var_mean.correction: _with_mean(root=False),
    _aten.std_mean.correction: _with_mean(root=True),
    _aten.linalg_vector_norm.default: _vector_norm,
    _aten.norm.ScalarOpt_dim: _norm_dim,
    _aten.norm.Scalar: _norm_all,
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
    _aten.elu.default: _elu,
    _aten.celu.default: _celu,
    _aten.matmul.default: _matmul,
    _aten.unfold.default: _unfold,
    _aten.as_strided.default: _as_strided,
    _aten.roll.default: _roll_flat,
    _aten.gather.default: _gather,
    _aten.index_put.default: _fill_masked,
    _aten.pad.default: _pad,
    _aten.constant_pad_nd.default: _constant_pad,
    _aten.hardshrink.default: _hardshrink,
    _aten.argmax.default: _argmax,
    _aten.argmin.default: _argmin,
    _aten.kthvalue.default: _kth,
    _aten.median.dim: _median,
    _aten.fmod.Tensor: _fmod,
    _aten.fmod.Scalar: _fmod,
    _aten.softmax.int: _softmax,
    _aten.where.ScalarOther: _where,
    _aten.where.ScalarSelf: _where,
    _aten.where.Scalar: _where,
    _aten.diagonal.default: _diagonal,
    _aten.diagonal_copy.default: _diagonal,
    _aten.trace.default: _trace,
}
"""What each operation is made of, by its overload."""



def _has_factor(count: int) -> Callable[[Node], bool]:
    """Whether there are more than `count` arguments, and one of them is not the default of 1."""

    def check(node: Node) -> bool:
        extra = [*node.args[count:], *node.kwargs.values()]
        return any(value is not None and value != 1 for value in extra)

    return check


def _has_no_dim(node: Node) -> bool:
    return node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None) is None


def _pads_unusually(node: Node) -> bool:
    pads: Any = node.args[1]
    is_negative = any(n < 0 for n in pads if isinstance(n, int))
    return is_negative or "circular" in (*node.args[2:3], node.kwargs.get("mode"))


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _has_fewer_indices(node: Node) -> bool:
    source, index = _shape(node.args[0]), _shape(node.args[2])
    dim: Any = node.args[1]
    return any(n != m and d != dim % len(source) for d, (n, m) in enumerate(zip(source, index, strict=True)))


def _is_masked_fill(node: Node) -> bool:
    indices, values = node.args[1:3]
    first: Any = indices[0] if isinstance(indices, list | tuple) and len(indices) == 1 else None
    if not isinstance(first, Node) or first.meta["val"].dtype is not torch.bool:
        return False
    is_one = isinstance(values, Node) and values.meta["val"].numel() == 1
    return is_one and _shape(first) == _shape(node) and not any(node.args[3:])


def _is_plain_loss(node: Node) -> bool:
    weight, _, ignored = [*node.args[2:5], *(None, 1, -100)[len(node.args) - 2 :]]
    return weight is None and ignored == -100 and not node.kwargs


_ONLY_IF: dict[object, Callable[[Node], bool]] = {
    _aten.nll_loss_nd.default: _is_plain_loss,
    _aten.nll_loss.default: _is_plain_loss,
    _aten.add.Tensor: _has_factor(2),
    _aten.add.Scalar: _has_factor(2),
    _aten.sub.Tensor: _has_factor(2),
    _aten.sub.Scalar: _has_factor(2),
    _aten.rsub.Tensor: _has_factor(2),
    _aten.rsub.Scalar: _has_factor(2),
    _aten.addmm.default: _has_factor(3),
    _aten.elu.default: _has_factor(2),
    _aten.softmax.int: _has_factor(2),
    _aten.argmax.default: _has_no_dim,
    _aten.argmin.default: _has_no_dim,
    _aten.pad.default: _pads_unusually,
    _aten.constant_pad_nd.default: _pads_unusually,
    _aten.matmul.default: lambda node: 1 in (len(_shape(node.args[0])), len(_shape(node.args[1]))),
    _aten.roll.default: lambda node: len(node.args) < 3 or not node.args[2],
    _aten.gather.default: _has_fewer_indices,
    _aten.index_put.default: _is_masked_fill,
}
"""When an operation of which the plain form stays is written out."""


def is_written_out(node: Node) -> bool:
    """Whether this call has a row that says more than the operation itself."""
    if node.op != "call_function" or node.target not in SIMPLER:
        return False
    return _ONLY_IF.get(node.target, lambda _: True)(node)
