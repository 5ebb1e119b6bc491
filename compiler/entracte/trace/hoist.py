"""What a loop body need not repeat: split its operations by what they depend on.

An operation that reads only values from before the loop can run once; one that also reads
scanned tables can run for all rows before the loop. Which of them *should* is a minimum cut
(project selection, e.g. Kleinberg & Tardos section 7.11): an operation left in the body costs
its weights, which the loop would hold or stream, and its FLOPs; a value moved out costs its
bytes, held for the whole loop (times the rows for a scanned one).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx


class Depends(IntFlag):
    """On what of its loop a value depends: the scanned rows, the state, both or nothing."""

    NOTHING = 0
    SCAN = 1
    STATE = 2


@dataclass(frozen=True, slots=True)
class LoopOp:
    """An operation as the cut sees it."""

    name: str
    inputs: tuple[str, ...]
    size_bytes: int
    weight_bytes: int
    flops: int


def split(
    nodes: Sequence[LoopOp],
    inputs: Mapping[str, tuple[Depends, int]],
    rows: int,
    flops_per_byte: int,
    pinned: Collection[str] = (),
) -> dict[str, str]:
    """The part of every node: `once`, `schedule` or `body`.

    Args:
        nodes: in topological order.
        inputs: what each input of the stage depends on, and its bytes.
        rows: iterations of the loop; a scanned value exists that many times.
        flops_per_byte: `Backend.hoist_flops_per_byte`.
        pinned: nodes that stay in the body in any case.
    """
    depends = {name: d for name, (d, _) in inputs.items()}
    for node in nodes:
        depends[node.name] = Depends.STATE if node.name in pinned else Depends.NOTHING
        for source in node.inputs:
            depends[node.name] |= depends[source]
    movable = {n.name for n in nodes if not depends[n.name] & Depends.STATE}
    if not movable:
        return {n.name: "body" for n in nodes}
    costs = {n.name: n.weight_bytes + n.flops / flops_per_byte for n in nodes if n.name in movable}
    outside = _outside(nodes, inputs, depends, costs, rows)
    return {n.name: _part(n.name, outside, depends) for n in nodes}


def _part(name: str, outside: set[str], depends: Mapping[str, Depends]) -> str:
    if name not in outside:
        return "body"
    return "schedule" if depends[name] & Depends.SCAN else "once"


def _outside(
    nodes: Sequence[LoopOp],
    inputs: Mapping[str, tuple[Depends, int]],
    depends: Mapping[str, Depends],
    costs: Mapping[str, float],
    rows: int,
) -> set[str]:
    """The names of what leaves the loop; `costs` has what each that may leave costs inside it."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_edge("out", "body", capacity=0)
    size = {n.name: n.size_bytes for n in nodes} | {k: b for k, (_, b) in inputs.items()}
    for node in nodes:
        reader = f"op:{node.name}" if node.name in costs else "body"
        if node.name in costs:
            graph.add_edge("out", reader, capacity=costs[node.name])
        for source in node.inputs:
            if source not in costs and source not in inputs:
                continue
            if source in inputs and depends[source] & Depends.STATE:
                continue
            held = size[source] * (rows if depends[source] & Depends.SCAN else 1)
            producer = "out" if source in inputs else f"op:{source}"
            if producer != "out" and node.name in costs:
                graph.add_edge(reader, producer)  # no capacity: never cut
            _add_holding(graph, producer, source, held)
            graph.add_edge(f"held:{source}", reader)
    _, (kept, _) = nx.minimum_cut(graph, "out", "body")
    return {name for name in costs if f"op:{name}" in kept}


def _add_holding(graph: "nx.DiGraph", producer: str, value: str, held_bytes: int) -> None:
    if not graph.has_edge(producer, f"held:{value}"):
        graph.add_edge(producer, f"held:{value}", capacity=held_bytes)
