"""Pooling whose last windows hang over the edge, without `ceil_mode`.

Core ML is reported to compute average pooling with `ceil_mode` differently from torch (coremltools
issue 2772), so nothing is emitted with it: what hangs over is padded, and where torch's divisor is
not what the padded pooling divides by, a constant corrects it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from entracte.lower.registry import arguments, register, table, value

__all__ = ["cure_pooling"]


def cure_pooling() -> None:
    """Average and maximum pooling with `ceil_mode` or `divisor_override`."""
    for rank in (1, 2, 3):
        register(f"avg_pool{rank}d", _average(rank, table().get_func(f"avg_pool{rank}d")))
        register(f"max_pool{rank}d", _maximum(rank, table().get_func(f"max_pool{rank}d")))


def _numbers(given: Any, rank: int, default: list[int]) -> list[int]:
    read = value(given)
    numbers = [] if read is None else [int(value(n)) for n in np.atleast_1d(read)]
    if not numbers:
        return default
    return numbers * rank if len(numbers) == 1 else numbers


def _overhang(size: int, kernel: int, stride: int, pad: int) -> tuple[int, int]:
    """(windows, what the last one hangs over the padded edge); torch's rule for `ceil_mode`: a
    window begins inside the tensor or its left padding."""
    count = -(-(size + 2 * pad - kernel) // stride) + 1
    if (count - 1) * stride >= size + pad:
        count -= 1
    return count, max(0, (count - 1) * stride + kernel - size - 2 * pad)


def _average(rank: int, stock: Any) -> Any:
    def pool(context: Any, node: Any) -> None:
        x, kernel, stride, pad, ceil, include, divisor = arguments(context, node, 7)
        if not value(ceil) and value(divisor) is None:
            stock(context, node)
            return
        windows = _Windows.of(x, rank, kernel, stride, pad, ceil)
        counts_padding = include is None or bool(value(include))
        context.add(_emit(x, windows, counts_padding, value(divisor), node.name))

    return pool


class _Windows:
    """Where the windows of a pooling lie, by axis."""

    def __init__(
        self, sizes: list[int], kernel: list[int], stride: list[int], pad: list[int], ceil: bool
    ) -> None:
        self.kernel, self.stride, self.pad = kernel, stride, pad
        self._sizes = sizes
        found = [_overhang(*axis) for axis in zip(sizes, kernel, stride, pad, strict=True)]
        self.over = [over if ceil else 0 for _, over in found]

    @classmethod
    def of(  # noqa: PLR0913 - what a node gives
        cls, x: Any, rank: int, kernel: Any, stride: Any, pad: Any, ceil: Any
    ) -> _Windows:
        """Of a node's arguments."""
        sizes = _numbers(kernel, rank, [])
        strides = _numbers(stride, rank, sizes)
        pads = _numbers(pad, rank, [0] * rank)
        return cls([int(n) for n in x.shape[-rank:]], sizes, strides, pads, bool(value(ceil)))

    @property
    def pads(self) -> list[int]:
        """Before and after, axis by axis."""
        pairs = ((p, p + o) for p, o in zip(self.pad, self.over, strict=True))
        return [n for pair in pairs for n in pair]

    def divisors(self) -> Any:
        """torch's, which counts padding but not what hangs over it; one for each window."""
        found = np.ones([1] * len(self._sizes), dtype=np.float32)
        for axis, size in enumerate(self._sizes):
            kernel, stride, pad = self.kernel[axis], self.stride[axis], self.pad[axis]
            whole = size + 2 * pad + self.over[axis]
            starts = np.arange((whole - kernel) // stride + 1) * stride - pad
            counts = np.minimum(starts + kernel, size + pad) - starts
            shape = [1] * len(self._sizes)
            shape[axis] = -1
            found = found * counts.reshape(shape).astype(np.float32)
        return found


def _emit(x: Any, windows: _Windows, counts_padding: bool, divisor: Any, name: str) -> Any:
    from coremltools.converters.mil import Builder as mb

    how = {"kernel_sizes": windows.kernel, "strides": windows.stride}
    if divisor is None and (not counts_padding or not any(windows.over)):
        return mb.avg_pool(
            x=x, **how, pad_type="custom", pad=windows.pads,
            exclude_padding_from_average=not counts_padding, ceil_mode=False, name=name,
        )  # fmt: skip
    if any(windows.pads):
        before = [0, 0] * (x.rank - len(windows.kernel))
        x = mb.pad(x=x, pad=[*before, *windows.pads], mode="constant", constant_val=0.0)
    divisors = windows.divisors() if divisor is None else np.float32(divisor)
    factor = np.float32(np.prod(windows.kernel)) / divisors
    pooled = mb.avg_pool(
        x=x, **how, pad_type="valid", exclude_padding_from_average=False, ceil_mode=False
    )
    return mb.mul(x=pooled, y=factor.astype(np.float32), name=name)


def _maximum(rank: int, stock: Any) -> Any:
    def pool(context: Any, node: Any) -> None:
        x, kernel, stride, pad, dilation, ceil = arguments(context, node, 6)
        is_short = ceil is None  # the stock one wants all six arguments
        is_dilated = _numbers(dilation, rank, [1] * rank) != [1] * rank
        if is_dilated or not (value(ceil) or is_short):
            stock(context, node)
            return
        from coremltools.converters.mil import Builder as mb

        windows = _Windows.of(x, rank, kernel, stride, pad, ceil)
        pooled = mb.max_pool(
            x=x, kernel_sizes=windows.kernel, strides=windows.stride, pad_type="custom",
            pad=windows.pads,
            ceil_mode=False, name=node.name,
        )  # fmt: skip
        context.add(pooled)

    return pool
