"""A program step by step, and what a schedule's loads mean in those steps.

Steps of all iterations are numbered 0, 1, 2, ...; `START` is before the first. A call that rests in
some iterations (`Call.at`) has its number in them too. What is said of needs and lifetimes is of
the program in which no call rests: never less than what is there.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from entracte.ir import Call, ChunkFacts, Load, Moment, Program, Schedule, Segment, Step
from entracte.program.assemble import reads, writes

START = -1


class Occurrence(NamedTuple):
    """One step of one iteration of the expanded program. (A tuple: planning makes many.)"""

    segment: int
    iteration: int
    step: int
    chunk: str | None
    need_bytes: int
    """Activations of the call and every tensor alive while it runs."""


@dataclass(frozen=True, slots=True)
class Alive:
    """Tensors that are in memory during a step, after it, and after it in the last iteration."""

    during: frozenset[str]
    after: frozenset[str]
    at_end: frozenset[str]


def lifetimes(program: Program) -> dict[tuple[int, int], Alive]:
    """What is alive at (segment, step), the same in every iteration but the first: a tensor made
    or collected in a loop and read after it is there from its second iteration's begin on."""
    known = {t.name for t in program.tensors}
    alive = {i.name for i in program.inputs} | {c.name for c in program.constants}
    alive &= known
    found: dict[tuple[int, int], Alive] = {}
    for s, segment in enumerate(program.segments):
        alive |= {name for name, _, _ in segment.state}
        alive -= firsts_taken(program, segment)
        touched = [(reads(step) | writes(step)) & known for step in segment.steps]
        for _ in range(min(segment.count, 2)):
            found |= {(s, k): a for k, a in enumerate(_iteration(segment, touched, alive))}
        alive -= set(segment.frees)
    return found


def firsts_taken(program: Program, segment: Segment) -> set[str]:
    """First values of a map's states that are gone once the states have taken them: nothing else
    reads them, and they are of the states' types, so that nothing was copied."""
    if not segment.sliced:
        return set()
    types = {t.name: t.port.dtype for t in program.tensors}
    read = set(program.output_values).union(*(reads(s) for s in segment.steps))
    others = {first for name, first, _ in segment.state if types[name] != types[first]}
    return {first for _, first, _ in segment.state} & set(segment.frees) - read - others


def _iteration(segment: Segment, touched: Sequence[set[str]], alive: set[str]) -> Iterator[Alive]:
    """Step by step, which reads or writes `touched`; `alive` goes along. A state keeps its last
    value: the tensor it came from is renamed, not copied."""
    moved = {after for _, _, after in segment.state} | {segment.until or ""}
    *steps, last = segment.steps
    for step, names in zip(steps, touched, strict=False):
        alive |= names
        during = frozenset(alive)
        alive -= set(step.frees)
        after = frozenset(alive)
        yield Alive(during, after, after)
    alive |= touched[-1]
    during = frozenset(alive)
    alive -= set(last.frees) | moved
    alive |= {name for name, _, _ in segment.state}
    yield Alive(during, frozenset(alive), frozenset(alive.difference(segment.frees)))


def expand(
    program: Program, facts: Mapping[str, ChunkFacts], iterations: int | None = None
) -> list[Occurrence]:
    """The steps in order; at most `iterations` of each loop (all of them when None)."""
    size = {t.name: t.size_bytes for t in program.tensors}.__getitem__
    held = {at: sum(map(size, a.during)) for at, a in lifetimes(program).items()}
    unrolled = []
    for s, segment in enumerate(program.segments):
        count = segment.count if iterations is None else min(segment.count, iterations)
        once: list[tuple[int, str | None, int]] = []
        for k, step in enumerate(segment.steps):
            chunk = step.chunk if isinstance(step, Call) else None
            activation = facts[chunk].activation_bytes if chunk is not None else 0
            once.append((k, chunk, held[s, k] + activation))
        unrolled += [Occurrence(s, i, *own) for i in range(count) for own in once]
    return unrolled


RUN, PACE = 10, 6
"""Iterations that are run of a long loop, and over how many of them its pace is averaged, where
all are alike."""


def shortened(program: Program) -> Program:
    """For quick looks: loops do at most `RUN` iterations beyond those in which functions change;
    where calls rest, as many more as make whole periods of what is averaged and of what is left
    out. A loop whose calls follow no short period is run whole."""
    return replace(program, segments=tuple(_shortened(g) for g in program.segments))


