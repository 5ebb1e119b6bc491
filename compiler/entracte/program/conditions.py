"""What of a program follows from its packages and from given inputs alone, and the program without.

A **condition** is all steps before the first loop that draws on a seed which follow from the same
inputs: from none (the embeddings of a sampler's times), from the prompt (its encoder, and the
projections of its result that were moved out of the loop). Where its values are kept, the program
without its steps, in which they are given like constants, is a program like any other: drivers run
it and the checker proves it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from entracte.ir import Call, Gate, HostStep, Load, Moment, Port, Program, Schedule, Segment, Step
from entracte.program.frees import reads, with_frees, writes
from entracte.program.steps import bases, where_is

Place = tuple[int, int]
"""Segment and step; of a loop each step stands for all its iterations."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Steps that follow from the same inputs.

    Attributes:
        inputs: which, in the program's order.
        steps: their places, by rising order.
        before: the places of all steps whose results go in, itself included.
        values: tensors that other steps read, in the order of the program's.
    """

    inputs: tuple[str, ...]
    steps: tuple[Place, ...]
    before: tuple[Place, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is done or left out as a whole: a step, or a loop."""

    places: tuple[Place, ...]
    reads: frozenset[str]
    writes: frozenset[str]
    is_fixed: bool
    """It may not be left out: an output goes to its writer from it, or it may end early."""


def conditions(program: Program) -> tuple[Condition, ...]:
    """Those in which something is called, by their first step."""
    seeds = {i.name for i in program.inputs if i.kind == "seed"}
    units = list(_units(program))
    origins: dict[str, frozenset[str]] = {i.name: frozenset({i.name}) for i in program.inputs}
    behind: dict[str, frozenset[Place]] = {}
    found: dict[frozenset[str], list[_Unit]] = {}
    before: dict[frozenset[str], frozenset[Place]] = {}
    is_open = True
    for unit in units:
        own = frozenset[str]().union(*(origins.get(x, frozenset()) for x in unit.reads))
        places = frozenset(unit.places).union(*(behind.get(x, frozenset()) for x in unit.reads))
        origins |= dict.fromkeys(unit.writes, own)
        behind |= dict.fromkeys(unit.writes, places)
        if own & seeds or unit.is_fixed:
            is_open &= not program.segments[unit.places[0][0]].is_loop
        elif is_open:
            found.setdefault(own, []).append(unit)
            before[own] = before.get(own, frozenset()) | places
    made = (_condition(program, units, own, found[own], before[own]) for own in found)
    return tuple(c for c in made if c.values and any(_is_call(program, p) for p in c.steps))


def _condition(
    program: Program,
    units: Sequence[_Unit],
    inputs: frozenset[str],
    own: Sequence[_Unit],
    before: frozenset[Place],
) -> Condition:
    made = frozenset[str]().union(*(u.writes for u in own))
    read = frozenset[str]().union(*(u.reads for u in units if u not in own))
    return Condition(
        tuple(i.name for i in program.inputs if i.name in inputs),
        tuple(sorted(p for u in own for p in u.places)),
        tuple(sorted(before)),
        tuple(t.name for t in program.tensors if t.name in made & read),
    )


def _units(program: Program) -> Iterator[_Unit]:
    """In the order in which they are done."""
    streamed = {t.name for t in program.tensors if t.streamed}
    outward = set(program.output_values) | streamed
    many = _made_twice(program)
    for s, segment in enumerate(program.segments):
        whole = segment.is_loop or segment.until is not None
        pieces = [range(len(segment.steps))] if whole else [[k] for k in range(len(segment.steps))]
        for piece in pieces:
            steps = [segment.steps[k] for k in piece]
            state = segment.state if whole else ()
            made = frozenset(name for name, _, _ in state).union(*map(writes, steps))
            read = frozenset(first for _, first, _ in state).union(*map(reads, steps))
            fixed = bool(made & outward or made & many) or segment.until is not None
            yield _Unit(tuple((s, k) for k in piece), read, made, fixed)


def _made_twice(program: Program) -> set[str]:
    """Tensors that more than one step makes."""
    seen, twice = set[str](), set[str]()
    for step in (x for s in program.segments for x in s.steps):
        twice |= seen & writes(step)
        seen |= writes(step)
    return twice


def _is_call(program: Program, place: Place) -> bool:
    return isinstance(program.segments[place[0]].steps[place[1]], Call)


