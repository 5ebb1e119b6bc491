"""Gather and scatter families.

Up to iOS16 a negative index counts from the end. From iOS17 on it does not: Core ML refuses it
when `validate_indices` is set and leaves the result undefined when not. Here every index outside
the axis is an error, so that a program that relies on the undefined is found out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from entracte.reference.bind import Bind
from entracte.reference.registry import Compute, Kind, op

_REDUCE = {"mul": "prod", "max": "amax", "min": "amin"}


Wrap = Callable[[torch.Tensor, int], torch.Tensor]


def _from_the_end(indices: torch.Tensor, size: int) -> torch.Tensor:
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


def _as_it_is(indices: torch.Tensor, size: int) -> torch.Tensor:
    # index_select, gather and scatter check the bounds themselves.
    return indices.long()


def _checked(indices: torch.Tensor, size: int) -> torch.Tensor:
    if bool(((indices < 0) | (indices >= size)).any()):
        raise IndexError(f"an index is outside an axis of {size}")
    return indices.long()


def _wrap(bind: Bind) -> Wrap:
    return _from_the_end if bind.opset < 17 else _as_it_is


@op("gather", "x indices", Kind.MOVE)
def gather(bind: Bind) -> Compute:
    """Slices of x [*lead, size, *tail] along `axis` at indices [*i]: [*lead, *i, *tail].

    The first `batch_dims` axes of both are taken in step and are there once.
    """
    rank = bind.rank()
    axis = bind.const("axis", 0) % max(rank, 1)
    batch = bind.const("batch_dims", 0)
    batch = batch + len(bind.in_type("indices").shape) if batch < 0 else batch  # type: ignore[union-attr]
    wrapped = _wrap(bind)
    if batch:
        return lambda x, indices: _batched(x, wrapped(indices, x.shape[axis]), axis, batch)

    def run(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        flat = wrapped(indices, x.shape[axis]).reshape(-1)
        picked = x.index_select(axis, flat)
        return picked.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])

    return run


def _batched(x: torch.Tensor, indices: torch.Tensor, axis: int, batch: int) -> torch.Tensor:
    """x [*batch, *middle, size, *tail] at indices [*batch, *i]: [*batch, *middle, *i, *tail]."""
    lead, middle, tail = x.shape[:batch], x.shape[batch:axis], x.shape[axis + 1 :]
    inner = indices.shape[batch:]
    flat = x.reshape(lead.numel(), middle.numel(), x.shape[axis], tail.numel())
    picks = indices.reshape(lead.numel(), 1, inner.numel(), 1)
    found = flat.gather(2, picks.expand(-1, middle.numel(), -1, tail.numel()))
    return found.reshape(lead + middle + inner + tail)


@op("gather_along_axis", "x indices", Kind.MOVE)
def gather_along_axis(bind: Bind) -> Compute:
    """numpy.take_along_axis: indices and result alike, x differs along `axis` only."""
    axis, wrapped = bind.const("axis", 0), _wrap(bind)
    return lambda x, indices: x.gather(axis, wrapped(indices, x.shape[axis]))


def _nd_index(bind: Bind) -> Callable[[torch.Size, torch.Tensor], tuple[torch.Tensor, ...]]:
    # torch's own indexing would take negative indices.
    wrapped = _from_the_end if bind.opset < 17 else _checked

    def split(shape: torch.Size, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(wrapped(p, shape[i]) for i, p in enumerate(indices.unbind(-1)))

    return split


@op("gather_nd", "x indices", Kind.MOVE)
def gather_nd(bind: Bind) -> Compute:
    """Elements or slices of x [*batch, *found, *tail] at coordinates.

    indices [*batch, *i, number of found axes] to [*batch, *i, *tail]; `batch_dims` says how many
    axes batch is.
    """
    batch, split = bind.const("batch_dims", 0), _nd_index(bind)

    def run(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        if batch == 0:
            return x[split(x.shape, indices)]
        lead = x.shape[:batch]
        flat = x.reshape((lead.numel(), *x.shape[batch:]))
        picks = indices.reshape((lead.numel(), *indices.shape[batch:]))
        rows = torch.arange(lead.numel()).reshape((-1,) + (1,) * (picks.dim() - 2))
        inner = split(flat.shape[1:], picks)
        found = flat[(rows.expand(picks.shape[:-1]), *inner)]
        return found.reshape(lead + found.shape[1:])

    return run


def _combine(mode: str, old: torch.Tensor, new: torch.Tensor, where: torch.Tensor, axis: int
             ) -> torch.Tensor:  # fmt: skip
    """`new` scattered into a copy of `old` along `axis`; `where` has the shape of `new`."""
    if mode == "update":
        return old.scatter(axis, where, new)
    if mode in ("add", "sub"):
        return old.scatter_add(axis, where, new if mode == "add" else -new)
    if mode == "div":
        return old.scatter_reduce(axis, where, torch.reciprocal(new), "prod")
    return old.scatter_reduce(axis, where, new, _REDUCE[mode])


def _mode(bind: Bind) -> str:
    mode: str = bind.const("mode", "add")
    if mode not in ("update", "add", "sub", "div", *_REDUCE):
        raise bind.fail(f"unknown mode {mode!r}")
    if mode == "update":
        bind.kind = Kind.MOVE
    return mode


@op("scatter", "data indices updates")
def scatter(bind: Bind) -> Compute:
    """Whole slices of `updates` into a copy of data [*lead, size, *tail] along `axis`.

    indices [*i], updates [*lead, *i, *tail].
    """
    axis = bind.const("axis", 0) % bind.rank("data")
    mode, wrapped = _mode(bind), _wrap(bind)

    def run(data: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        where = wrapped(indices, data.shape[axis]).reshape(-1)
        updates = updates.reshape(data.shape[:axis] + where.shape + data.shape[axis + 1 :])
        shape = [-1 if a == axis else 1 for a in range(data.dim())]
        return _combine(mode, data, updates, where.reshape(shape).expand_as(updates), axis)

    return run


@op("scatter_along_axis", "data indices updates")
def scatter_along_axis(bind: Bind) -> Compute:
    """Elements of `updates` into a copy of `data` along `axis`.

    indices and updates alike; data differs from them along `axis` only.
    """
    axis = bind.const("axis", 0) % bind.rank("data")
    mode, wrapped = _mode(bind), _wrap(bind)

    def run(data: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        return _combine(mode, data, updates, wrapped(indices, data.shape[axis]), axis)

    return run


@op("scatter_nd", "data indices updates")
def scatter_nd(bind: Bind) -> Compute:
    """Elements or slices into a copy of data [*found, *tail] at coordinates.

    indices [*i, number of found axes], updates [*i, *tail].
    """
    mode, split = _mode(bind), _nd_index(bind)

    def run(data: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        depth = indices.shape[-1]
        lead, tail = data.shape[:depth], data.shape[depth:]
        where = torch.zeros(indices.shape[:-1], dtype=torch.long)
        for size, part in zip(lead, split(data.shape, indices), strict=True):
            where = where * size + part
        flat = data.reshape(lead.numel(), tail.numel())
        rows = updates.reshape(where.numel(), tail.numel())
        where = where.reshape(-1, 1).expand_as(rows)
        return _combine(mode, flat, rows, where, 0).reshape(data.shape)

    return run
