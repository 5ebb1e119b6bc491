"""New nodes in an exported graph, with the shapes of what they make."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch.fx import Graph, Node

from entracte.frontend.place import PLACE_KEYS

__all__ = ["Writer"]


class Writer:
    """Writes operations before a node; each result knows its shape and where it comes from.

    Args:
        known: what operations make, by what they are and are given; it is added to. For many that
            are alike, of which torch is asked once.
    """

    def __init__(
        self, graph: Graph, before: Node, known: dict[Hashable, Any] | None = None
    ) -> None:
        self._graph, self._before = graph, before
        self._known = known

    def __call__(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        """The node of `target(*args, **kwargs)`."""
        with self._graph.inserting_before(self._before):
            made = self._graph.call_function(target, args, kwargs)
        for key in PLACE_KEYS:
            if key in self._before.meta:
                made.meta[key] = self._before.meta[key]
        made.meta["val"] = self._made(target, args, kwargs)
        return made

    def _made(self, target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if self._known is None:
            return _computed(target, args, kwargs)
        named = [part for pair in kwargs.items() for part in pair]
        key = (target, len(args), *map(_told, (*args, *named)))
        if key not in self._known:
            self._known[key] = _computed(target, args, kwargs)
        return self._known[key]


def _computed(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    with torch.no_grad():
        return target(*map(_value, args), **kwargs)


def _told(argument: Any) -> Hashable:
    """Of a tensor all that decides what is made of it: the rest is its numbers."""
    if isinstance(argument, Node):
        value = argument.meta["val"]
        return "tensor", tuple(value.shape), value.stride(), value.dtype
    if isinstance(argument, list | tuple):
        return tuple(map(_told, argument))
    return type(argument), argument


def _value(argument: Any) -> Any:
    if isinstance(argument, Node):
        return argument.meta["val"]
    if isinstance(argument, list | tuple):
        return [_value(item) for item in argument]
    return argument
