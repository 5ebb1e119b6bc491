"""Values in memory as they are, with other dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.fx import Graph, Node

from entracte.frontend.rank.permutes import merged, steps_of
from entracte.frontend.rewrite import Writer

__all__ = ["Flat", "shape_of"]

_aten = torch.ops.aten


def shape_of(node: Node) -> list[int]:
    """Of the value that the model makes there."""
    return [int(n) for n in node.meta["val"].shape]


class Flat:
    """Of each value written anew, a node with the same numbers in the same order."""

    def __init__(self, graph: Graph, most: int) -> None:
        self.most = most
        self.write: Writer
        self._graph = graph
        self._made: dict[Node, Any] = {}

    def before(self, node: Node) -> Flat:
        """What writes before `node`."""
        self.write = Writer(self._graph, node)
        return self

    def put(self, node: Node, made: Any) -> None:
        """`made` has the numbers of `node`; a list where it makes several values."""
        self._made[node] = made

    def parts(self, node: Node) -> list[Node] | None:
        """What `node` was written as, where it makes several values."""
        made = self._made.get(node)
        return made if isinstance(made, list) else None

    def of(self, node: Node) -> Node:
        """A node that a package has with the numbers of `node`, a value of the model."""
        if node in self._made:
            made: Node = self._made[node]
            return made
        shape = shape_of(node)
        few = [*shape[: self.most - 1], prod(shape[self.most - 1 :])]
        return node if len(shape) <= self.most else self.again(node, few)

    def reshaped(self, node: Node, shape: Sequence[int]) -> Node:
        """The numbers of `node`, a value of the model, in this shape."""
        return self.again(self._made.get(node, node), shape)

    def again(self, made: Node, shape: Sequence[int]) -> Node:
        """A node already written, in this shape."""
        if shape_of(made) == list(shape):
            return made
        return self.write(_aten.reshape.default, made, list(shape))

    def shaped(self, node: Node) -> Node:
        """What `node` was written as, in its own shape where a package has that."""
        return self.before(node).reshaped(node, shape_of(node))

    def sides(self, node: Node, dim: int, count: int = 1) -> Node:
        """[before, `count` axes from `dim`, after]."""
        shape = shape_of(node)
        axes = shape[dim : dim + count]
        return self.reshaped(node, [prod(shape[:dim]), *axes, prod(shape[dim + count :])])

    def permuted(self, made: Node, shape: Sequence[int], order: Sequence[int]) -> Node:
        """The numbers of `made`, which are those of `shape`, in the order of permuted axes."""
        long = [axis for axis, n in enumerate(shape) if n != 1]
        sizes = [shape[axis] for axis in long]
        moved = [long.index(axis) for axis in order if axis in long]
        for step in steps_of(moved, self.most):
            blocks = merged(step)
            source = sorted(blocks)
            made = self.again(made, [prod(sizes[a] for a in block) for block in source])
            made = self.write(_aten.permute.default, made, [source.index(b) for b in blocks])
            sizes = [sizes[axis] for axis in step]
        return made

    def expanded(self, node: Node, shape: Sequence[int]) -> Node:
        """As torch broadcasts it, one run of axes after the other."""
        own = shape_of(node)
        own = [1] * (len(shape) - len(own)) + own
        made = self.of(node)
        for axis, (n, wanted) in enumerate(zip(own, shape, strict=True)):
            if n == wanted:
                continue
            before, after = prod(own[:axis]), prod(own[axis + 1 :])
            made = self.again(made, [before, 1, after])
            made = self.write(_aten.expand.default, made, [before, wanted, after])
            own[axis] = wanted
        return made
