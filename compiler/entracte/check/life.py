"""The checker's half about tensors: every one is made before it is read and dropped once.

Like `check` it shares no code with the planner. A loop that may end early (`until`) is followed
to its end after each iteration looked at: if all ends leave the same tensors, the rest of the
program is proven once for all of them.

What a loop collects is there whole from the first iteration that writes a piece of it, and to no
step of the loop is it there to be read or freed. A state may be of another float type than what it
takes: at an iteration's end the old states are dropped, then the new ones are cast beside what they
are cast from. Both were counted while the last step ran, so nothing is ever beside them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod

from entracte.check.names import once
from entracte.errors import PlanError
from entracte.ir import By, Call, DType, HostStep, Program, Segment, Step

ITERATIONS = 5
"""Loops are periodic after their first iteration, so five cover every kind of neighbour."""


@dataclass(frozen=True, slots=True)
class At:
    """A step as it runs: its segment, the iteration, and its place in the iteration."""

    segment: int
    iteration: int
    step: int
    what: Step


def unrolled(program: Program) -> list[At]:
    """The steps in order, of each loop the first `ITERATIONS`."""
    return [
        At(s, i, k, step)
        for s, segment in enumerate(program.segments)
        for i in range(min(segment.count, ITERATIONS))
        for k, step in enumerate(segment.steps)
    ]


# ---------------------------------------------------------------- states


def check_carried(program: Program, segment: Segment) -> None:
    """A loop's state has the shape of what it starts as and goes on as, and its type, or all are
    floats; what the loop drops at its end are tensors, and what it collects is left alone."""
    ports = {t.name: (t.port.shape, t.port.dtype, t.slots) for t in program.tensors}
    _check_collected(program, segment)
    once(
        f"plan: loop {segment.name}: two states take what is called",
        (x for _, _, x in segment.state),
    )
    once(f"plan: segment {segment.name} frees twice", segment.frees)
    if stray := sorted(set(segment.frees) - ports.keys()):
        raise PlanError(f"plan: segment {segment.name} frees {stray[0]}, which is not declared")
    names = {name for name, _, _ in segment.state}
    for name, first, following in segment.state:
        if following in names:
            raise PlanError(
                f"plan: loop {segment.name}: state {name} goes on as {following}, which is itself "
                "a state; a step must make what a state takes"
            )
        unknown = [x for x in (name, first, following) if x not in ports]
        if unknown:
            raise PlanError(
                f"plan: loop {segment.name} carries {unknown[0]}, which is not declared"
            )
        if not _alike(ports[name], ports[first], ports[following]):
            raise PlanError(
                f"plan: loop {segment.name}: state {name} is {ports[name]}, starts as "
                f"{ports[first]} and goes on as {ports[following]}"
            )


def _alike(*ports: tuple[tuple[int, ...], DType, int]) -> bool:
    """Of one shape, and of one type or all floats."""
    shapes, types = {(shape, slots) for shape, _, slots in ports}, {dtype for _, dtype, _ in ports}
    return len(shapes) == 1 and (len(types) == 1 or DType.INT32 not in types)


def _check_collected(program: Program, segment: Segment) -> None:
    """It is whole only when the loop is over."""
    streamed = {t.name for t in program.tensors if t.streamed}
    carried = {x for state in segment.state for x in state} | {segment.until}
    for step in segment.steps:
        for name in (b.tensor for b in step.outputs if b.by is By.ITERATION):
            if name in streamed:
                continue
            where = f"plan: loop {segment.name} collects {name}"
            if name in carried:
                raise PlanError(f"{where}, which is a state of it, or ends it")
            for other in segment.steps:
                if name in reads_of(other) or name in other.frees:
                    verb = "frees" if name in other.frees else "reads"
                    raise PlanError(f"{where}, which a step of it {verb}")


# ---------------------------------------------------------------- tensors


def check_until(program: Program, segment: Segment) -> None:
    """What ends a loop early is one number."""
    if segment.until is None:
        return
    decl = next((t for t in program.tensors if t.name == segment.until), None)
    if decl is None or prod(decl.port.shape) * decl.slots != 1:
        raise PlanError(
            f"plan: loop {segment.name} may end by {segment.until}, which is not one number"
        )
    if not any(b.tensor == segment.until for s in segment.steps for b in s.outputs):
        raise PlanError(
            f"plan: loop {segment.name}: no step of it makes {segment.until}, by which it may end"
        )


class _Alive:
    """Working state: the tensors that are alive, and the bytes of those that are declared."""

    def __init__(self, sizes: Mapping[str, int], names: Iterable[str]) -> None:
        self.sizes, self.names, self.held_bytes = sizes, set[str](), 0
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        if name not in self.names:
            self.names.add(name)
            self.held_bytes += self.sizes.get(name, 0)

    def discard(self, name: str) -> None:
        if name in self.names:
            self.names.remove(name)
            self.held_bytes -= self.sizes.get(name, 0)


def check_tensors(program: Program, timeline: Sequence[At]) -> list[int]:
    """Follow every tensor's life; returns the bytes of those alive during each step."""
    return [alive.held_bytes for alive in _followed(program, timeline)]


def tensors_at(program: Program, timeline: Sequence[At], step: int) -> frozenset[str]:
    """The names of those alive during a step of the timeline, of a program that was checked."""
    alive = next(islice(_followed(program, timeline), step, None))
    return frozenset(alive.names & alive.sizes.keys())


