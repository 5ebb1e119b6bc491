"""Slices, concatenation, padding."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from entracte.reference.allowance import check_elements
from entracte.reference.bind import Bind
from entracte.reference.errors import PackageError
from entracte.reference.registry import Compute, Kind, op

Ints = list[int]
Index = tuple[slice | int, ...]


class _Slices:
    """Masks and strides of `slice_by_index` and `slice_update`."""

    def __init__(self, bind: Bind) -> None:
        rank = bind.rank()
        none = [False] * rank
        self.strides = bind.ints("stride", [1] * rank)
        self.begin_mask = bind.const("begin_mask", none)
        self.end_mask = bind.const("end_mask", none)
        self.squeeze = bind.const("squeeze_mask", none)
        if 0 in self.strides:
            raise bind.fail("a stride is 0")

    def resolve(self, shape: torch.Size, begin: Ints, end: Ints) -> tuple[Index, tuple[int, ...]]:
        """(torch index with positive steps, axes to mirror afterwards)."""
        index: list[slice | int] = []
        mirrored: list[int] = []
        for axis, size in enumerate(shape):
            step = self.strides[axis]
            first = None if self.begin_mask[axis] else begin[axis]
            if self.squeeze[axis]:
                index.append(0 if first is None else first)
                continue
            picked = range(*slice(first, self._end(axis, end), step).indices(size))
            if step > 0:
                index.append(slice(picked.start, picked.stop, step))
                continue
            # torch has no negative steps: take the same elements upwards, then mirror.
            mirrored.append(sum(isinstance(i, slice) for i in index))
            low = picked[-1] if len(picked) else 0
            index.append(slice(low, picked[0] + 1 if len(picked) else 0, -step))
        return tuple(index), tuple(mirrored)

    def _end(self, axis: int, end: Ints) -> int | None:
        if self.end_mask[axis]:
            return None
        return end[axis]


@op("slice_by_index", "x #begin #end", Kind.MOVE)
def slice_by_index(bind: Bind) -> Compute:
    """x[begin:end:stride, ...] with masks; a squeezed axis is indexed at its begin, and gone.

    begin, end: one number for each axis of x.
    """
    slices = _Slices(bind)
    if bind.is_constant("begin") and bind.is_constant("end"):
        return _fixed_slice(bind, slices)

    def run(x: torch.Tensor, begin: Ints, end: Ints) -> torch.Tensor:
        index, mirrored = slices.resolve(x.shape, begin, end)
        return x[index].flip(mirrored) if mirrored else x[index]

    return run


def _fixed_slice(bind: Bind, slices: _Slices) -> Compute:
    begin, end = bind.ints("begin"), bind.ints("end")
    cache: dict[torch.Size, tuple[Index, tuple[int, ...]]] = {}

    def run(x: torch.Tensor, _b: Ints, _e: Ints) -> torch.Tensor:
        if x.shape not in cache:
            cache[x.shape] = slices.resolve(x.shape, begin, end)
        index, mirrored = cache[x.shape]
        return x[index].flip(mirrored) if mirrored else x[index]

    return run


@op("slice_update", "x update #begin #end", Kind.MOVE)
def slice_update(bind: Bind) -> Compute:
    """A copy of x with x[begin:end:stride, ...] replaced by `update`, which has that shape."""
    slices = _Slices(bind)

    def run(x: torch.Tensor, update: torch.Tensor, begin: Ints, end: Ints) -> torch.Tensor:
        index, mirrored = slices.resolve(x.shape, begin, end)
        result = x.clone()
        target = result[index]
        target.copy_((update.flip(mirrored) if mirrored else update).reshape(target.shape))
        return result

    return run


@op("slice_by_size", "x #begin #size", Kind.MOVE)
def slice_by_size(bind: Bind) -> Compute:
    """`size` elements of x from `begin` on along each axis; size -1 goes to the end."""

    def run(x: torch.Tensor, begin: Ints, size: Ints) -> torch.Tensor:
        for axis, (start, count) in enumerate(zip(begin, size, strict=True)):
            start = start + x.shape[axis] if start < 0 else start
            x = x.narrow(axis, start, x.shape[axis] - start if count == -1 else count)
        return x

    return run


@op("concat", "values*", Kind.MOVE)
def concat(bind: Bind) -> Compute:
    """Join along `axis`, or interleave element by element; scalars join to a vector [count].

    The tensors are alike but for their size along `axis`, which adds up.
    """
    axis = bind.const("axis")

    def joined(values: list[torch.Tensor]) -> torch.Tensor:
        if values[0].dim() == 0:
            return torch.stack(values)
        return torch.cat(values, axis)

    def interleaved(values: list[torch.Tensor]) -> torch.Tensor:
        place = axis % values[0].dim()
        return torch.stack(values, place + 1).flatten(place, place + 1)

    return interleaved if bind.const("interleave", False) else joined


@op("stack", "values*", Kind.MOVE)
def stack(bind: Bind) -> Compute:
    """Join tensors of one shape along a new axis, whose size is their number."""
    axis = bind.const("axis")
    return lambda values: torch.stack(values, axis)


@op("split", "x", Kind.MOVE)
def split(bind: Bind) -> Compute:
    """Equal parts of x, or parts of the given sizes, along `axis`."""
    axis = bind.const("axis")
    if len(bind.operation.outputs) == 1:
        # One part is the whole, and not a tuple of one.
        return lambda x: x
    if bind.has("split_sizes"):
        sizes = bind.ints("split_sizes")
        return lambda x: torch.split(x, sizes, axis)
    parts = bind.const("num_splits")
    return lambda x: torch.split(x, x.shape[axis] // parts, axis)


@op("tile", "x #reps", Kind.MOVE)
def tile(bind: Bind) -> Compute:
    """Repeat whole axes of x: each is `reps` times as long."""

    def run(x: torch.Tensor, reps: Ints) -> torch.Tensor:
        check_elements(x.numel() * math.prod(reps), "the result")
        return x.repeat(reps)

    return run


@op("pad", "x #pad", Kind.MOVE)
def pad(bind: Bind) -> Compute:
    """Pad the last axes of x with a constant, mirrored or repeated elements.

    pad: (before, after) of each of those axes, in their order.
    """
    mode = bind.const("mode", "constant")
    value = bind.const("constant_val", 0)
    if mode not in ("constant", "reflect", "replicate", "symmetric"):
        raise bind.fail(f"unknown mode {mode!r}")
    if bind.strict and mode != "constant":
        _strict_pad(bind, mode)

    def run(x: torch.Tensor, amounts: Ints) -> torch.Tensor:
        first = x.dim() - len(amounts) // 2
        pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
        sizes = [x.shape[first + i] + b + a for i, (b, a) in enumerate(pairs)]
        check_elements(math.prod(x.shape[:first]) * math.prod(sizes), "the result")
        if mode == "constant":
            return functional.pad(x, [n for pair in reversed(pairs) for n in pair], value=value)
        for axis, (before, after) in enumerate(pairs, first):
            if before or after:
                x = x.index_select(axis, _border(x.shape[axis], before, after, mode))
        return x

    return run


def _border(size: int, before: int, after: int, mode: str) -> torch.Tensor:
    """Source index of each padded position."""
    index = torch.arange(-before, size + after)
    if mode == "replicate":
        return index.clamp(0, size - 1)
    # A mirror with (symmetric) or without (reflect) its edge, repeated as often as needed.
    period = max(2 * size if mode == "symmetric" else 2 * (size - 1), 1)
    folded = index % period
    last = period - 1 if mode == "symmetric" else period
    return torch.where(folded < size, folded, last - folded)


def _strict_pad(bind: Bind, mode: str) -> None:
    """Core ML refuses mirrored or repeated padding off the last two axes (coremltools #2701)."""
    if not bind.is_constant("pad"):
        return
    amounts = bind.ints("pad")
    if any(amounts[:-4]):
        error: PackageError = bind.fail(f"Core ML refuses {mode} padding off the last two axes")
        raise error
