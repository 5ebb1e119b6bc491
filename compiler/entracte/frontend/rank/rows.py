"""How an operation on values of many dimensions is written with few."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.fx import Node

from entracte.frontend.rank.flat import Flat, shape_of
from entracte.frontend.statistics import kind_of

__all__ = ["row_of"]

_aten = torch.ops.aten
Row = Callable[[Flat, Node], Any]


def row_of(node: Node) -> Row | None:
    """What writes it; None where nothing does."""
    if node.target is operator.getitem:
        return _part
    row = _ROWS.get(kind_of(node))
    if row is not None:
        return row
    tags = getattr(node.target, "tags", ())
    return _pointwise if torch.Tag.pointwise in tags else None


def _argument(node: Node, position: int, name: str, default: Any = None) -> Any:
    if name in node.kwargs:
        return node.kwargs[name]
    return node.args[position] if len(node.args) > position else default


def _source(node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)
    return source


def _axis(node: Node, position: int = 1, default: int = 0) -> int:
    """Of its first argument, counted from the front."""
    dim = _argument(node, position, "dim", default)
    return int(dim) % len(shape_of(_source(node)))


# ---------------------------------------------------------------- what moves nothing
def _same(flat: Flat, node: Node) -> Node:
    return flat.of(_source(node))


def _part(flat: Flat, node: Node) -> Node:
    source, index = node.args
    parts = flat.parts(source) if isinstance(source, Node) else None
    return parts[int(index)] if parts else node  # type: ignore[arg-type, call-overload]


# ---------------------------------------------------------------- what moves
def _permute(flat: Flat, node: Node) -> Node:
    source = _source(node)
    rank = len(shape_of(source))
    order = [int(d) % rank for d in _argument(node, 1, "dims")]
    return _moved(flat, source, order)


def _transpose(flat: Flat, node: Node) -> Node:
    source = _source(node)
    order = list(range(len(shape_of(source))))
    a, b = (int(d) % len(order) for d in node.args[1:3])  # type: ignore[arg-type]
    order[a], order[b] = order[b], order[a]
    return _moved(flat, source, order)


def _moved(flat: Flat, source: Node, order: Sequence[int]) -> Node:
    return flat.permuted(flat.of(source), shape_of(source), order)


def _expand(flat: Flat, node: Node) -> Node:
    return flat.expanded(_source(node), shape_of(node))


def _repeat(flat: Flat, node: Node) -> Node:
    source = _source(node)
    times = [int(n) for n in _argument(node, 1, "repeats")]
    own = shape_of(source)
    own = [1] * (len(times) - len(own)) + own
    made = flat.of(source)
    for axis, count in enumerate(times):
        if count == 1:
            continue
        made = flat.again(made, [prod(own[:axis]), own[axis], prod(own[axis + 1 :])])
        made = flat.write(_aten.repeat.default, made, [1, count, 1])
        own[axis] *= count
    return made


# ---------------------------------------------------------------- along one axis
def _along(flat: Flat, node: Node) -> Any:
    """With the dimension second among the arguments and the rest after it."""
    axis = _axis(node)
    made = flat.sides(_source(node), axis)
    rest = {k: v for k, v in node.kwargs.items() if k != "dim"}
    return flat.write(node.target, made, 1, *node.args[2:], **rest)


def _several(flat: Flat, node: Node) -> Any:
    """The parts along an axis: of `split`, the sizes come first."""
    position = 1 if kind_of(node) == "unbind" else 2
    axis = _axis(node, position)
    made = flat.sides(_source(node), axis)
    made = flat.write(node.target, made, *node.args[1:position], 1)
    return [flat.write(operator.getitem, made, i) for i in range(len(made.meta["val"]))]


def _joined(flat: Flat, node: Node) -> Node:
    operands: Any = node.args[0]
    adds = kind_of(node) == "stack"
    rank = len(shape_of(operands[0])) + adds
    axis = int(_argument(node, 1, "dim", 0)) % rank
    made = [flat.sides(operand, axis, 0 if adds else 1) for operand in operands]
    return flat.write(node.target, made, 1)


def _flip(flat: Flat, node: Node) -> Node:
    shape = shape_of(_source(node))
    made = flat.of(_source(node))
    for dim in _argument(node, 1, "dims"):
        axis = int(dim) % len(shape)
        made = flat.again(made, [prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])])
        made = flat.write(_aten.flip.default, made, [1])
    return made


# ---------------------------------------------------------------- what computes
def _pointwise(flat: Flat, node: Node) -> Node:
    """All operands as one run of numbers if they are alike; else in as few axes as say which of
    them are broadcast."""
    shape = shape_of(node)
    tensors = [n for n in node.all_input_nodes if shape_of(n)]
    own = {n: [1] * (len(shape) - len(shape_of(n))) + shape_of(n) for n in tensors}
    runs: list[list[int]] = []
    for axis, size in enumerate(shape):
        how = [own[n][axis] == 1 for n in tensors]
        if size == 1:
            continue
        if runs and how == [own[n][runs[-1][-1]] == 1 for n in tensors]:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    if len(runs) > flat.most:
        given = {n: flat.again(flat.expanded(n, shape), [prod(shape)]) for n in tensors}
    else:
        given = {
            n: flat.reshaped(n, [prod(own[n][a] for a in run) for run in runs] or [1])
            for n in tensors
        }
    return flat.write(node.target, *_put(node.args, given), **_put_named(node.kwargs, given))


def _put(arguments: Sequence[Any], given: dict[Node, Node]) -> list[Any]:
    return [given.get(a, a) if isinstance(a, Node) else a for a in arguments]


def _put_named(arguments: Any, given: dict[Node, Node]) -> dict[str, Any]:
    return {k: given.get(v, v) if isinstance(v, Node) else v for k, v in arguments.items()}


def _reduced(flat: Flat, node: Node) -> Node:
    """[what stays, what is reduced]."""
    source = _source(node)
    shape = shape_of(source)
    dims = _argument(node, 1, "dim")
    dims = [dims] if isinstance(dims, int) else dims
    inner = sorted({int(d) % len(shape) for d in (dims or range(len(shape)))})
    outer = [axis for axis in range(len(shape)) if axis not in inner]
    made = _moved(flat, source, [*outer, *inner])
    made = flat.again(made, [prod(shape[a] for a in outer), prod(shape[a] for a in inner)])
    named = {k: v for k, v in node.kwargs.items() if k not in ("dim", "keepdim")}
    return flat.write(node.target, made, [1], False, **named)


def _rows(flat: Flat, node: Node) -> Node:
    """Of a linear layer: all but the last axis are rows."""
    source = _source(node)
    shape = shape_of(source)
    made = flat.reshaped(source, [prod(shape[:-1]), shape[-1]])
    return flat.write(node.target, made, *node.args[1:], **node.kwargs)


def _layer_norm(flat: Flat, node: Node) -> Node:
    source = _source(node)
    normal = [int(n) for n in _argument(node, 1, "normalized_shape")]
    shape = shape_of(source)
    made = flat.reshaped(source, [prod(shape[: len(shape) - len(normal)]), *normal])
    return flat.write(node.target, made, *node.args[1:], **node.kwargs)


def _matmul(flat: Flat, node: Node) -> Node:
    """One product for each of all matrices before the last two axes."""
    x, y = node.args[:2]
    assert isinstance(x, Node) and isinstance(y, Node)
    batch = shape_of(node)[:-2]
    given = []
    for operand in (x, y):
        matrix = shape_of(operand)[-2:]
        made = flat.expanded(operand, [*batch, *matrix])
        given.append(flat.again(made, [prod(batch), *matrix]))
    return flat.write(_aten.matmul.default, *given)


def _attention(flat: Flat, node: Node) -> Node:
    """All before the last three axes in one; a mask is expanded to that."""
    parts: Any = node.args[:3]
    batch = shape_of(node)[:-3]
    given = [
        flat.reshaped(part, [prod(shape_of(part)[:-3]), *shape_of(part)[-3:]]) for part in parts
    ]
    mask = _argument(node, 3, "attn_mask")
    named = {k: v for k, v in node.kwargs.items() if k != "attn_mask"}
    if mask is not None:
        tail = shape_of(mask)[-3:] if len(shape_of(mask)) > 2 else [1, *shape_of(mask)]
        wide = flat.expanded(mask, [*batch, *tail])
        mask = flat.again(wide, [prod(batch), *tail])
    return flat.write(node.target, *given, mask, *node.args[4:], **named)


_ROWS: dict[str, Row] = {
    **dict.fromkeys(("reshape", "view", "_unsafe_view", "unsqueeze", "squeeze"), _same),
    **dict.fromkeys(("select", "slice", "softmax", "_softmax", "cumsum", "index_select"), _along),
    **dict.fromkeys(("unbind", "split", "split_with_sizes", "chunk"), _several),
    **dict.fromkeys(("cat", "stack", "concatenate", "concat"), _joined),
    **dict.fromkeys(("sum", "mean", "amax", "amin"), _reduced),
    "permute": _permute,
    "transpose": _transpose,
    "expand": _expand,
    "repeat": _repeat,
    "flip": _flip,
    "_to_copy": _pointwise,
    "linear": _rows,
    "layer_norm": _layer_norm,
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
}
"""Kind of operation -> what writes it; those that compute number by number need no row."""
