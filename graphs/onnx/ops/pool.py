"""Poolings, with windows that may hang over the end."""

from __future__ import annotations

from functools import reduce
from itertools import product
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from entracte.graphs.onnx.node import Compute, Node, Rule
from entracte.graphs.onnx.ops.windows import Windows, windows_of

__all__ = ["ROWS"]

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _over(node: Node, made: Windows) -> tuple[int, ...]:
    """How far the last windows hang over the padded end; 0 for all unless sizes are rounded up."""
    over = []
    for i, size in enumerate(node.shape()[2:]):
        padded = size + made.before[i] + made.after[i]
        moves = -(-(padded - made.reach(i)) // made.strides[i])
        if moves * made.strides[i] >= size + made.before[i]:
            moves -= 1  # it would begin behind the input
        over.append(max(moves * made.strides[i] + made.reach(i) - padded, 0))
    return tuple(over) if node.attribute("ceil_mode", 0) else (0,) * len(over)


def _wider(made: Windows, over: tuple[int, ...]) -> Windows:
    after = tuple(a + o for a, o in zip(made.after, over, strict=True))
    return Windows(made.kernel, made.strides, made.dilations, made.before, after, made.auto)


def _pads_in_torch(made: Windows) -> bool:
    small = all(p <= k // 2 for p, k in zip(made.before, made.kernel, strict=True))
    return made.is_even and small


def _max(node: Node) -> Compute:
    node.one_output()
    node.only("storage_order", 0)
    kernel = node.attribute("kernel_shape")
    made = windows_of(node, kernel)
    made = _wider(made, _over(node, made))
    if set(made.dilations) != {1}:
        return lambda x: _dilated_max(F.pad(x, made.flat, value=float("-inf")), made)
    function, inside = _MAX[len(kernel)], _pads_in_torch(made)

    def compute(x: Tensor) -> Tensor:
        x = x if inside else F.pad(x, made.flat, value=float("-inf"))
        padding = made.before if inside else 0
        return function(x, made.kernel, made.strides, padding)

    return compute


def _dilated_max(x: Tensor, made: Windows) -> Tensor:
    """The largest of one slice for each place of the window: the device's pooling has no
    dilation."""
    slices = []
    for place in product(*(range(k) for k in made.kernel)):
        part = x
        for i, at in enumerate(place):
            moves = (x.shape[2 + i] - made.reach(i)) // made.strides[i]
            start = at * made.dilations[i]
            stop = start + moves * made.strides[i] + 1
            rest: list[Any] = [slice(None)] * (len(made.kernel) - i - 1)
            part = part[(..., slice(start, stop, made.strides[i]), *rest)]
        slices.append(part)
    return reduce(torch.maximum, slices)


def _average(node: Node) -> Compute:
    kernel = node.attribute("kernel_shape")
    made = windows_of(node, kernel)
    if set(made.dilations) != {1}:
        node.fail(f"dilations={list(made.dilations)} are not carried out")
    over, counts_padding = _over(node, made), bool(node.attribute("count_include_pad"))
    function, wide = _AVERAGE[len(kernel)], _wider(made, over)
    if _pads_in_torch(wide) and not any(over):
        return lambda x: function(x, made.kernel, made.strides, made.before, False, counts_padding)
    shares = _shares(node, made, over, counts_padding)

    def compute(x: Tensor) -> Tensor:
        means = function(F.pad(x, wide.flat), made.kernel, made.strides)
        for axis, share in enumerate(shares, 2):
            if set(share) != {1.0}:
                sizes = [-1 if i == axis else 1 for i in range(x.dim())]
                means = means * torch.tensor(share, device=x.device).reshape(sizes)
        return means

    return compute


def _shares(
    node: Node, made: Windows, over: tuple[int, ...], counts_padding: bool
) -> list[list[float]]:
    """Of each window along each axis: its size by how many of its elements count."""
    shares = []
    for i, size in enumerate(node.shape()[2:]):
        padded = size + made.before[i] + made.after[i]
        counted = range(padded) if counts_padding else range(made.before[i], made.before[i] + size)
        last = padded + over[i] - made.kernel[i]
        shares.append(
            [
                made.kernel[i] / max(_common(counted, start, start + made.kernel[i]), 1)
                for start in range(0, last + 1, made.strides[i])
            ]
        )
    return shares


def _common(counted: range, start: int, stop: int) -> int:
    return len(range(max(counted.start, start), min(counted.stop, stop)))


def _spread(x: Tensor) -> list[int]:
    return list(range(2, x.dim()))


def _lp(node: Node) -> Compute:
    node.only("ceil_mode", 0)
    kernel = node.attribute("kernel_shape")
    made, power = windows_of(node, kernel), node.attribute("p")
    if set(made.dilations) != {1}:
        node.fail(f"dilations={list(made.dilations)} are not carried out")
    function, count = _AVERAGE[len(kernel)], prod(kernel)

    def compute(x: Tensor) -> Tensor:
        powers = F.pad(torch.abs(x) ** power, made.flat)
        return (function(powers, made.kernel, made.strides) * count) ** (1 / power)

    return compute


ROWS: dict[str, Rule] = {
    "AveragePool": _average,
    "GlobalAveragePool": lambda node: lambda x: torch.mean(x, _spread(x), True),
    "GlobalMaxPool": lambda node: lambda x: torch.amax(x, _spread(x), True),
    "LpPool": _lp,
    "MaxPool": _max,
}
