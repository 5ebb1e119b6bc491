"""Sums and means of squares, by what is computed and not by how it is spelled.

The square of 256 overflows fp16 and the square of a thousandth vanishes in it; norms, variances and
their roots are made of such squares, with `pow`, `x * x`, `square`, a product of a vector with
itself, `sqrt`, `rsqrt`, a power, or none at all.
"""

from __future__ import annotations

from math import prod

from torch import Tensor
from torch.fx import Graph, Node

from entracte.frontend.backend import Islands

__all__ = ["VIEWS", "kind_of", "size_of", "statistics"]

VIEWS = frozenset({
    "reshape", "view", "unsqueeze", "squeeze", "permute", "transpose", "t", "expand", "_to_copy",
})  # fmt: skip
"""ATen operations that only move values or change their type."""
_EDGES = frozenset({"pad", "constant_pad_nd"})
_PRODUCTS = frozenset({"bmm", "matmul"})


def kind_of(node: Node) -> str:
    """`aten.pow.Tensor_Scalar` -> `pow`; empty for what is no ATen operation."""
    parts = str(node.target).split(".") if node.op == "call_function" else []
    return parts[1] if len(parts) == 3 and parts[0] == "aten" else ""


def size_of(node: Node) -> int:
    """Elements of the tensor that a node makes."""
    value = node.meta.get("val")
    return prod(int(d) for d in value.shape) if isinstance(value, Tensor) else 0


def statistics(graph: Graph, islands: Islands) -> frozenset[str]:
    """Names of all values from the squares to where a whole tensor is scaled by what they gave.

    A difference that is squared is among them, with the mean in it: a variance of values far from
    zero is the difference of what fp16 rounds.
    """
    found: set[str] = set()
    for node in graph.nodes:
        inside = _squares_below(node, islands)
        if inside:
            found |= inside | {node.name} | _spread(node, islands)
    return frozenset(found)


def _squares_below(node: Node, islands: Islands) -> set[str]:
    """What a reduction reduces, if those are squares; empty if they are not."""
    if kind_of(node) in _PRODUCTS:
        return _self_product(node)
    if kind_of(node) not in islands.reductions:
        return set()
    found: set[str] = set()
    source = node.all_input_nodes[0]
    while kind_of(source) in VIEWS | _EDGES or _is_scaling(source):
        found.add(source.name)
        source = source.all_input_nodes[0]
    if not _is_square(source, islands):
        return set()
    return found | {source.name} | _centring(source.all_input_nodes[0], islands)


def _is_scaling(node: Node) -> bool:
    """A product with or a quotient by a number."""
    return kind_of(node) in {"mul", "div"} and len(node.all_input_nodes) == 1 and _has_number(node)


def _has_number(node: Node) -> bool:
    return any(isinstance(argument, int | float) for argument in node.args)


def _self_product(node: Node) -> set[str]:
    """The views in a product of vectors with themselves: a sum of squares."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or tuple(value.shape[-2:]) != (1, 1):
        return set()
    sides = [_behind_views(source) for source in node.args if isinstance(source, Node)]
    same = len(sides) == 2 and sides[0][0] is sides[1][0]
    return set().union(*(names for _, names in sides), {node.name}) if same else set()


def _behind_views(node: Node) -> tuple[Node, set[str]]:
    names: set[str] = set()
    while kind_of(node) in VIEWS:
        names.add(node.name)
        node = node.all_input_nodes[0]
    return node, names


def _is_square(node: Node, islands: Islands) -> bool:
    """Or a higher power, or a size: sums of all of them are norms."""
    kind = kind_of(node)
    if kind == islands.product:
        return len(node.args) > 1 and node.args[0] is node.args[1]
    exponent = node.args[1] if len(node.args) > 1 else 2
    is_power = isinstance(exponent, int | float) and exponent >= 2
    return kind in islands.sizes or (kind in islands.squares and is_power)


def _centring(node: Node, islands: Islands) -> set[str]:
    """The subtraction of a mean, and that mean."""
    if kind_of(node) == "abs":
        return {node.name} | _centring(node.all_input_nodes[0], islands)
    if kind_of(node) != "sub" or len(node.all_input_nodes) != 2:
        return set()
    mean, names = _behind_views(node.all_input_nodes[1])
    return {node.name, mean.name} | names if kind_of(mean) in islands.reductions else set()


def _spread(node: Node, islands: Islands) -> set[str]:
    """What is computed from a statistic and is no larger than it."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        for user in waiting.pop().users:
            is_view = kind_of(user) in VIEWS
            is_small = size_of(user) <= size_of(node)
            if user.name in found or not (
                is_view or (kind_of(user) in islands.spread and is_small)
            ):
                continue
            found.add(user.name)
            waiting.append(user)
    return found
