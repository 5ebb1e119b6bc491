"""Which chunks of a map go together over its slices.

A group of chunks does slice after slice, all its chunks for one before the next one: a loop. A
group of one chunk that carries nothing does all slices in one call. Chunks that hand something on
to the next slice, and those between them, are in one group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from entracte.declare.rests import RESTS
from entracte.ir import Partition, Port, Stage

Grouping = Mapping[str, tuple[int, ...]]
"""Stage -> how many chunks are in each of its groups, in order; stages that are not named have
groups as small as possible."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one call of a stage graph runs: a chunk, or the function of one whose weights it has."""

    chunk: str
    function: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    rests: bool = False
    """In the iterations in which its stage's blocks do (`Stage.reuse`)."""

    @property
    def reads(self) -> set[str]:
        """Names of its inputs."""
        return {p.name for p in self.inputs}

    @property
    def makes(self) -> set[str]:
        """Names of its outputs."""
        return {p.name for p in self.outputs}


def pieces_of(
    partition: Partition, graph: str, rests: tuple[int, int] | None = None
) -> list[Piece]:
    """What runs a stage graph, in order; `rests`: see `StageGraph`."""
    first, stop = rests or (0, 0)
    own = [
        Piece(c.id, "main", c.inputs, c.outputs, first <= c.start and c.stop <= stop)
        for c in partition.of(graph)
    ]
    shared = [
        Piece(c.id, v.name, v.inputs, v.outputs)
        for c in partition.chunks
        for v in c.variants
        if v.graph == graph
    ]
    return own or shared


def at_of(stage: Stage, piece: Piece) -> tuple[int, ...]:
    """The iterations of its loop in which a piece of a stage runs; empty: all."""
    return stage.reuse.at if stage.reuse is not None and piece.rests else stage.at


def groups_of(stage: Stage, pieces: Sequence[Piece], grouping: Grouping) -> list[range]:
    """The groups of a mapped stage's chunks: as asked for, but never through what is carried."""
    assert stage.map is not None
    total = len(pieces)
    if stage.map.order == "slice":
        return [range(total)]
    sizes = (1,) * total
    if stage.map.order == "auto":
        sizes = grouping.get(stage.name, sizes)
    ends = {end for end in accumulate(sizes) if 0 < end < total}
    for first, last in carried_spans(stage, pieces):
        ends -= set(range(first + 1, last + 1))
    return [range(a, b) for a, b in pairwise([0, *sorted(ends), total])]


def carried_spans(stage: Stage, pieces: Sequence[Piece]) -> list[tuple[int, int]]:
    """First and last chunk that read or make what slices hand on."""
    assert stage.map is not None
    if not stage.map.carry:
        return []
    spans, names = [], [(p.reads, p.makes) for p in pieces]
    for name, _, following in stage.map.carry:
        touch = [i for i, (read, made) in enumerate(names) if name in read or following in made]
        spans.append((touch[0], touch[-1]))
    return spans


def rests_by(stage: Stage, piece: Piece) -> str:
    """The value by which a piece of a stage rests; empty where no test says it."""
    tests = stage.reuse is not None and stage.reuse.change and piece.rests
    return f"{stage.name}.{RESTS}" if tests else ""
