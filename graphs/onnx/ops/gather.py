"""Operators that read or write by indices. Negative indices count from the end."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from entracte.graphs.onnx.node import Compute, Node, Rule

__all__ = ["ROWS"]


def _positive(indices: Tensor, size: int) -> Tensor:
    return torch.where(indices < 0, indices + size, indices)


def _check_range(node: Node, *sizes: int) -> None:
    """Constant indices must exist: those of inputs are the run's own affair."""
    if not node.is_constant(1):
        return
    indices = node.value(1).tensor
    for i, size in enumerate(sizes):
        column = indices[..., i] if len(sizes) > 1 else indices
        if column.numel() and not -size <= int(column.min()) <= int(column.max()) < size:
            node.fail(f"reads or writes elements that an axis of {size} does not have")


def _gather(node: Node) -> Compute:
    axis, shape = node.axis(node.attribute("axis")), node.shape()
    wanted = (*shape[:axis], *node.shape(1), *shape[axis + 1 :])
    size = shape[axis]
    if node.is_constant(1):
        given = node.ints(1)
        if any(not -size <= n < size for n in given):
            node.fail(f"reads the elements {given[:5]} of an axis of {size}")
        places = [n % size for n in given]
        if places == list(range(places[0], places[0] + len(places))) if places else False:
            return lambda x, *_: x.narrow(axis, places[0], len(places)).reshape(wanted)
        return lambda x, *_: x.index_select(
            axis, torch.tensor(places, dtype=torch.int64, device=x.device)
        ).reshape(wanted)
    return lambda x, indices: x.index_select(axis, _positive(indices, size).flatten()).reshape(
        wanted
    )


def _gather_elements(node: Node) -> Compute:
    axis = node.axis(node.attribute("axis"))
    size = node.shape()[axis]
    _check_range(node, size)
    return lambda x, indices: torch.gather(x, axis, _positive(indices, size))


def _flat(indices: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """[..., k] indices of axes of these sizes -> [...] indices of all of them as one axis."""
    total = torch.zeros_like(indices[..., 0])
    for i, size in enumerate(sizes):
        total = total * size + _positive(indices[..., i], size)
    return total


def _gather_nd(node: Node) -> Compute:
    batch, shape, given = node.attribute("batch_dims", 0), node.shape(), node.shape(1)
    depth = given[-1]
    if batch + depth > len(shape):
        node.fail(f"reads {depth} axes of {shape} after {batch}")
    sizes, rest = shape[batch : batch + depth], shape[batch + depth :]
    rows, each = prod(shape[:batch]), prod(sizes)
    _check_range(node, *sizes)
    wanted = (*given[:-1], *rest)

    def compute(x: Tensor, indices: Tensor) -> Tensor:
        flat = _flat(indices, sizes).reshape(rows, -1)
        if batch:
            flat = flat + torch.arange(rows, device=x.device)[:, None] * each
        return x.reshape(rows * each, prod(rest)).index_select(0, flat.flatten()).reshape(wanted)

    return compute


def _scatter_nd(node: Node) -> Compute:
    kind, shape, depth = node.attribute("reduction", "none"), node.shape(), node.shape(1)[-1]
    sizes, rest = shape[:depth], shape[depth:]
    each = prod(rest)
    _check_range(node, *sizes)

    def compute(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        flat = _flat(indices, sizes).reshape(-1, 1).expand(-1, each)
        rows = x.reshape(prod(sizes), each)
        return _scattered(rows, 0, flat, updates.reshape(-1, each), kind).reshape(shape)

    return _known(node, kind, compute)


def _scatter_elements(node: Node) -> Compute:
    kind, axis = node.attribute("reduction", "none"), node.axis(node.attribute("axis"))
    shape, given = node.shape(), node.shape(1)
    size = shape[axis]
    _check_range(node, size)
    if all(n == m for i, (n, m) in enumerate(zip(shape, given, strict=True)) if i != axis):
        return _known(
            node,
            kind,
            lambda x, i, updates: _scattered(x, axis, _positive(i, size), updates, kind),
        )
    strides = [prod(shape[i + 1 :]) for i in range(len(shape))]

    def compute(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        """With all axes as one: what is written need not fill the others."""
        flat = _positive(indices, size) * strides[axis]
        for i, count in enumerate(given):
            if i != axis:
                places = torch.arange(count, device=x.device) * strides[i]
                flat = flat + places.reshape([-1 if j == i else 1 for j in range(len(given))])
        made = _scattered(x.reshape(-1), 0, flat.reshape(-1), updates.reshape(-1), kind)
        return made.reshape(shape)

    return _known(node, kind, compute)


def _known(node: Node, kind: str, compute: Compute) -> Compute:
    if kind not in ("none", "add"):
        node.fail(f"reduction={kind!r} is not carried out, only 'none' and 'add'")
    return compute


def _scattered(x: Tensor, axis: int, indices: Tensor, updates: Tensor, kind: str) -> Tensor:
    function = torch.scatter_add if kind == "add" else torch.scatter
    return function(x, axis, indices, updates)


def _one_hot(node: Node) -> Compute:
    depth, (off, on) = int(node.scalar(1)), node.constant(2).tolist()
    rank = node.rank() + 1
    axis = node.axis(node.attribute("axis"), rank)

    def compute(indices: Tensor, *_: object) -> Tensor:
        places = torch.arange(depth, device=indices.device)
        places = places.reshape([depth if i == axis else 1 for i in range(rank)])
        hot = _positive(indices.to(torch.int64), depth).unsqueeze(axis) == places
        return torch.where(hot, on, off)

    return compute


def _non_zero(node: Node) -> Compute:
    if not node.is_constant(0):
        node.fail("how much it finds depends on an input's values")
    return lambda x: torch.nonzero(x).T


ROWS: dict[str, Rule] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonZero": _non_zero,
    "OneHot": _one_hot,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
}
