"""Making tensors and scanning them."""

from __future__ import annotations

import math
from typing import Any

import torch

from entracte.reference.allowance import check_elements
from entracte.reference.bind import Bind
from entracte.reference.registry import Compute, Kind, op


@op("fill", "#shape", Kind.MOVE)
def fill(bind: Bind) -> Compute:
    """A tensor of one value, in `shape`."""
    value, dtype = bind.const("value", 0.0), bind.out_dtype()

    def run(shape: list[int]) -> torch.Tensor:
        check_elements(math.prod(shape), "the result")
        return torch.full(shape, value, dtype=dtype)

    return run


@op("fill_like", "ref_tensor", Kind.MOVE)
def fill_like(bind: Bind) -> Compute:
    """A tensor of one value in another's shape."""
    value, dtype = bind.const("value", 0.0), bind.out_dtype()
    return lambda ref: torch.full(ref.shape, value, dtype=dtype)


@op("range_1d", "#end #start #step", Kind.MOVE)
def range_1d(bind: Bind) -> Compute:
    """start, start + step, ... below end, as a vector."""
    dtype = bind.out_dtype()

    def run(end: float, start: float, step: float) -> torch.Tensor:
        count = max(math.ceil((end - start) / step), 0)
        check_elements(count, "the range")
        # Steps that lead away from the end make nothing; torch refuses them.
        return torch.arange(start, end if count else start, step, dtype=dtype)

    return run


@op("one_hot", "indices #one_hot_vector_size", Kind.MOVE)
def one_hot(bind: Bind) -> Compute:
    """on_value at each index of a new axis of the given size, off_value elsewhere.

    indices [*i] to [*i, size], the new axis at `axis`.
    """
    axis, dtype = bind.const("axis", -1), bind.out_dtype()
    on = torch.tensor(bind.const("on_value", 1), dtype=dtype)
    off = torch.tensor(bind.const("off_value", 0), dtype=dtype)

    def run(indices: torch.Tensor, size: Any) -> torch.Tensor:
        size = size[0] if isinstance(size, list) else size
        check_elements(indices.numel() * size, "the result")
        place = axis % (indices.dim() + 1)
        shape = [-1 if a == place else 1 for a in range(indices.dim() + 1)]
        return torch.where(indices.unsqueeze(place) == torch.arange(size).reshape(shape), on, off)

    return run


@op("band_part", "x", Kind.MOVE)
def band_part(bind: Bind) -> Compute:
    """x [*, m, n], zero outside a band around its diagonals; -1 keeps a whole side."""
    lower, upper = bind.const("lower", -1), bind.const("upper", -1)

    def run(x: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(x.shape[-2])[:, None]
        columns = torch.arange(x.shape[-1])[None, :]
        keep = torch.ones(x.shape[-2:], dtype=torch.bool)
        if lower >= 0:
            keep &= rows - columns <= lower
        if upper >= 0:
            keep &= columns - rows <= upper
        return torch.where(keep, x, torch.zeros_like(x))

    return run


@op("cumsum", "x")
def cumsum(bind: Bind) -> Compute:
    """Running sum along `axis` in the shape of x, optionally without the current element or from
    the end."""
    axis = bind.const("axis", 0)
    exclusive, backwards = bind.const("exclusive", False), bind.const("reverse", False)

    def run(x: torch.Tensor) -> torch.Tensor:
        values = x.flip(axis) if backwards else x
        total = values.cumsum(axis, dtype=x.dtype)
        if exclusive:
            total = total.roll(1, axis)
            total.select(axis, 0).zero_()
        return total.flip(axis) if backwards else total

    return run


@op("non_zero", "x", Kind.MOVE)
def non_zero(bind: Bind) -> Compute:
    """Coordinates of the elements of x that are not zero: [found, rank]."""
    return lambda x: torch.nonzero(x).to(torch.int32)
