"""An exported program in a given number of pieces, each of which becomes a package of its own.

Only what the plan format can carry crosses: values of rank 1 to 5, floats or whole numbers. What
depends on no input is computed in every piece that reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from entracte.frontend.extract import extract

__all__ = ["Piece", "pieces_of"]

_MOST_DIMENSIONS = 5
_CROSSING = (torch.float32, torch.int64, torch.int32)


@dataclass(frozen=True)
class Piece:
    """A part of a program: its module, and the names of the values that it takes and gives."""

    module: GraphModule
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def pieces_of(program: ExportedProgram, count: int) -> list[Piece]:
    """`count` pieces of about equally many operations, fewer where no cut is possible."""
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    given = set(program.graph_signature.user_inputs)
    computed = _computed(calls, given)
    edges = [0, *_cuts(computed, count), len(computed)]
    free = [node for node in calls if node not in set(computed)]
    made = []
    for start, stop in zip(edges, edges[1:], strict=False):
        inside, after = computed[start:stop], set(computed[stop:])
        made.append(_piece(program, free, inside, after, given))
    return made


def _computed(calls: Sequence[Node], given: set[str]) -> list[Node]:
    """Operations that depend on an input."""
    found: dict[Node, None] = {}
    for node in calls:
        if any(s.name in given or s in found for s in node.all_input_nodes):
            found[node] = None
    return list(found)


def _cuts(computed: Sequence[Node], count: int) -> list[int]:
    """The possible positions nearest to equal parts; the one with fewest values in the vicinity."""
    widths = _crossing(computed)
    near, cuts = max(1, len(computed) // (4 * count)), list[int]()
    for part in range(1, count):
        wanted = len(computed) * part // count
        possible = [p for p in widths if p > (cuts[-1] if cuts else 0)]
        close = [p for p in possible if abs(p - wanted) <= near]
        if possible:
            cuts.append(min(close or possible, key=lambda p: (widths[p] if p in close else 0, p)))
    return cuts


def _crossing(computed: Sequence[Node]) -> dict[int, int]:
    """Position -> how many values cross it, where all of them may."""
    place = {node: i for i, node in enumerate(computed)}
    last = {n: max((place[u] for u in n.users if u in place), default=-1) for n in computed}
    found, alive = {}, list[Node]()
    for position in range(1, len(computed)):
        alive.append(computed[position - 1])
        alive = [node for node in alive if last[node] >= position]
        if alive and all(map(_may_cross, alive)):
            found[position] = len(alive)
    return found


def _may_cross(node: Node) -> bool:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.dtype not in _CROSSING:
        return False
    return 1 <= value.dim() <= _MOST_DIMENSIONS and value.numel() > 0


def _piece(
    program: ExportedProgram,
    free: Sequence[Node],
    inside: Sequence[Node],
    after: set[Node],
    given: set[str],
) -> Piece:
    needed, own = set(inside), set(inside)
    for node in reversed(free):
        if any(user in needed for user in node.users):
            needed.add(node)
    order = [node.name for node in program.graph.nodes if node in needed]
    weights = {s.arg.name for s in program.graph_signature.input_specs} - given
    sources = [s for node in program.graph.nodes if node in needed for s in node.all_input_nodes]
    reads = dict.fromkeys(s.name for s in sources if s not in needed and s.name not in weights)
    returned = set(program.graph_signature.user_outputs)
    outputs = [
        node.name
        for node in inside
        if node.name in returned or any(user in after for user in node.users)
    ]
    assert own and outputs
    return Piece(extract(program, order, list(reads), outputs, {}), tuple(reads), tuple(outputs))
