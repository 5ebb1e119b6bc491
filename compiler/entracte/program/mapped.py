"""The steps of a stage that is mapped over slices.

A group of one chunk runs all slices in one call (`Call.repeat`); a group of several, or one that
carries something from slice to slice, is a segment whose iterations are the slices. Values that
stay within a group exist once; what a later group reads has a slot for every slice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from entracte.ir import Binding, By, Call, Loop, Port, Segment, Stage, StageGraph, Window
from entracte.program.builder import Builder
from entracte.program.groups import Piece, at_of, groups_of, rests_by
from entracte.program.slices import Run, input_windows, output_windows, runs_of, slice_count


def add_map(b: Builder, stage: Stage, graph: StageGraph) -> None:
    """The steps and segments of a mapped stage outside of loops."""
    (run,) = _runs(b, stage)
    mapped = _Mapped(b, stage, graph, None, run)
    for group in mapped.groups:
        if not mapped.is_sliced(group):
            b.straight.append(mapped.call(group.start))
            continue
        b.flush()
        steps = tuple(mapped.call(i) for i in group)
        count, state = mapped.count, mapped.state(group)
        b.add(Segment(name=stage.name, count=count, steps=steps, state=state, sliced=True))
    for name, _, after in mapped.carry:
        b.aliases[f"{stage.name}.{after}"] = f"{stage.name}.{name}"


def map_calls(b: Builder, stage: Stage, graph: StageGraph, loop: Loop) -> list[Call]:
    """The calls of a part of a mapped stage inside of a loop: each does all slices."""
    runs = [_Mapped(b, stage, graph, loop, run) for run in _runs(b, stage)]
    return [run.call(i) for i in range(len(runs[0].pieces)) for run in runs]


def _runs(b: Builder, stage: Stage) -> tuple[Run, ...]:
    assert stage.map is not None
    where = f"pipeline.stages.{stage.name}"
    whole = b.ports[dict(stage.inputs)[stage.map.ports[0]]]
    return runs_of(where, stage.map, input_windows(f"{where}.map", stage.map, whole))


@dataclass
class _Mapped:
    b: Builder
    stage: Stage
    graph: StageGraph
    loop: Loop | None
    run: Run

    @cached_property
    def pieces(self) -> list[Piece]:
        return self.b.pieces(self.graph.name)

    @cached_property
    def carry(self) -> tuple[tuple[str, str, str], ...]:
        assert self.stage.map is not None
        return self.stage.map.carry

    @property
    def windows(self) -> tuple[Window, ...]:
        return self.run.windows

    @cached_property
    def count(self) -> int:
        return slice_count(self.windows)

    @cached_property
    def groups(self) -> list[range]:
        if self.loop is not None or (self.count == 1 and not self.carry):
            return [range(i, i + 1) for i in range(len(self.pieces))]
        return groups_of(self.stage, self.pieces, self.b.grouping)

    @cached_property
    def inner(self) -> set[str]:
        return self.b.inner(self.stage.name)

    @cached_property
    def by_piece(self) -> list[range]:
        """The group of each piece."""
        return [g for g in self.groups for _ in g]

    @cached_property
    def makers(self) -> dict[str, int]:
        """Of each value the first piece that makes it."""
        makers: dict[str, int] = {}
        for i, piece in enumerate(self.pieces):
            for port in piece.outputs:
                makers.setdefault(port.name, i)
        return makers

    @cached_property
    def readers(self) -> dict[str, list[int]]:
        """Of each value the pieces that read it, in order."""
        readers: dict[str, list[int]] = {}
        for i, piece in enumerate(self.pieces):
            for port in piece.inputs:
                readers.setdefault(port.name, []).append(i)
        return readers

    def is_sliced(self, group: range) -> bool:
        return len(group) > 1 or bool(self.carried(group))

    def carried(self, group: range) -> list[tuple[str, str, str]]:
        made = set().union(*(self.pieces[i].makes for i in group))
        return [c for c in self.carry if c[2] in made]

    def state(self, group: range) -> tuple[tuple[str, str, str], ...]:
        b, own = self.b, self.stage.name
        carried = self.carried(group)
        for name, _, after in carried:
            b.declare(f"{own}.{name}", b.ports[f"{own}.{after}"])
        return tuple((f"{own}.{n}", b.tensor(first), f"{own}.{x}") for n, first, x in carried)

    def call(self, i: int) -> Call:
        piece, sliced = self.pieces[i], self.is_sliced(self.by_piece[i])
        by = By.ITERATION if sliced else By.MAP
        inputs = tuple(self._input(i, port, by) for port in piece.inputs)
        outputs = tuple(x for port in piece.outputs for x in self._outputs(i, port, by))
        functions = self.stage.functions if self.graph.part == "body" else ()
        return Call(
            stage=self.graph.name,
            chunk=piece.chunk,
            inputs=inputs,
            outputs=outputs,
            repeat=1 if sliced else self.count,
            function=piece.function,
            # Only a loop has iterations to tell apart.
            switch=functions if self.loop is not None else (),
            at=self._at(piece),
            rests_by=self._rests_by(piece),
        )

    @property
    def _is_iterated(self) -> bool:
        return self.loop is not None and self.graph.part == "body"

    def _rests_by(self, piece: Piece) -> str:
        """Slices that rest in some iterations say it for themselves."""
        name = rests_by(self.stage, piece) if self._is_iterated else ""
        return name and f"{name}{self.run.suffix}"

    def _at(self, piece: Piece) -> tuple[int, ...]:
        """In which iterations of its loop: of slices and blocks that rest, those of both."""
        if not self._is_iterated:
            return ()
        own, run = at_of(self.stage, piece), self.run.at
        return tuple(i for i in own if i in run) if own and run else own or run

    # ------------------------------------------------------------ inputs

    def _input(self, i: int, port: Port, by: By) -> Binding:
        own, name = self.stage.name, port.name
        if name in {carried for carried, _, _ in self.carry}:
            return Binding(name, f"{own}.{name}")
        declared = self.b.declared[self.stage.name].get(name)
        if declared is None:
            return self._inner_input(i, name, by)
        assert self.stage.map is not None
        if name in self.stage.map.ports:
            return Binding(name, self.b.tensor(declared), by, self.windows)
        return self.b.source(name, declared, self.loop, self.graph.part)

    def _inner_input(self, i: int, name: str, by: By) -> Binding:
        if self._is_made_beside(i, name):
            return Binding(name, self._piece_name(name))
        tensor = self._slots_name(name)
        return (
            Binding(name, tensor, by) if self.b.tensors[tensor].slots > 1 else Binding(name, tensor)
        )

    def _is_made_beside(self, i: int, name: str) -> bool:
        """By an earlier chunk of the same group."""
        maker = self.makers.get(name)
        return maker is not None and self.by_piece[i].start <= maker < i

    # ------------------------------------------------------------ outputs

    def _outputs(self, i: int, port: Port, by: By) -> Iterator[Binding]:
        b, name = self.b, port.name
        full = self._full(name)
        beside, later = self._readers(i, name)
        if self._is_carried(name):
            yield Binding(name, b.declare(full, port))
        elif self._is_final(name):
            yield self._final(port, by)
        if beside and not self._is_carried(name):
            yield Binding(name, b.declare(self._piece_name(name), port))
        if later or not (beside or self._is_carried(name) or self._is_final(name)):
            tensor = b.declare(self._slots_name(name), port, self.count)
            yield Binding(name, tensor, by) if self.count > 1 else Binding(name, tensor)

    def _readers(self, i: int, name: str) -> tuple[bool, bool]:
        """Whether chunks of the same group read it, and whether others of the stage do."""
        stop, readers = self.by_piece[i].stop, self.readers.get(name, [])
        beside = any(i < j < stop for j in readers)
        later = any(j >= stop for j in readers)
        if self.graph.part != "body":
            later = name in self.inner
        return beside, later

    def _final(self, port: Port, by: By) -> Binding:
        assert self.stage.map is not None
        full = self._full(port.name)
        self.b.declare(full, self.b.ports[full])
        if self.count == 1 and by is By.MAP:
            return Binding(port.name, full)
        where = f"pipeline.stages.{self.stage.name}"
        windows = output_windows(where, self.stage.map, self.windows, port)
        return Binding(port.name, full, by, windows)

    def _full(self, name: str) -> str:
        """Of what a value is called outside."""
        return f"{self.stage.name}.{name}{self.run.suffix}"

    def _is_carried(self, name: str) -> bool:
        return name in {after for _, _, after in self.carry}

    def _is_final(self, name: str) -> bool:
        return f"{self.stage.name}.{name}" in self.b.ports and not self._is_carried(name)

    def _piece_name(self, name: str) -> str:
        """Of what is there for one slice."""
        return self._full(name) + ("@piece" if self._is_final(name) else "")

    def _slots_name(self, name: str) -> str:
        """Of what is there for all slices, side by side."""
        full = self._full(name)
        alone = not (self._is_final(name) or self._is_carried(name))
        maker = self.makers.get(name)
        if maker is None or self.graph.part != "body":
            return full if alone else f"{full}@slices"
        beside, _ = self._readers(maker, name)
        return full if alone and not beside else f"{full}@slices"
