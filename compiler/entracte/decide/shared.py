"""Which stage graphs become functions of the same packages: `weights_of`.

A graph of a stage that has another's weights is measured together with that stage's graph that uses
most of them, and cut where both may be cut alike. It gets packages of its own where the two have
less than half of their bytes in common, or where they cannot be cut alike as finely as a package's
size demands.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from entracte.decide.partition import Measured
from entracte.ir import MeasuredPipeline, StageGraph

__all__ = ["Sharing", "measure"]


@dataclass(frozen=True)
class Sharing:
    """The graphs that are cut, each with those of other stages that are cut along."""

    measured: Mapping[str, Measured]

    def beside(self, chunk: str) -> frozenset[str]:
        """Graphs whose functions are in a chunk's package."""
        graph = chunk.rpartition(".")[0]
        return frozenset(m.graph.name for m, _ in self.measured[graph].others)


Known = dict[tuple[str, ...], Measured]
"""Graphs of one pipeline that were looked at before, by their names: what is asked of them again
follows from no target."""


def measure(
    source: MeasuredPipeline, limit: int, apart: Collection[str] = (), known: Known | None = None
) -> Sharing:
    """All graphs of the pipeline, in order; those in `apart` share with none.

    Args:
        limit: bytes of weights that a package may have.
        known: of this source; it is added to.
    """
    known = {} if known is None else known
    graphs = {g.name: g for parts in source.graphs.values() for g in parts}
    led: dict[str, list[StageGraph]] = {}
    for name, graph in graphs.items():
        leader = None if name in apart else _leader(source, graph)
        if leader is not None and _can_follow(leader, graph, led.get(leader.name, []), limit):
            led.setdefault(leader.name, []).append(graph)
    followers = {g.name for group in led.values() for g in group}
    measured = {}
    for name, graph in graphs.items():
        if name not in followers:
            beside = led.get(name, [])
            key = (name, *(g.name for g in beside))
            if key not in known:
                known[key] = Measured(_beside(graph, beside))
            measured[name] = known[key]
    return Sharing(measured)


def _beside(graph: StageGraph, others: Sequence[StageGraph]) -> StageGraph:
    return replace(graph, variants=(*graph.variants, *others)) if others else graph


def _leader(source: MeasuredPipeline, graph: StageGraph) -> StageGraph | None:
    """The graph that has most of its weights, if they are half of what both have."""
    stage = source.pipeline.stage(graph.stage)
    if not stage.weights_of or stage.functions:
        return None
    size = {w.name: w.size_bytes for w in graph.weights}

    def shared_bytes(other: StageGraph) -> int:
        return sum(size.get(w.name, 0) for w in other.weights)

    leader = max(source.graphs[stage.weights_of], key=shared_bytes)
    all_bytes = sum(size.values()) + sum(w.size_bytes for w in leader.weights)
    shared = shared_bytes(leader)
    return leader if shared and 2 * shared >= all_bytes - shared else None


def _can_follow(
    leader: StageGraph, graph: StageGraph, before: Sequence[StageGraph], limit: int
) -> bool:
    """Whether the pieces between cuts that are alike are no larger than a package may be, or no
    larger than both graphs' own cuts allow."""
    if graph.stage in {g.stage for g in before}:
        return False
    together = _largest_bytes(Measured(_beside(leader, [*before, graph])))
    alone = max(_largest_bytes(Measured(_beside(leader, before))), _largest_bytes(Measured(graph)))
    return together <= max(limit, alone)


def _largest_bytes(measured: Measured) -> int:
    """Of weights between two neighbouring cuts."""
    weights = measured.position_weights
    return max(weights[b] - weights[a] for a, b in pairwise(measured.positions))