def _followed(program: Program, timeline: Sequence[At]) -> Iterator[_Alive]:
    """The same working state again and again, as it is during each step."""
    # Of what is streamed one piece is there, and its port is that piece.
    sizes = {t.name: t.port.size_bytes * t.slots for t in program.tensors}
    given, constants = {i.name for i in program.inputs}, {c.name for c in program.constants}
    alive = _Alive(sizes, (given & sizes.keys()) | constants)
    untyped = given - sizes.keys()
    ends: dict[int, set[str]] = {}
    for n, at in enumerate(timeline):
        segment = program.segments[at.segment]
        if at.step == 0:
            _enter_iteration(segment.state, at.iteration, alive, segment.name)
            for name in _taken(program, segment):
                alive.discard(name)
        _begin_step(at, alive, untyped)
        yield alive
        _end_step(at, alive)
        if at.step + 1 == len(segment.steps):
            _end_iteration(segment, at, alive, ends)
        if n + 1 == len(timeline) or timeline[n + 1].segment != at.segment:
            _leave_segment(segment.state, segment.frees, alive, segment.name)
    gone = {x for g in program.segments for names in (g, *g.steps) for x in names.frees}
    # Whether those that are freed had their turn: `check.outputs`.
    outputs = set(program.output_values) - gone
    if lost := sorted(outputs - alive.names):
        raise PlanError(f"plan: the output {lost[0]} is not there at the end")
    left = sorted(alive.names - outputs - given - constants)
    if left:
        raise PlanError(f"plan: tensor {left[0]} is never freed")


def _begin_step(at: At, alive: _Alive, untyped: set[str]) -> None:
    lost = sorted(reads_of(at.what) - alive.names - untyped)
    if lost:
        raise PlanError(f"plan: {name_of(at)} reads {lost[0]}, which is not there any more or yet")
    for binding in at.what.outputs:
        if binding.tensor not in alive.sizes:
            raise PlanError(f"plan: {name_of(at)} writes {binding.tensor}, which is not declared")
        alive.add(binding.tensor)


def _end_step(at: At, alive: _Alive) -> None:
    once(f"plan: {name_of(at)} frees twice", at.what.frees)
    stray = sorted(set(at.what.frees) - alive.names)
    if stray:
        raise PlanError(f"plan: {name_of(at)} frees {stray[0]}, which is not there")
    for tensor in at.what.frees:
        alive.discard(tensor)


def _enter_iteration(
    state: Sequence[tuple[str, str, str]], iteration: int, alive: _Alive, segment: str
) -> None:
    for name, first, following in state:
        source = first if iteration == 0 else following
        if source not in alive.names:
            raise PlanError(
                f"plan: loop {segment}: state {name} takes {source}, which is not there"
            )
        alive.add(name)
        if iteration > 0:
            alive.discard(following)


def _end_iteration(segment: Segment, at: At, alive: _Alive, ends: dict[int, set[str]]) -> None:
    """Drop what says whether the loop goes on; ending here leaves what other ends leave."""
    if segment.until is None:
        return
    if segment.until not in alive.names:
        raise PlanError(
            f"plan: loop {segment.name}: nothing made {segment.until}, by which it may end"
        )
    if segment.until not in {following for _, _, following in segment.state}:
        alive.discard(segment.until)
    left = _Alive({}, alive.names)
    _leave_segment(segment.state, segment.frees, left, segment.name)
    other = sorted(left.names ^ ends.setdefault(at.segment, left.names))
    if other:
        raise PlanError(
            f"plan: loop {segment.name} may end after iteration {at.iteration}, where {other[0]} "
            "is not as after the first"
        )


def _taken(program: Program, segment: Segment) -> list[str]:
    """First values that go when a map's states have taken them: the segment drops them, no step of
    it reads them, no output has them, and every state that takes them has their type."""
    if not segment.sliced:
        return []
    types = {t.name: t.port.dtype for t in program.tensors}
    used = set(program.output_values)
    for step in segment.steps:
        used |= reads_of(step)
    used |= {first for name, first, _ in segment.state if types[name] is not types[first]}
    return [x for x in segment.frees if x in {f for _, f, _ in segment.state} and x not in used]


def _leave_segment(
    state: Sequence[tuple[str, str, str]], frees: Sequence[str], alive: _Alive, segment: str
) -> None:
    for name, _, following in state:
        if following not in alive.names:
            raise PlanError(f"plan: loop {segment}: nothing made {following}, the next {name}")
        alive.discard(following)
        # A step may have dropped what it was; what it is now is there until the loop drops it.
        alive.add(name)
    for tensor in frees:
        alive.discard(tensor)


def reads_of(step: Step) -> set[str]:
    """The tensors, or inputs, that a step reads."""
    if isinstance(step, HostStep):
        return {value for _, value in step.inputs}
    return {b.tensor for b in step.inputs} | ({step.rests_by} - {""})


def name_of(at: At) -> str:
    """How errors name a step: segment, iteration, step, and the chunk or host stage."""
    return f"step {at.segment}.{at.iteration}.{at.step} ({label_of(at.what)})"


def label_of(step: Step) -> str:
    """Its chunk, or the host stage."""
    return step.chunk if isinstance(step, Call) else step.stage
