"""A program step by step, and a schedule's loads, by the words of docs/plan-format.md alone.

Shares nothing with checker, planner and clocks: what is in memory is a set of names, and
what goes to the outputs' writers is a list of them. `AssertionError` where a step reads what is not
there, or a part leaves before its turn.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from entracte.ir import By, Call, ChunkFacts, HostStep, Moment, Program, Schedule, Segment


@dataclass(frozen=True)
class Slot:
    """A step of an iteration. Where its call rests `chunk` is None."""

    segment: int
    iteration: int
    step: int
    chunk: str | None
    need_bytes: int
    """Its activations and all tensors at the fullest moment, an iteration's end included."""


class Walk:
    def __init__(self, program: Program, facts: Mapping[str, ChunkFacts]) -> None:
        self.program, self.facts = program, facts
        self.sizes = {t.name: t.port.size_bytes * t.slots for t in program.tensors}
        self.streamed = {t.name for t in program.tensors if t.streamed}
        self.types = {t.name: t.port.dtype for t in program.tensors}
        given = {x.name for x in (*program.inputs, *program.constants)}
        self.alive = {x for x in given if x in self.sizes}
        self.untensored = given - self.alive
        self.whole: set[str] = set(self.alive)
        self.written: dict[str, list[str]] = {o.name: [] for o in program.outputs}
        self.slots: list[Slot] = []

    def held(self) -> int:
        return sum(self.sizes[x] for x in self.alive)

    def deliver(self) -> None:
        """Whole parts go in their order."""
        for output in self.program.outputs:
            gone = self.written[output.name]
            while len(gone) < len(output.values) and output.values[len(gone)] in self.whole:
                value = output.values[len(gone)]
                assert value in self.streamed or value in self.alive, f"{value} left too early"
                gone.append(value)

    def piece(self, name: str) -> None:
        """A streamed piece: it is its tensor's turn."""
        (output,) = (o for o in self.program.outputs if name in o.values)
        gone = self.written[output.name]
        assert output.values[len(gone)] == name, f"a piece of {name} is made before its turn"

    def segment(self, s: int, count: int) -> None:
        segment = self.program.segments[s]
        loop = bool(segment.state) or segment.count > 1
        for name, first, _ in segment.state:
            assert first in self.alive, f"{segment.name}: {first} is not there"
            self.alive.add(name)
        self.alive -= self.taken(segment)
        for i in range(count):
            for k in range(len(segment.steps)):
                self.step(s, i, k, loop)
            self.iterated(segment)
        if loop:
            self.whole |= {b.tensor for x in segment.steps for b in x.outputs}
        self.whole |= {name for name, _, _ in segment.state}
        self.deliver()
        self.alive -= set(segment.frees)

    def step(self, s: int, i: int, k: int, loop: bool) -> None:
        step = self.program.segments[s].steps[k]
        happens = not isinstance(step, Call) or not step.at or i in step.at
        need = self.held()
        chunk = None
        if happens:
            if isinstance(step, Call):
                chunk = step.chunk
                read = {b.tensor for b in step.inputs}
            else:
                assert isinstance(step, HostStep)
                read = {value for _, value in step.inputs}
            lost = read - self.alive - self.untensored
            assert not lost, f"{s}.{i}.{k} reads {lost}"
            for binding in step.outputs:
                if binding.tensor in self.streamed:
                    self.piece(binding.tensor)
                assert binding.by is not By.ITERATION or loop
                self.alive.add(binding.tensor)
            need = self.held() + (self.facts[chunk].activation_bytes if chunk else 0)
        self.slots.append(Slot(s, i, k, chunk, need))
        if not loop:
            self.whole |= {b.tensor for b in step.outputs}
            self.deliver()
        self.alive -= set(step.frees)

    def iterated(self, segment: Segment) -> None:
        following = {x for _, _, x in segment.state}
        if segment.until is not None:
            assert segment.until in self.alive
            self.alive -= {segment.until} - following
        assert following <= self.alive, f"{segment.name}: nothing made {following - self.alive}"
        # The old states go, then the new ones are made beside what they are made from.
        # One of the same type is what it is made from.
        names = {name for name, _, _ in segment.state}
        self.alive -= names
        self.alive |= {n for n, _, x in segment.state if self.types[n] != self.types[x]}
        last = self.slots[-1]
        need = max(last.need_bytes, self.held())
        self.slots[-1] = Slot(last.segment, last.iteration, last.step, last.chunk, need)
        self.alive |= names
        self.alive -= following

    def taken(self, segment: Segment) -> set[str]:
        """What a map's states begin with and nothing else needs (docs/plan-format.md, 3)."""
        gone = set(segment.frees) if segment.sliced else set()
        needed = {x for o in self.program.outputs for x in o.values}
        for step in segment.steps:
            needed |= {b.tensor for b in step.inputs} if isinstance(step, Call) else set()
        needed |= {x for n, x, _ in segment.state if self.types[n] != self.types[x]}
        return {x for _, x, _ in segment.state if x in gone and x not in needed}


def walked(
    program: Program, facts: Mapping[str, ChunkFacts], ends: Mapping[int, int] | None = None
) -> list[Slot]:
    """Every step, resting ones included. `ends`: iterations of loops that end early."""
    walk = Walk(program, facts)
    for s, segment in enumerate(program.segments):
        walk.segment(s, min((ends or {}).get(s, segment.count), segment.count))
    for output in program.outputs:
        assert walk.written[output.name] == list(output.values), f"{output.name} is not whole"
    left = walk.alive - set(program.output_values) - {x.name for x in program.constants}
    assert not left - {x.name for x in program.inputs}, f"{left} is left"
    return walk.slots


@dataclass(frozen=True)
class Happening:
    """A load that happens, in numbers of all steps; -1 is the start."""

    chunk: str
    gate: int
    use: int
    free: int


def loads_of(program: Program, schedule: Schedule) -> list[Happening]:
    """In the loader's order. One that would serve only calls that rest is left out."""
    begin = [0]
    for g in program.segments:
        begin.append(begin[-1] + g.count * len(g.steps))
    found = []
    for s, g in enumerate(program.segments):
        for i in range(g.count):
            kind = "each" if i else "first"
            for load in schedule.loads:
                if (load.segment, load.iterations) != (s, kind):
                    continue
                served = g.steps[load.step : load.free_step + 1]
                calls = [x for x in served if isinstance(x, Call) and x.chunk == load.chunk]
                if i and all(x.at and i not in x.at for x in calls):
                    continue
                row = begin[s] + i * len(g.steps)
                over = begin[s + 1] - len(g.steps)
                gate = -1
                if load.gate is not None:
                    other = {
                        Moment.SAME: row,
                        Moment.PREVIOUS: row - len(g.steps),
                        Moment.LAST: begin[load.gate.segment + 1]
                        - len(program.segments[load.gate.segment].steps),
                    }
                    gate = other[load.gate.moment] + load.gate.step
                end = row if load.free_moment is Moment.SAME else over
                found.append(Happening(load.chunk, gate, row + load.step, end + load.free_step))
    return found
