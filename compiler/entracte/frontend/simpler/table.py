"""Operations written in simpler ones, exactly as torch defines them, wherever a converter may not
read an argument or computes something less.

A row is an ATen operation and a function of the same arguments. Some operations are written out
only where an argument asks for it; in the plain case they stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from entracte.frontend.simpler import choices, factors, shapes, sums, tails

__all__ = ["SIMPLER", "is_written_out"]

_aten = torch.ops.aten
Rule = Callable[..., Any]

SIMPLER: dict[object, Rule] = {
    **sums.ROWS, **tails.ROWS, **choices.ROWS, **shapes.ROWS, **factors.ROWS,
}  # fmt: skip
"""What each operation is made of, by its overload."""


def _has_factor(count: int) -> Callable[[Node], bool]:
    """Whether there are more than `count` arguments, and one of them is not the default of 1."""

    def check(node: Node) -> bool:
        extra = [*node.args[count:], *node.kwargs.values()]
        return any(value is not None and value != 1 for value in extra)

    return check


def _has_no_dim(node: Node) -> bool:
    return node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None) is None


def _pads_unusually(node: Node) -> bool:
    pads: Any = node.args[1]
    is_negative = any(n < 0 for n in pads if isinstance(n, int))
    own = node.meta["val"].dtype  # a conversion would make floats of whole numbers
    is_whole = not (own.is_floating_point or own.is_complex)
    return is_negative or is_whole or "circular" in (*node.args[2:3], node.kwargs.get("mode"))


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _has_fewer_indices(node: Node) -> bool:
    source, index = _shape(node.args[0]), _shape(node.args[2])
    dim: Any = node.args[1]
    return any(
        n != m and d != dim % len(source)
        for d, (n, m) in enumerate(zip(source, index, strict=True))
    )


def _is_put_simply(node: Node) -> bool:
    """Where truth values choose what is the same for all, or along a later dimension."""
    indices: Any = node.args[1]
    *before, index = indices
    if not isinstance(index, Node) or any(before) or any(node.args[3:]):
        return False
    rank = index.meta["val"].dim()
    if index.meta["val"].dtype is not torch.bool:
        return bool(before) and rank == 1
    first = len(_shape(node.args[2])) - (len(_shape(node)) - len(before) - rank)
    return bool(first <= 0 or _shape(node.args[2])[first - 1] == 1)


def _is_plain_loss(node: Node) -> bool:
    given: list[Any] = [*node.args[2:5], *(None, 1, -100)[len(node.args) - 2 :]]
    return given[0] is None and bool(given[2] == -100) and not node.kwargs


def _clamps_unusually(node: Node) -> bool:
    if not node.meta["val"].dtype.is_floating_point:
        return True
    end = torch.finfo(torch.float32).max
    bounds = [*node.args[1:3], *node.kwargs.values()]
    return any(isinstance(b, int | float) and abs(b) >= end for b in bounds)


def _divides_whole_numbers(node: Node) -> bool:
    return not node.meta["val"].is_floating_point()


def _first_diagonal(node: Node) -> int:
    given: Any = node.args[1] if len(node.args) > 1 else 0
    return int(given)


def _sums_others(node: Node) -> bool:
    """Truth values, or as another kind."""
    own, asked = node.args[0].meta["val"].dtype, node.kwargs.get("dtype")  # type: ignore[union-attr]
    return bool(own is torch.bool or asked not in (None, own))


def _is_per_channel(node: Node) -> bool:
    weight: Any = node.args[1]
    return weight.meta["val"].numel() > 1 and len(_shape(node)) != 4


_ONLY_IF: dict[object, Callable[[Node], bool]] = {
    _aten.nll_loss_nd.default: _is_plain_loss,
    _aten.nll_loss.default: _is_plain_loss,
    _aten.add.Tensor: _has_factor(2),
    _aten.add.Scalar: _has_factor(2),
    _aten.sub.Tensor: _has_factor(2),
    _aten.sub.Scalar: _has_factor(2),
    _aten.rsub.Tensor: _has_factor(2),
    _aten.rsub.Scalar: _has_factor(2),
    _aten.addmm.default: _has_factor(3),
    _aten.elu.default: _has_factor(2),
    _aten.softmax.int: _has_factor(2),
    _aten.argmax.default: _has_no_dim,
    _aten.argmin.default: _has_no_dim,
    _aten.pad.default: _pads_unusually,
    _aten.constant_pad_nd.default: _pads_unusually,
    _aten.matmul.default: lambda node: 1 in (len(_shape(node.args[0])), len(_shape(node.args[1]))),
    _aten.roll.default: lambda node: len(node.args) < 3 or not node.args[2],
    _aten.gather.default: _has_fewer_indices,
    _aten.index_put.default: _is_put_simply,
    # what coremltools writes as a difference
    _aten.triu.default: lambda node: _first_diagonal(node) > 0,
    _aten.tril.default: lambda node: _first_diagonal(node) < 0,
    _aten.reshape.default: lambda node: not _shape(node) and bool(_shape(node.args[0])),
    _aten.view.default: lambda node: not _shape(node) and bool(_shape(node.args[0])),
    _aten.instance_norm.default: lambda node: not node.args[5],
    _aten.div.Tensor_mode: _divides_whole_numbers,
    _aten.div.Scalar_mode: _divides_whole_numbers,
    _aten.clamp.default: _clamps_unusually,
    _aten.prelu.default: _is_per_channel,
    _aten._prelu_kernel.default: _is_per_channel,
    _aten.sum.default: _sums_others,
    _aten.sum.dim_IntList: _sums_others,
}
"""When an operation of which the plain form stays is written out."""


def is_written_out(node: Node) -> bool:
    """Whether this call has a row that says more than the operation itself."""
    if node.op != "call_function" or node.target not in SIMPLER:
        return False
    asks = _ONLY_IF.get(node.target)
    return asks is None or asks(node)
