"""What an operation computes, written so that equal operations of different blocks read alike.

Inputs and weights appear by position, never by name; constant expressions (a table made from
frequencies) are written out. Two chunks whose operations have the same codes in the same order
are the same program with other weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import fx

__all__ = ["Coder"]

_Refer = Callable[[fx.Node], object]
"""How an argument that is a node is written."""


@dataclass(frozen=True)
class OpCode:
    """A digest, and the weights that it speaks of by position."""

    digest: str
    weights: tuple[str, ...]
    folded: tuple[str, ...]
    """Those that reach the operation through a constant expression."""


class Coder:
    """Codes of one exported program's nodes.

    Args:
        weight_of: placeholder -> name of the weight it stands for.
        constants: nodes that depend on no input.
        fp32: nodes whose values must not be rounded to fp16.
    """

    def __init__(
        self,
        weight_of: Mapping[str, str],
        constants: set[str],
        fp32: frozenset[str],
    ) -> None:
        self._weight_of, self._constants, self._fp32 = weight_of, constants, fp32
        self._expressions: dict[str, OpCode] = {}

    def code(self, node: fx.Node) -> OpCode:
        """The code of a node that is no constant, with its weights in order of appearance."""
        weights: dict[str, None] = {}
        folded: dict[str, None] = {}
        values: dict[fx.Node, int] = {}

        def refer(source: fx.Node) -> object:
            if source.name in self._weight_of:
                return self._weight(source, weights)
            if source.name in self._constants:
                inner = self._expression(source)
                folded.update(dict.fromkeys(inner.weights))
                return ["expression", inner.digest, _positions(inner.weights, weights)]
            return ["value", values.setdefault(source, len(values))]

        digest = self._digest(node, refer)
        return OpCode(digest, tuple(weights), tuple(folded))

    def _expression(self, node: fx.Node) -> OpCode:
        if node.name not in self._expressions:
            weights: dict[str, None] = {}

            def refer(source: fx.Node) -> object:
                if source.name in self._weight_of:
                    return self._weight(source, weights)
                inner = self._expression(source)
                return ["expression", inner.digest, _positions(inner.weights, weights)]

            digest = self._digest(node, refer)
            self._expressions[node.name] = OpCode(digest, tuple(weights), tuple(weights))
        return self._expressions[node.name]

    def _weight(self, source: fx.Node, weights: dict[str, None]) -> object:
        (position,) = _positions((self._weight_of[source.name],), weights)
        return ["weight", position, _type(source.meta.get("val"))]

    def _digest(self, node: fx.Node, refer: _Refer) -> str:
        parts = [
            str(node.target),
            _spell(node.args, refer),
            _spell(dict(sorted(node.kwargs.items())), refer),
            _type(node.meta.get("val")),
            node.name in self._fp32,
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _positions(names: tuple[str, ...], weights: dict[str, None]) -> list[int]:
    for name in names:
        weights.setdefault(name)
    order = list(weights)
    return [order.index(name) for name in names]


def _spell(argument: object, refer: _Refer) -> object:
    if isinstance(argument, fx.Node):
        return refer(argument)
    if isinstance(argument, list | tuple):
        return [_spell(item, refer) for item in argument]
    if isinstance(argument, dict):
        return [[key, _spell(value, refer)] for key, value in argument.items()]
    return repr(argument)


def _type(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), [int(d) for d in value.shape]]
    if isinstance(value, list | tuple):
        return [_type(item) for item in value]
    return None
