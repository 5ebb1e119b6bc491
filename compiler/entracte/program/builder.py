"""Working state of making a program: what is declared, and the segments so far."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from entracte.ir import (
    Binding,
    By,
    Loop,
    Partition,
    Pipeline,
    Port,
    Segment,
    StageGraph,
    Step,
    TensorDecl,
    Window,
)
from entracte.program.groups import Grouping, Piece, pieces_of


@dataclass
class Builder:
    """It does not leave this room."""

    pipeline: Pipeline
    graphs: Mapping[str, tuple[StageGraph, ...]]
    partition: Partition
    ports: Mapping[str, Port]
    grouping: Grouping
    tensors: dict[str, TensorDecl] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    straight: list[Step] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    """Value -> tensor, where a tensor is called otherwise."""

    @cached_property
    def declared(self) -> dict[str, dict[str, str]]:
        """Of each stage: what its inputs are read from."""
        return {s.name: dict(s.inputs) for s in self.pipeline.stages}

    def tensor(self, value: str) -> str:
        """The tensor that holds a declared value."""
        return self.aliases.get(value, value)

    def declare(self, name: str, port: Port, slots: int = 1) -> str:
        """A tensor of a port's shape and type; its name."""
        self.tensors[name] = TensorDecl(Port(name, port.shape, port.dtype), slots=slots)
        return name

    def pieces(self, graph: str) -> list[Piece]:
        """What runs a stage graph, in order."""
        rests = next((g.rests for parts in self.graphs.values() for g in parts if g.name == graph),
                     None)  # fmt: skip
        return pieces_of(self.partition, graph, rests)

    def inner(self, stage: str) -> set[str]:
        """What a stage's pieces read of each other, in all its parts, by name."""
        pieces = [p for g in self.graphs[stage] for p in self.pieces(g.name)]
        declared = {name for name, _ in self.pipeline.stage(stage).inputs}
        return {port.name for piece in pieces for port in piece.inputs} - declared

    def read(self) -> set[str]:
        """The declared values that somebody reads."""
        p = self.pipeline
        found = {value for stage in p.stages for _, value in stage.inputs}
        found |= {first for s in p.stages if s.map is not None for _, first, _ in s.map.carry}
        for loop in p.loops:
            found |= {x for _, first, after in loop.state for x in (first, after)}
            found |= {scan.value for scan in loop.scan} | {loop.until or ""}
        return found.union(*(output.values for output in p.outputs))

    def source(self, feature: str, value: str, loop: Loop | None, part: str) -> Binding:
        """What a stage reads of another, of the loop around it, or of the user."""
        owner, _, name = value.partition(".")
        if loop is not None and owner == loop.name:
            for scan in loop.scan:
                if scan.name == name:
                    by = By.MAP if part == "schedule" else By.ITERATION
                    window = Window(scan.axis, scan.size, loop.count, scan.size)
                    return Binding(feature, self.tensor(scan.value), by, (window,))
        tensor = self.tensor(value)
        decl = self.tensors.get(tensor)
        if decl is not None and decl.slots > 1:
            # What another stage of the loop made for all its iterations before it.
            return Binding(feature, tensor, By.ITERATION)
        return Binding(feature, tensor)

    def flush(self) -> None:
        """The steps so far are a segment."""
        if self.straight:
            first = self.straight[0].stage
            name = first if len(self.straight) == 1 else f"{first}.."
            self.add(Segment(name=name, count=1, steps=tuple(self.straight)))
            self.straight = []

    def add(self, segment: Segment) -> None:
        """With a name of its own."""
        name = _apart(segment.name, {s.name for s in self.segments})
        self.segments.append(replace(segment, name=name))


def _apart(name: str, taken: Iterable[str]) -> str:
    if name not in taken:
        return name
    k = 2
    while f"{name}@{k}" in taken:
        k += 1
    return f"{name}@{k}"
