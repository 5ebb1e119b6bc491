"""What a loop body need not repeat: split its operations by what they depend on.

An operation that reads only values from before the loop can run once; one that also reads
scanned tables can run for all rows before the loop. Which of them *should* is a minimum cut
(project selection, e.g. Kleinberg & Tardos section 7.11): an operation left in the body costs
its weights, which the loop would hold or stream, and its FLOPs; a value moved out costs its
bytes, held for the whole loop (times the rows for a scanned one).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag

import networkx as nx

FLOPS_PER_BYTE = 1000
"""So many operations weigh like one byte of memory: a phone's GPU computes about a thousand
operations in the time its storage delivers a byte (iPhone 15 Pro: 620 GFLOPS, 0.49 GB/s)."""


class Depends(IntFlag):
    NOTHING = 0
    SCAN = 1
    STATE = 2


@dataclass(frozen=True, slots=True)
class Node:
    """An operation as the cut sees it."""

    name: str
    inputs: tuple[str, ...]
    size_bytes: int
    weight_bytes: int
    flops: int


def split(
    nodes: Sequence[Node], inputs: Mapping[str, tuple[Depends, int]], rows: int
) -> dict[str, str]:
    """The part of every node: `once`, `schedule` or `body`.

    Args:
        nodes: in topological order.
        inputs: what each input of the stage depends on, and its bytes.
        rows: iterations of the loop; a scanned value exists that many times.
    """
    depends = {name: d for name, (d, _) in inputs.items()}
    for node in nodes:
        depends[node.name] = Depends.NOTHING
        for source in node.inputs:
            depends[node.name] |= depends[source]
    movable = {n.name for n in nodes if not depends[n.name] & Depends.STATE}
    if not movable:
        return {n.name: "body" for n in nodes}
    outside = _outside(nodes, inputs, depends, movable, rows)
    return {n.name: _part(n.name, outside, depends) for n in nodes}


def _part(name: str, outside: set[str], depends: Mapping[str, Depends]) -> str:
    if name not in outside:
        return "body"
    return "schedule" if depends[name] & Depends.SCAN else "once"


def _outside(
    nodes: Sequence[Node],
    inputs: Mapping[str, tuple[Depends, int]],
    depends: Mapping[str, Depends],
    movable: set[str],
    rows: int,
) -> set[str]:
    graph = nx.DiGraph()
    graph.add_edge("out", "body", capacity=0)
    size = {n.name: n.size_bytes for n in nodes} | {k: b for k, (_, b) in inputs.items()}
    for node in nodes:
        reader = f"op:{node.name}" if node.name in movable else "body"
        if node.name in movable:
            cost = node.weight_bytes + node.flops / FLOPS_PER_BYTE
            graph.add_edge("out", reader, capacity=cost)
        for source in node.inputs:
            if source not in movable and source not in inputs:
                continue
            if source in inputs and depends[source] & Depends.STATE:
                continue
            held = size[source] * (rows if depends[source] & Depends.SCAN else 1)
            producer = "out" if source in inputs else f"op:{source}"
            if producer != "out" and node.name in movable:
                graph.add_edge(reader, producer)  # no capacity: never cut
            _add_holding(graph, producer, source, held)
            graph.add_edge(f"held:{source}", reader)
    _, (kept, _) = nx.minimum_cut(graph, "out", "body")
    return {name for name in movable if f"op:{name}" in kept}


def _add_holding(graph: nx.DiGraph, producer: str, value: str, held_bytes: int) -> None:
    if not graph.has_edge(producer, f"held:{value}"):
        graph.add_edge(producer, f"held:{value}", capacity=held_bytes)
