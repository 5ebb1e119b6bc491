"""Convolutions of one, two and three axes, and transposed ones."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from entracte.graphs.onnx.node import Compute, Node, Rule
from entracte.graphs.onnx.ops.windows import Windows, windows_of

__all__ = ["ROWS"]

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _conv(node: Node) -> Compute:
    made = windows_of(node, node.shape(1)[2:])
    groups, function = node.attribute("group"), _CONV[len(made.kernel)]
    inside = made.before if made.is_even else 0

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x if made.is_even else F.pad(x, made.flat)
        return function(x, weight, bias, made.strides, inside, made.dilations, groups)

    return compute


def _transposed(node: Node) -> Compute:
    made = windows_of(node, node.shape(1)[2:], moving_out=True)
    groups, function = node.attribute("group"), _TRANSPOSED[len(made.kernel)]
    count = len(made.kernel)
    extra = tuple(node.attribute("output_padding", [0] * count))
    if len(extra) != count or min(extra) < 0:
        node.fail(f"output_padding={list(extra)}")
    before, after = _cropped(node, made, extra)
    if before == after:
        return lambda x, weight, bias=None: function(
            x, weight, bias, made.strides, before, extra, groups, made.dilations
        )

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        whole = function(x, weight, bias, made.strides, 0, extra, groups, made.dilations)
        for i in range(count):
            size = whole.shape[2 + i]
            whole = whole.narrow(2 + i, before[i], size - before[i] - after[i])
        return whole

    return compute


def _cropped(
    node: Node, made: Windows, extra: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the padding takes off the whole result, at both ends of each axis."""
    wanted = node.attribute("output_shape")
    if wanted is None and made.auto == "NOTSET":
        return made.before, made.after
    if made.auto == "VALID" and wanted is None:
        return (0,) * len(made.kernel), (0,) * len(made.kernel)
    before, after = [], []
    for i, size in enumerate(node.shape()[2:]):
        result = size * made.strides[i] if wanted is None else wanted[-len(made.kernel) :][i]
        total = made.strides[i] * (size - 1) + extra[i] + made.reach(i) - result
        if total < 0:
            node.fail(f"its result would be {-total} elements wider than what it computes")
        small, large = total // 2, total - total // 2
        before.append(small if made.auto == "SAME_UPPER" else large)
        after.append(large if made.auto == "SAME_UPPER" else small)
    return tuple(before), tuple(after)


ROWS: dict[str, Rule] = {"Conv": _conv, "ConvTranspose": _transposed}