# ---------------------------------------------------------------- without them


@dataclass(frozen=True)
class Rest:
    """A program without some of its steps.

    Attributes:
        program: the values of these steps are constants of it; those in slots have as many.
        schedule: the loads that are left. A gate that is gone is the last step before it.
        whole: the program that it is of.
        places: of each segment and step that is left, where it is in `whole`.
        given: the tensors that are given now, in the order of the program's.
    """

    program: Program
    schedule: Schedule
    whole: Program
    places: tuple[tuple[Place, ...], ...]
    given: tuple[str, ...] = ()

    @cached_property
    def _bases(self) -> tuple[list[int], list[int]]:
        return bases(self.program), bases(self.whole)

    def number(self, n: int) -> int:
        """The number that step n has in the whole program."""
        own, all_ = self._bases
        s, iteration, k = where_is(self.program.segments, own, n)
        segment, step = self.places[s][k]
        return all_[segment] + iteration * len(self.whole.segments[segment].steps) + step


def without(program: Program, schedule: Schedule, left_out: Iterable[Condition]) -> Rest:
    """What is left to do where the values of these conditions are given."""
    left_out = tuple(left_out)
    gone = {p for c in left_out for p in c.steps}
    places = [
        tuple((s, k) for k in range(len(g.steps)) if (s, k) not in gone)
        for s, g in enumerate(program.segments)
    ]
    segments = tuple(
        replace(g, steps=tuple(g.steps[k] for _, k in own))
        for g, own in zip(program.segments, places, strict=True)
        if own
    )
    kept = tuple(own for own in places if own)
    used = _used(segments) | set(program.output_values)
    values = {x for c in left_out for x in c.values} & used
    given = tuple(t for t in program.tensors if t.name in values)
    spent = _used(program.segments) - used
    ports = tuple(Port(t.name, t.port.shape, t.port.dtype) for t in given)
    rest = Program(
        inputs=tuple(i for i in program.inputs if i.name not in spent),
        constants=(*(c for c in program.constants if c.name not in spent), *ports),
        tensors=tuple(t for t in program.tensors if t.name not in spent),
        segments=segments,
        outputs=program.outputs,
    )
    loads = tuple(_loads(program, schedule, kept))
    return Rest(
        with_frees(rest), replace(schedule, loads=loads), program, kept,
        tuple(t.name for t in given),
    )  # fmt: skip


def _used(segments: Iterable[Segment]) -> set[str]:
    return {
        x
        for g in segments
        for names in ((y for carried in g.state for y in carried), *map(_touched, g.steps))
        for x in names
    }


def _touched(step: Step) -> set[str]:
    return reads(step) | writes(step)


def _loads(program: Program, schedule: Schedule, kept: Sequence[Sequence[Place]]) -> Iterator[Load]:
    new = {place: (s, k) for s, own in enumerate(kept) for k, place in enumerate(own)}
    for load in schedule.loads:
        steps = program.segments[load.segment].steps
        calls = [
            new[load.segment, k]
            for k in range(load.step, load.free_step + 1)
            if (load.segment, k) in new and _is_of(steps[k], load.chunk)
        ]
        if not calls:
            continue
        segment, first = calls[0]
        gate = None if load.gate is None else _gate(load.gate, new, kept)
        yield replace(
            load, segment=segment, step=first, free_step=calls[-1][1], gate=_own(gate, segment)
        )


def _is_of(step: Step, chunk: str) -> bool:
    return not isinstance(step, HostStep) and step.chunk == chunk


def _gate(gate: Gate, new: Mapping[Place, Place], kept: Sequence[Sequence[Place]]) -> Gate | None:
    """The same step, or the last one before it that is left; None where there is none."""
    if (place := new.get((gate.segment, gate.step))) is not None:
        return Gate(*place, gate.moment)
    earlier = [
        (s, k)
        for s, own in enumerate(kept)
        for k, (segment, step) in enumerate(own)
        if (segment, step) < (gate.segment, gate.step)
    ]
    return Gate(*earlier[-1], Moment.LAST) if earlier else None


def _own(gate: Gate | None, segment: int) -> Gate | None:
    """What was the end of a step before a load's segment may be a step of it now."""
    if gate is not None and gate.segment == segment and gate.moment is Moment.LAST:
        return replace(gate, moment=Moment.SAME)
    return gate
