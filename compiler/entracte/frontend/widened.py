"""`expand` before an operation that widens what it reads by itself: a tensor less in memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Graph, Node

__all__ = ["read_unwidened"]

_aten = torch.ops.aten

_WIDENING = {
    _aten.add.Tensor,
    _aten.sub.Tensor,
    _aten.mul.Tensor,
    _aten.div.Tensor,
    _aten.maximum.default,
    _aten.minimum.default,
}


def read_unwidened(_: Graph, node: Node) -> None:
    """`functional.normalize` divides by a norm as large as what it normalises."""
    if node.target not in _WIDENING:
        return
    for k, other in ((0, 1), (1, 0)):
        wide, beside = node.args[k], node.args[other]
        if not isinstance(wide, Node) or wide.target is not _aten.expand.default:
            continue
        source = wide.args[0]
        if isinstance(source, Node) and _shape(source, beside) == _shape(node) is not None:
            node.update_arg(k, source)


def _shape(*nodes: object) -> torch.Size | None:
    """Of tensors that are put together; None where one is no tensor."""
    values = [node.meta.get("val") if isinstance(node, Node) else None for node in nodes]
    shapes = [value.shape for value in values if isinstance(value, Tensor)]
    return torch.broadcast_shapes(*shapes) if len(shapes) == len(nodes) else None
