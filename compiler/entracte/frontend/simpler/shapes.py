"""Parts of tensors, edges, and products with vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["ROWS"]

_aten = torch.ops.aten
Rule = Callable[..., Any]


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
    found: Tensor = _aten.slice.Tensor(flat, flat.dim() - 1, first, last, columns + 1)
    return found


def _trace(x: Tensor) -> Tensor:
    return _diagonal(x).sum()


def _triu(x: Tensor, diagonal: int = 0) -> Tensor:
    return _kept(x, _columns_after(x) >= diagonal)


def _tril(x: Tensor, diagonal: int = 0) -> Tensor:
    return _kept(x, _columns_after(x) <= diagonal)


def _columns_after(x: Tensor) -> Tensor:
    """Column less row of each value."""
    rows, columns = x.shape[-2:]
    return torch.arange(columns) - torch.arange(rows).unsqueeze(-1)


def _kept(x: Tensor, where: Tensor) -> Tensor:
    """Chosen, not subtracted: infinity less itself is no number."""
    if x.dtype is torch.bool:
        return where & x
    return torch.where(where, x, torch.full((), 0, dtype=x.dtype))


# ---------------------------------------------------------------- edges
def _pad(x: Tensor, pads: Any, mode: str = "constant", value: Any = None) -> Any:
    """Around for `circular`; what is negative is cut off first. Truth values as numbers."""
    if x.dtype is torch.bool:
        number = None if value is None else float(bool(value))
        return _aten.pad.default(x.to(torch.float32), pads, mode, number).ne(0)
    if mode == "constant" and min(pads) >= 0 and not (x.is_floating_point() or x.is_complex()):
        return _pad_whole(x, pads, int(value or 0))
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


def _pad_whole(x: Tensor, pads: Any, value: int) -> Tensor:
    """Of whole numbers, which a pad would make floats."""
    for i in range(0, len(pads), 2):
        axis, parts = x.dim() - 1 - i // 2, [x]
        for n, at in zip(pads[i : i + 2], (0, 2), strict=True):
            shape = [*x.shape[:axis], n, *x.shape[axis + 1 :]]
            parts[at:at] = [torch.full(shape, value, dtype=x.dtype)] if n else []
        x = torch.cat(parts, axis) if len(parts) > 1 else x
    return x


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


def _to_scalar(x: Tensor, shape: Any) -> Any:
    """A tensor of one value without its dimensions: a reshape to nothing keeps them."""
    return NotImplemented if shape or not x.dim() else x.squeeze()


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


def _gather(x: Tensor, dim: int, index: Tensor, _: bool = False) -> Any:
    """torch lets the indices be fewer than the values, in the other dimensions too."""
    dim, whole = dim % x.dim(), x
    for axis, length in enumerate(index.shape):
        if axis != dim and length != x.shape[axis]:
            x = _aten.slice.Tensor(x, axis, 0, length)
    return NotImplemented if x is whole else torch.gather(x, dim, index)


def _put(x: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Any:
    """Where truth values choose what is the same for all of them; or at places along one of the
    later dimensions."""
    before, index = len(indices) - 1, indices[-1]
    if accumulate or index is None or any(i is not None for i in indices[:-1]):
        return NotImplemented
    values = values.to(x.dtype)
    if index.dtype is torch.bool:
        return _chosen(x, index, values, x.dim() - before - index.dim())
    if not before or index.dim() != 1:
        return NotImplemented
    shape = [*x.shape[:before], index.shape[0], *x.shape[before + 1 :]]
    places = index.reshape([-1, *[1] * (x.dim() - before - 1)]).expand(shape)
    return torch.scatter(x, before, places, values.expand(shape))


def _chosen(x: Tensor, mask: Tensor, values: Tensor, trailing: int) -> Any:
    """`mask` is of all dimensions of x but the last `trailing`, and perhaps some of the first."""
    shape = list(values.shape)
    first = len(shape) - trailing
    if first > 0 and shape[first - 1] != 1:
        return NotImplemented
    if first > 0:
        shape[first - 1 : first] = [1] * mask.dim()
    mask = mask.reshape([*mask.shape, *[1] * trailing])
    return torch.where(mask, values.reshape(shape), x)


ROWS: dict[object, Rule] = {
    _aten.matmul.default: _matmul,
    _aten.unfold.default: _unfold,
    _aten.as_strided.default: _as_strided,
    _aten.roll.default: _roll_flat,
    _aten.gather.default: _gather,
    _aten.index_put.default: _put,
    _aten.pad.default: _pad,
    _aten.constant_pad_nd.default: _constant_pad,
    _aten.diagonal.default: _diagonal,
    _aten.diagonal_copy.default: _diagonal,
    _aten.trace.default: _trace,
    _aten.triu.default: _triu,
    _aten.tril.default: _tril,
    _aten.reshape.default: _to_scalar,
    _aten.view.default: _to_scalar,
}
