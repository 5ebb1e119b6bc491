"""Views: reshape, squeeze, transpose and their kin."""

from __future__ import annotations

import math

import torch

from entracte.reference.bind import Bind
from entracte.reference.registry import Compute, Kind, op, plain

plain("identity", "x", lambda x: x, Kind.MOVE)


@op("reshape", "x #shape", Kind.MOVE)
def reshape(bind: Bind) -> Compute:
    """Same elements of x in a new `shape`; 0 keeps a dimension, -1 takes what is left."""
    shape = bind.const("shape") if bind.is_constant("shape") else None
    if shape is not None and 0 not in shape:
        return lambda x, _: x.reshape(shape)

    def run(x: torch.Tensor, shape: list[int]) -> torch.Tensor:
        if 0 in shape:
            shape = _inherit(shape, x.shape)
        return x.reshape(shape)

    return run


def _inherit(shape: list[int], old: torch.Size) -> list[int]:
    """Zeros take the old dimension, counted from the right; beyond its rank they are 1."""
    shift = len(old) - len(shape)
    return [s or (old[i + shift] if i + shift >= 0 else 1) for i, s in enumerate(shape)]


@op("reshape_like", "x ref_tensors*", Kind.MOVE)
def reshape_like(bind: Bind) -> Compute:
    """Same elements of x in a shape that is put together from slices of other tensors' shapes."""

    def listed(name: str) -> list[int]:
        found = bind.const(name)
        return found if isinstance(found, list) else [found]

    begins, ends, masks = listed("begins"), listed("ends"), listed("end_masks")

    def run(x: torch.Tensor, refs: list[torch.Tensor]) -> torch.Tensor:
        shape: list[int] = []
        for ref, begin, end, mask in zip(refs, begins, ends, masks, strict=True):
            shape += ref.shape[begin:] if mask else ref.shape[begin:end]
        return x.reshape(shape)

    return run


@op("squeeze", "x", Kind.MOVE)
def squeeze(bind: Bind) -> Compute:
    """Drop axes of size 1 of x: the given ones, or all."""
    axes = bind.const("axes")
    if axes is None:
        return torch.squeeze
    axes = tuple(axes) if isinstance(axes, list) else (axes,)
    return lambda x: x.squeeze(axes)


@op("expand_dims", "x", Kind.MOVE)
def expand_dims(bind: Bind) -> Compute:
    """Insert axes of size 1 into x at places counted in the result."""
    axes = bind.ints("axes")
    if len(axes) == 1:
        return lambda x: x.unsqueeze(axes[0])
    rank = bind.rank() + len(axes)
    places = sorted(a % rank for a in axes)

    def run(x: torch.Tensor) -> torch.Tensor:
        for place in places:
            x = x.unsqueeze(place)
        return x

    return run


@op("transpose", "x", Kind.MOVE)
def transpose(bind: Bind) -> Compute:
    """Permute the axes of x: axis k of the result is axis `perm[k]`."""
    perm = bind.ints("perm")
    return lambda x: x.permute(perm)


@op("flatten2d", "x", Kind.MOVE)
def flatten2d(bind: Bind) -> Compute:
    """x to two axes: everything before `axis`, everything from it on."""
    axis = bind.const("axis", 1)

    def run(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))

    return run


@op("shape", "x", Kind.MOVE)
def shape_of(bind: Bind) -> Compute:
    """The shape of x as a vector [rank]."""
    dtype = bind.out_dtype()
    return lambda x: torch.tensor(x.shape, dtype=dtype)
