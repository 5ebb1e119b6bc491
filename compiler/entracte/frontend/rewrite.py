"""New nodes in an exported graph, with the shapes of what they make."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Graph, Node

from entracte.frontend.place import PLACE_KEYS

__all__ = ["Writer"]


class Writer:
    """Writes operations before a node; each result knows its shape and where it comes from."""

    def __init__(self, graph: Graph, before: Node) -> None:
        self._graph, self._before = graph, before

    def __call__(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        """The node of `target(*args, **kwargs)`."""
        with self._graph.inserting_before(self._before):
            made = self._graph.call_function(target, args, kwargs)
        for key in PLACE_KEYS:
            if key in self._before.meta:
                made.meta[key] = self._before.meta[key]
        with torch.no_grad():
            made.meta["val"] = target(*map(_value, args), **kwargs)
        return made


def _value(argument: Any) -> Any:
    if isinstance(argument, Node):
        return argument.meta["val"]
    if isinstance(argument, list | tuple):
        return [_value(item) for item in argument]
    return argument