def pace_of(segment: Segment) -> int:
    """Iterations over which the pace of a long loop is averaged: whole periods of its calls."""
    every = period(segment)
    return -(-PACE // every) * every


def period(segment: Segment) -> int:
    """After how many iterations the same calls happen again: 1 where none rests, `count` where
    they never do."""
    sets = {frozenset(x.at) for x in segment.steps if isinstance(x, Call) and x.at}
    for p in range(1, segment.count):
        if all((i in at) == (i + p in at) for at in sets for i in range(segment.count - p)):
            return p
    return segment.count


def _shortened(segment: Segment) -> Segment:
    calls = [x for x in segment.steps if isinstance(x, Call)]
    changes = [n for x in calls for _, n in x.switch if n < segment.count]
    run = max(changes, default=0) + RUN - PACE + pace_of(segment)
    run += (segment.count - run) % period(segment)
    if run >= segment.count:
        return segment
    return replace(segment, count=run, steps=tuple(_cut(x, run) for x in segment.steps))


def _cut(step: Step, count: int) -> Step:
    if not isinstance(step, Call) or not step.at:
        return step
    return replace(step, at=tuple(i for i in step.at if i < count))


# ---------------------------------------------------------------- meaning of a schedule


class Placement(NamedTuple):
    """One load of the unrolled program, in absolute step numbers (-1 is the start). (A tuple:
    planning makes many.)"""

    chunk: str
    gate: int
    use: int
    free: int


def bases(program: Program) -> list[int]:
    """The absolute number of each segment's first step."""
    result, total = [], 0
    for segment in program.segments:
        result.append(total)
        total += segment.count * len(segment.steps)
    return result


def where_is(
    segments: Sequence["Stepped"], base: Sequence[int], number: int
) -> tuple[int, int, int]:
    """Segment, iteration and step of an absolute step number; `base` as `bases` gives it."""
    s = bisect_right(base, number) - 1
    return s, *divmod(number - base[s], len(segments[s].steps))


def functions_of(program: Program) -> Callable[[int], str]:
    """By the absolute number of a step: the function that its call uses."""
    base = bases(program)

    def function_at(number: int) -> str:
        s, iteration, k = where_is(program.segments, base, number)
        step = program.segments[s].steps[k]
        assert isinstance(step, Call)
        return step.function_at(iteration)

    return function_at


def resting(program: Program, share: float) -> Callable[[int], bool]:
    """By the absolute number of a step: whether its call rests, where those that ask a tensor
    happen in this share of the iterations, evenly, the first one among them."""
    base = bases(program)

    def rests(number: int) -> bool:
        s, i, k = where_is(program.segments, base, number)
        step, count = program.segments[s].steps[k], program.segments[s].count
        happen = max(1, round(share * count))
        if not isinstance(step, Call) or not step.rests_by or i == 0 or not step.is_called(i):
            return False
        return i * happen // count == (i - 1) * happen // count

    return rests


class Stepped(Protocol):
    """A segment, of a program or of the online rule's table."""

    @property
    def steps(self) -> Sequence[object]:
        """One iteration, in order."""


def happens(load: Load, segment: Segment) -> frozenset[int] | None:
    """The iterations in which a load happens; None: `each` that there is, after the first."""
    if load.iterations == "first":
        return frozenset({0})
    calls = [
        x
        for x in segment.steps[load.step : load.free_step + 1]
        if isinstance(x, Call) and x.chunk == load.chunk
    ]
    if not all(x.at for x in calls):
        return None
    return frozenset(i for x in calls for i in x.at) - {0}


def times(load: Load, segment: Segment) -> int:
    """How often a load happens, if no loop ends early."""
    return number_of(happens(load, segment), segment)


def number_of(when: frozenset[int] | None, segment: Segment) -> int:
    """How many iterations those are that `happens` names."""
    return segment.count - 1 if when is None else len(when)


def unroll(program: Program, schedule: Schedule) -> Iterator[Placement]:
    """The loads in the order the loader makes them, for all iterations."""
    base = bases(program)
    loads: dict[tuple[int, bool], list[Load]] = {}
    for load in schedule.loads:
        loads.setdefault((load.segment, load.iterations == "first"), []).append(load)
    for s, segment in enumerate(program.segments):
        length = len(segment.steps)
        yield from (_absolute(program, base, x) for x in loads.get((s, True), ()))
        own = [
            (_absolute(program, base, x), *_moves(x), happens(x, segment))
            for x in loads.get((s, False), ())
        ]
        for i in range(1, segment.count):
            for (chunk, gate, use, free), gates, frees, when in own:
                if when is None or i in when:
                    by = i * length
                    yield Placement(chunk, gate + gates * by, use + by, free + frees * by)


def _absolute(program: Program, base: list[int], load: Load) -> Placement:
    """In iteration 0; a gate in the iteration before that is below its segment's begin."""
    segment = program.segments[load.segment]
    begin, length = base[load.segment], len(segment.steps)
    gate = START
    if load.gate is not None and load.gate.moment is Moment.LAST:
        before = program.segments[load.gate.segment]
        last = (before.count - 1) * len(before.steps)
        gate = base[load.gate.segment] + last + load.gate.step
    elif load.gate is not None:
        back = length if load.gate.moment is Moment.PREVIOUS else 0
        gate = begin + load.gate.step - back
    last_iteration = segment.count - 1 if load.free_moment is Moment.LAST else 0
    free = begin + last_iteration * length + load.free_step
    return Placement(load.chunk, gate, begin + load.step, free)


def _moves(load: Load) -> tuple[bool, bool]:
    """Whether its gate and its free are of the load's own iteration."""
    own = load.gate is not None and load.gate.moment is not Moment.LAST
    return own, load.free_moment is not Moment.LAST
