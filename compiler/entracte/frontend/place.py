"""Where in the model's source an exported node comes from: what a refusal names."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule

from entracte.frontend.errors import GraphError

__all__ = ["PLACE_KEYS", "by_target", "line_of", "place_of", "places_of", "refuse_sizes",
           "refuse_unconvertible", "same_nodes"]  # fmt: skip

PLACE_KEYS = ("stack_trace", "nn_module_stack")
"""What of a node's meta data tells its place."""

_FRAME = re.compile(
    r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)\n\s*(?P<text>.*)'
)
_LIBRARIES = ("-packages/torch/", "<eval_with_key>", "<string>", "/entracte/frontend/")
"""Frames of torch itself: the line that called into it is what a user can change."""


def place_of(node: Any) -> str:
    """`model.py:12: y = torch.polar(a, b) (module blocks.0.attention)`; the node's name if its
    line is not known."""
    found = [m.groupdict() for m in _FRAME.finditer(node.meta.get("stack_trace") or "")]
    own = [f for f in found if not any(part in f["file"] for part in _LIBRARIES)]
    module = _module(node)
    if not own:
        return f"node `{node.name}`{module}"
    frame = own[-1]
    return f"{frame['file']}:{frame['line']}: `{frame['text'].strip()}`{module}"


def line_of(error: BaseException) -> str:
    """The last line of the model that was running when it was raised; empty if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(part in f.filename for part in _LIBRARIES)]
    python = os.path.dirname(os.__file__)
    own = [f for f in own if "-packages/" in f.filename or not f.filename.startswith(python)]
    if not own or own[-1].line is None:
        return ""
    return f"{own[-1].filename}:{own[-1].lineno}: `{own[-1].line}`"


def _module(node: Any) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return ""
    path, kind = stack[-1]
    name = str(kind).rpartition(".")[2].rstrip("'>")
    return f" (module {path or '(root)'}, {name})"


def places_of(module: Any, program: ExportedProgram) -> dict[str, str]:
    """Name of each operation of `program` -> its place in the model.

    A piece that was cut out of a stage is exported anew, which renames its operations and sees only
    the piece's own source: those of one kind come in the same order, and the piece's know more.
    """
    places = {n.name: place_of(n) for n in program.graph.nodes if n.op == "call_function"}
    if not isinstance(module, GraphModule):
        return places
    nodes = {n.name: n for n in module.graph.nodes}
    same = same_nodes(module.graph, program.graph)
    return places | {new: place_of(nodes[old]) for new, old in same.items()}


def same_nodes(own: Graph, exported: Graph) -> dict[str, str]:
    """Node of an exported piece -> the piece's own node that it stands for, of all kinds of
    operations that both have equally many of: those of one kind come in the same order."""
    mine = by_target(own)
    pairs = [(names, mine.get(kind, [])) for kind, names in by_target(exported).items()]
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


def refuse_sizes(program: ExportedProgram) -> None:
    """Refuse a value whose size depends on values: what truths select, repeats by counts.

    Raises:
        GraphError: with the place of the first one.
    """
    for node in program.graph.nodes:
        value = node.meta.get("val")
        parts = value if isinstance(value, list | tuple) else [value]
        sizes = [n for p in parts if isinstance(p, Tensor) for n in p.shape]
        if not all(isinstance(n, int) for n in sizes):
            kind = str(node.target).removeprefix("aten.").split(".")[0]
            raise GraphError(
                f"{place_of(node)}: the size of what `{kind}` gives depends on values (what truth "
                "values select, how often something repeats); compute with all and give the model "
                "a mask (added to attention's scores, multiplied to what is summed), give "
                "positions or counts as Python numbers, or compute this in a host step"
            )


def refuse_unconvertible(
    program: ExportedProgram, is_convertible: Callable[[object], bool], places: dict[str, str]
) -> None:
    """Refuse operations that the converter does not have, each kind once, with its place.

    Raises:
        GraphError: naming all of them.
    """
    missing: dict[str, str] = {}
    for node in program.graph.nodes:
        if node.op == "call_function" and not is_convertible(node.target):
            missing.setdefault(str(node.target), places.get(node.name, f"node `{node.name}`"))
    if missing:
        listed = ", ".join(f"{target} at {place}" for target, place in missing.items())
        raise GraphError(
            f"operations without a conversion: {listed}; write them in terms of others in the "
            "model, compute them in a host step, or register a conversion in "
            "entracte/lower/registrations.py"
        )
