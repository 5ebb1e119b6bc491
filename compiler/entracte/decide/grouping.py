"""Which chunks of maps do slice after slice together: what the search may try.

As small groups as possible read every chunk once and hold what lies between them for all slices;
one group holds it for one slice and needs its chunks again for every slice, kept or loaded.
"""

from collections.abc import Iterator
from itertools import combinations

from entracte.ir import Map, Partition, Pipeline, Stage
from entracte.program.groups import Grouping, groups_of, pieces_of

_MOST = 8
"""Groupings of a stage that are tried."""


def choosable(pipeline: Pipeline) -> list[Stage]:
    """The stages whose groups the planner chooses."""
    return [
        s
        for s in pipeline.stages
        if s.map is not None and s.map.order == "auto" and pipeline.loop_of(s.name) is None
    ]


def sizes_of(stage: Stage, partition: Partition, grouping: Grouping) -> tuple[int, ...]:
    """Chunks in each of a stage's groups; what is carried holds chunks together."""
    groups = groups_of(stage, pieces_of(partition, stage.name), grouping)
    return tuple(len(g) for g in groups)


def whole_grouping(pipeline: Pipeline, partition: Partition, grouping: Grouping) -> Grouping:
    """Of every mapped stage outside of loops, as it comes to be."""
    mapped = [s for s in pipeline.stages if s.map is not None and pipeline.loop_of(s.name) is None]
    return {s.name: sizes_of(s, partition, grouping) for s in mapped}


def together(stage: Stage, partition: Partition) -> tuple[int, ...]:
    """All chunks in one group."""
    return (len(pieces_of(partition, stage.name)),)


def groupings(stage: Stage, partition: Partition) -> Iterator[tuple[int, ...]]:
    """Those worth a look, the smallest groups first: every way to join neighbours where there are
    few, else all together and each way to make two of them."""
    finest = sizes_of(stage, partition, {})
    inner = range(1, len(finest))
    ways: list[tuple[int, ...]] = []
    for many in range(len(finest) - 1, -1, -1):
        ways += combinations(inner, many)
        if len(ways) > _MOST:
            ways = [(), *((k,) for k in inner)]
            break
    for ends in ways[:_MOST]:
        edges = [0, *ends, len(finest)]
        yield tuple(sum(finest[a:b]) for a, b in zip(edges, edges[1:], strict=False))


def map_remedies(pipeline: Pipeline, stage: Stage) -> list[str]:
    """Overrides of a stage's map that need less memory."""
    if stage.map is None:
        return []
    where, helps = f"pipeline.stages.{stage.name}.map", []
    if smaller := _smaller(stage.map):
        helps.append(f"`{where}.size={smaller}`")
    if stage.map.order != "auto" and pipeline.loop_of(stage.name) is None:
        helps.append(f"`{where}.order=auto`")
    return helps


def _smaller(given: Map) -> int | None:
    """The next smaller size of slices that end where these end; None where there is none."""
    (cut, *others), size = given.slices, given.slices[0].size
    if others or cut.stride != size or cut.count is not None:
        return None
    return next((d for d in range(size - 1, 0, -1) if size % d == 0), None)
