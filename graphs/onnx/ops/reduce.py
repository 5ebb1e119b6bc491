"""Operators that take axes together, or look along one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from entracte.graphs.onnx.node import Compute, Node, Rule

__all__ = ["ROWS"]

Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _axes(node: Node) -> list[int] | None:
    """From the attribute or, in later opsets, the second input; None for nothing to reduce."""
    given = node.ints(1) if node.has(1) else node.attribute("axes")
    does_nothing = bool(node.attribute("noop_with_empty_axes", 0))
    if not given:
        return None if does_nothing else list(range(node.rank()))
    return [node.axis(a) for a in given]


def _reduce(function: Reduce, *, before: Callable[[Tensor], Tensor] | None = None) -> Rule:
    def row(node: Node) -> Compute:
        axes, keep = _axes(node), bool(node.attribute("keepdims"))
        if axes is None:
            return lambda x, *_: x if before is None else before(x)
        if not node.rank():
            return lambda x, *_: function(x.reshape(1), [0], False)
        return lambda x, *_: function(x, axes, keep)

    return row


def _prod(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _extreme(function: Reduce) -> Reduce:
    def reduce(x: Tensor, axes: list[int], keep: bool) -> Tensor:
        if x.dtype is torch.bool:
            return function(x.to(torch.int64), axes, keep) != 0
        return function(x, axes, keep)

    return reduce


def _arg(largest: bool) -> Rule:
    def row(node: Node) -> Compute:
        axis, keep = node.axis(node.attribute("axis")), bool(node.attribute("keepdims"))
        last = bool(node.attribute("select_last_index", 0))
        size = node.shape()[axis]
        function = torch.argmax if largest else torch.argmin

        def compute(x: Tensor) -> Tensor:
            found = function(torch.flip(x, [axis]) if last else x, axis, keepdim=keep)
            return size - 1 - found if last else found

        return compute

    return row


def _cumulate(node: Node) -> Compute:
    axis = node.axis(int(node.scalar(1)))
    exclusive, reverse = bool(node.attribute("exclusive")), bool(node.attribute("reverse"))

    def compute(x: Tensor, *_: object) -> Tensor:
        given = torch.flip(x, [axis]) if reverse else x
        total = torch.cumsum(given, axis)
        total = total - given if exclusive else total
        return torch.flip(total, [axis]) if reverse else total

    return compute


def _top(node: Node) -> Compute:
    axis = node.axis(node.attribute("axis", -1))
    count = int(node.scalar(1)) if node.has(1) else node.attribute("k")
    largest = bool(node.attribute("largest", 1))
    node.attribute("sorted")  # any order is allowed where it is off
    if not 0 < count <= node.shape()[axis]:
        node.fail(f"k={count} of {node.shape()[axis]}")
    return lambda x, *_: tuple(torch.topk(x, count, axis, largest))


def _softmax(function: Callable[[Tensor, int], Tensor]) -> Rule:
    """Before opset 13 all axes from `axis` on are one."""

    def row(node: Node) -> Compute:
        axis, shape = node.axis(node.attribute("axis")), node.shape()
        if node.opset >= 13 or axis == len(shape) - 1:
            return lambda x: function(x, axis)
        return lambda x: function(x.flatten(axis), axis).reshape(shape)

    return row


def _hardmax(x: Tensor, axis: int) -> Tensor:
    size = x.shape[axis]
    place = torch.arange(size, device=x.device).reshape([-1] + [1] * (x.dim() - 1 - axis))
    return (torch.argmax(x, axis, keepdim=True) == place).to(x.dtype)


def _log_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.log(torch.sum(x, axes, keep))


ROWS: dict[str, Rule] = {
    "ArgMax": _arg(largest=True),
    "ArgMin": _arg(largest=False),
    "CumSum": _cumulate,
    "Hardmax": _softmax(_hardmax),
    "LogSoftmax": _softmax(lambda x, axis: torch.log_softmax(x, axis)),
    "ReduceL1": _reduce(lambda x, a, k: torch.sum(torch.abs(x), a, k), before=torch.abs),
    "ReduceL2": _reduce(lambda x, a, k: torch.sqrt(torch.sum(x * x, a, k)), before=torch.abs),
    "ReduceLogSum": _reduce(_log_sum, before=torch.log),
    "ReduceLogSumExp": _reduce(torch.logsumexp),
    "ReduceMax": _reduce(_extreme(torch.amax)),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(_extreme(torch.amin)),
    "ReduceProd": _reduce(_prod),
    "ReduceSum": _reduce(torch.sum),
    "ReduceSumSquare": _reduce(lambda x, a, k: torch.sum(x * x, a, k), before=torch.square),
    "Softmax": _softmax(lambda x, axis: torch.softmax(x, axis)),
    "TopK": _top,
}
