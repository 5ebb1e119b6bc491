"""Where in the user's own code an exported node comes from, for messages.

torch.export notes with each node the modules around it and the lines that made it. Exporting an
extracted piece numbers its operations anew; the piece is clean already, so operations of one kind
come out in the same order, and a converted program's nodes find their own by kind and order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch.fx import Graph, Node

__all__ = ["by_target", "place_of", "same_nodes"]

_LINE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_NOT_THE_USERS = ("site-packages/torch/", "<eval_with_key>", "dist-packages/torch/")


def place_of(node: Node) -> str:
    """`encoder.block.3 (file.py:41)`: the module's path and the last line that is not torch's own;
    empty where nothing is known."""
    path = _module_path(node)
    line = _line(str(node.meta.get("stack_trace") or ""))
    return f"{path} ({line})" if path and line else path or line


def _module_path(node: Node) -> str:
    stack = node.meta.get("nn_module_stack")
    if not isinstance(stack, Mapping) or not stack:
        return ""
    entry = list(stack.values())[-1]
    path = str(entry[0] if isinstance(entry, tuple) else entry)
    return re.sub(r"^L\['self'\]\.?", "", path)


def _line(trace: str) -> str:
    lines = [m for m in _LINE.finditer(trace) if not _is_torchs(m["file"])]
    return f"{lines[-1]['file']}:{lines[-1]['line']}" if lines else ""


def _is_torchs(file: str) -> bool:
    return any(part in file for part in _NOT_THE_USERS)


def same_nodes(own: Graph, converted: Graph) -> dict[str, str]:
    """Node of the converted program -> the node of the extracted piece that it stands for, of all
    kinds of operations that both have equally many of."""
    mine = by_target(own)
    pairs = [(names, mine.get(kind, [])) for kind, names in by_target(converted).items()]
    return {
        new: old
        for names, sources in pairs
        if len(sources) == len(names)
        for new, old in zip(names, sources, strict=True)
    }


def by_target(graph: Graph) -> dict[str, list[str]]:
    """Operation -> its nodes, in order."""
    table: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.op == "call_function":
            table.setdefault(str(node.target), []).append(node.name)
    return table
