"""`If` and `Loop`, written out: a compiled graph has no choices and no loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from entracte.graphs.onnx.node import Compute, Names, Node, Value

if TYPE_CHECKING:
    from onnx import GraphProto

__all__ = ["CONTROL", "Writer"]

_MOST_ROUNDS = 256
"""Of a loop that is written out."""


class Writer(Protocol):
    """What puts nodes together: `entracte.graphs.onnx.assemble.Assembly`."""

    def known(self, name: str, tensor: Tensor) -> Value:
        """A constant."""

    def run(self, graph: GraphProto, outer: Names, given: Names) -> dict[str, Value]:
        """All values that a graph's names stand for after its nodes."""

    def results(self, graph: GraphProto, names: Names, outer: Names) -> list[Value]:
        """The values that a graph's outputs name."""

    def computed(self, node: Node, compute: Compute) -> Sequence[Value]:
        """The node as a step, or its result if that is a constant."""


def _branch(writer: Writer, node: Node, around: Names) -> Sequence[Value]:
    if not node.is_constant(0):
        node.fail(
            "its condition depends on an input's values; a compiled graph has no choices: fix the "
            "input that decides with `values`"
        )
    chosen = _graph(node, "then_branch" if node.scalar(0) else "else_branch")
    return writer.results(chosen, writer.run(chosen, around, {}), around)


def _loop(writer: Writer, node: Node, around: Names) -> Sequence[Value]:
    """Written out, if how often it runs is known and little."""
    body, rounds = _graph(node, "body"), _rounds(node)
    condition = node.value(1) if node.has(1) else writer.known("", torch.tensor(True))
    carried = [node.value(i) for i in range(2, len(node.values))]
    stacked: list[list[Value]] = [[] for _ in body.output[1 + len(carried) :]]
    for index in range(rounds):
        if not _goes_on(node, condition):
            break
        given = [writer.known("", torch.tensor(index)), condition, *carried]
        if len(body.input) != len(given) or len(body.output) <= len(carried):
            node.fail(f"its body does not suit its {len(carried)} values that go round")
        names = {i.name: v for i, v in zip(body.input, given, strict=True)}
        condition, *made = writer.results(body, writer.run(body, around, names), around)
        carried = made[: len(carried)]
        for column, value in zip(stacked, made[len(carried) :], strict=True):
            column.append(value)
    if rounds == _MOST_ROUNDS and not node.has(0) and _goes_on(node, condition):
        node.fail(f"it runs more than {_MOST_ROUNDS} times")
    return [*carried, *(_stack(writer, node, column) for column in stacked)]


def _graph(node: Node, name: str) -> GraphProto:
    found: GraphProto | None = node.attribute(name)
    if found is None:
        node.fail(f"has no {name}")
    return found


def _rounds(node: Node) -> int:
    rounds = int(node.scalar(0)) if node.has(0) else _MOST_ROUNDS
    if rounds > _MOST_ROUNDS:
        node.fail(f"it runs {rounds} times; at most {_MOST_ROUNDS} are written out")
    return rounds


def _goes_on(node: Node, condition: Value) -> bool:
    if not condition.is_constant:
        node.fail("whether it goes on depends on an input's values")
    return bool(condition.tensor.item())


def _stack(writer: Writer, node: Node, column: Sequence[Value]) -> Value:
    if not column:
        node.fail("it never runs, and what it collects has no shape")

    def compute(*rows: Tensor) -> Tensor:
        return torch.stack(rows)

    inner = Node(node.proto, node.schema, node.opset, node.place, tuple(column), {})
    return writer.computed(inner, compute)[0]


CONTROL: dict[str, Callable[[Writer, Node, Names], Sequence[Value]]] = {
    "If": _branch,
    "Loop": _loop,
}
