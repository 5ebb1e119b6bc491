"""Gates under nominal times as a recurrence: fast enough to try hundreds of schedules.

A load starts when the loader is free and its gate has ended, a call when the call before it has
ended and its chunk is there (max-plus): the times of `Gates` on the clock. A loop longer than
`_WHOLE` iterations is run that far and then goes on at the pace of its last few: the search ranks
with that figure, and compares its best on the clock. Where calls rest, that is whole periods of
them; where they follow none, the loop is run whole.

Moments are whole nanoseconds in floating point, which adds them exactly. So an iteration that ends
as the one before it, later by so much, is told from all others, and all after it are as it is: two
of three iterations need not be run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from entracte.clock.table import whole_ns
from entracte.ir import Call, ChunkFacts, Load, Moment, Program, Segment, Step
from entracte.program.steps import START, happens, number_of, period
from entracte.program.workload import Workload

_WHOLE = 12
_STEADY = 6
"""Iterations over which the pace is averaged: a multiple of two and of three, in case loads
fall into a pattern of several iterations."""

_ROUNDING_S = 1e-5
"""More than sums of seconds and sums of whole nanoseconds differ by."""

Cost = tuple[float, float]
"""Seconds, then bytes loaded."""

_Step = tuple[float, int, bool]
"""Nanoseconds to load before the step (negative: nothing), its gate, whether the gate is
relative."""
_NOTHING: _Step = (-1.0, START, False)


@dataclass(frozen=True, slots=True)
class _Shape:
    """A segment in numbers: how many iterations are run, and the times of each one's steps."""

    count: int
    run: int
    pace: int
    """Iterations over which the pace is averaged."""
    ns: tuple[tuple[float, ...], ...]
    """Of iterations 0, 1, ... as long as they differ; the last entry is all the others'."""
    compute_ns: float
    """Of all iterations."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A load in numbers."""

    load: Load
    """Kept, so that no other object gets its identity."""
    bytes: int
    seconds: float
    """Of all its times."""
    step: _Step
    when: frozenset[int] | None
    """The iterations in which it happens, where calls rest."""


class Pace:
    """Prepared for one workload."""

    def __init__(self, workload: Workload) -> None:
        program, facts = workload.program, workload.facts
        self.workload = workload
        self.program, self.facts, self.contention = program, facts, workload.contention
        self.shapes = [_shape(segment, facts) for segment in program.segments]
        self.compute_s = sum(shape.compute_ns for shape in self.shapes) / 1e9
        self._known: dict[int, _Known] = {}
        """By identity: attempts share most loads (`place.Given.said`)."""
        self._costs: dict[int, tuple[tuple[Load, ...], Cost]] = {}
        """By the identity of all loads."""
        self.first_looks: dict[
            object, tuple[tuple[Load, ...], dict[int, frozenset[str]], Cost]
        ] = {}
        """What quick searches found (`search.Searcher.first_look`), by what they try."""
        self.straight_s, self.first_s = _firsts(program, facts)
        self.base: list[int] = []
        total = 0
        for shape, segment in zip(self.shapes, program.segments, strict=True):
            self.base.append(total)
            total += shape.run * len(segment.steps)

    def least_s(self, again_s: float) -> float:
        """No loads that take so many seconds after first iterations cost less than this.

        Calls are serial, those before the end of the first loop's first iteration wait for the
        first loads whatever is kept, and there is one loader. Then what `cost` adds grows by less
        than the seconds it is taken from.
        """
        loading = self.first_s + again_s
        seconds = max(self.compute_s + self.straight_s, loading)
        hidden = max(0.0, loading - (seconds - self.compute_s))
        return seconds + min(1.0, self.contention - 1) * hidden - _ROUNDING_S

    def cost(self, loads: tuple[Load, ...]) -> Cost:
        """Seconds of the whole run, to a nanosecond, and the bytes it loads."""
        if id(loads) not in self._costs:
            self._costs[id(loads)] = loads, self._cost(loads)
        return self._costs[id(loads)][1]

    def _cost(self, loads: Iterable[Load]) -> Cost:
        first: list[dict[int, _Known]] = [{} for _ in self.shapes]
        each: list[dict[int, _Known]] = [{} for _ in self.shapes]
        loaded, loading = 0, 0.0
        for load in loads:
            known = self._known.get(id(load)) or self._known_anew(load)
            kind = first if load.iterations == "first" else each
            kind[load.segment][load.step] = known
            loaded += known.bytes
            loading += known.seconds
        seconds = self._run(first, each)
        # What loads behind computing slows both: about that much longer (scheduling.md, 7).
        hidden = max(0.0, loading - (seconds - self.compute_s))
        return round(seconds + (self.contention - 1) * hidden, 9), loaded

    def _known_anew(self, load: Load) -> _Known:
        facts, segment = self.facts[load.chunk], self.program.segments[load.segment]
        when = happens(load, segment)
        often = number_of(when, segment)
        self._known[id(load)] = known = _Known(
            load,
            often * facts.weight_bytes,
            often * facts.load_s,
            self._step(load.step, load),
            when if load.iterations == "each" else None,
        )
        return known

    def _run(self, first: list[dict[int, _Known]], each: list[dict[int, _Known]]) -> float:
        ends: list[float] = []
        free = 0.0
        for s, shape in enumerate(self.shapes):
            length = len(self.program.segments[s].steps)
            begin, again = [_NOTHING] * length, [_NOTHING] * length
            for k, x in first[s].items():
                begin[k] = x.step
            for k, x in each[s].items():
                again[k] = x.step
            happen = {k: x.when for k, x in each[s].items() if x.when is not None}
            steady_ns = -1.0
            for i in range(shape.run):
                own = again if i else begin
                if i and happen:
                    own = [_NOTHING if i not in happen.get(k, (i,)) else x
                           for k, x in enumerate(again)]  # fmt: skip
                before = free
                free = _iterate(own, shape.ns[min(i, len(shape.ns) - 1)], ends, free)
                if i < max(1, len(shape.ns) - 1) or happen:
                    continue
                later = ends[-1] - ends[-1 - length]
                freed = later if each[s] else 0.0
                if free - before == freed and _is_steady(ends, length, later):
                    more, steady_ns = shape.run - 1 - i, later
                    _go_on(ends, length, more, later)
                    free += more * freed
                    break
            if shape.run < shape.count:
                pace = steady_ns
                if pace < 0:
                    pace = (ends[-1] - ends[-1 - shape.pace * length]) / shape.pace
                shift = float(round((shape.count - shape.run) * pace))
                ends[-length:] = [t + shift for t in ends[-length:]]
                free += shift
        return (ends[-1] if ends else 0.0) / 1e9

    def _step(self, step: int, load: Load) -> _Step:
        facts, gate = self.facts[load.chunk], load.gate
        # A package's first load in a run is cold.
        cold_s = facts.cold_s if load.iterations == "first" else 0.0
        ns = float(whole_ns(facts.load_s) + whole_ns(cold_s))
        if gate is None:
            return ns, START, False
        length = len(self.program.segments[gate.segment].steps)
        if gate.moment is Moment.LAST:
            last = (self.shapes[gate.segment].run - 1) * length
            return ns, self.base[gate.segment] + last + gate.step, False
        back = length if gate.moment is Moment.PREVIOUS else 0
        return ns, gate.step - step - back, True


def _firsts(program: Program, facts: Mapping[str, ChunkFacts]) -> tuple[float, float]:
    """Seconds that calls wait, at least, up to the end of the first loop's first iteration; and
    seconds of all loads of first iterations."""
    waiting = loading = computing = total = 0.0
    is_before = True
    for segment in program.segments:
        seen: set[str] = set()
        for step in segment.steps:
            if isinstance(step, Call) and step.is_called(0):
                f = facts[step.chunk]
                if step.chunk not in seen:
                    loading += f.load_s + f.cold_s
                    total += f.load_s
                seen.add(step.chunk)
                waiting = max(waiting, loading - computing) if is_before else waiting
                computing += _seconds(step, 0, facts)
        is_before = is_before and segment.count == 1
    return waiting, total


def _iterate(steps: list[_Step], ns: tuple[float, ...], ends: list[float], free: float) -> float:
    """One iteration of a segment; appends the end of each step, returns when the loader is free."""
    now = ends[-1] if ends else 0.0
    for (load, gate, relative), own in zip(steps, ns, strict=True):
        if load >= 0.0:
            at = len(ends) + gate if relative else gate
            if at >= 0 and ends[at] > free:
                free = ends[at]
            free += load
            if free > now:
                now = free
        now += own
        ends.append(now)
    return free


def _is_steady(ends: list[float], length: int, later: float) -> bool:
    """Whether all steps of the last iteration ended by so much later than those before it."""
    pairs = zip(ends[-length:], ends[-2 * length : -length], strict=True)
    return all(now - before == later for now, before in pairs)


def _go_on(ends: list[float], length: int, more: int, later: float) -> None:
    """Appends so many iterations like the last one; when those between end nobody asks."""
    last = ends[-length:]
    if more > 0:
        ends += last * (more - 1)
        ends += [t + more * later for t in last]


def _shape(segment: Segment, facts: Mapping[str, ChunkFacts]) -> _Shape:
    """Iterations differ as long as functions change, or as calls rest."""
    calls = [s for s in segment.steps if isinstance(s, Call)]
    distinct = min(segment.count, max([0, *(n for s in calls for _, n in s.switch)]) + 1)
    every = period(segment)
    pace = -(-_STEADY // every) * every
    run = min(segment.count, distinct + _WHOLE - _STEADY + pace)
    run += (segment.count - run) % every
    resting = any(s.at for s in calls)
    ns = tuple(
        tuple(_ns(s, i, facts) for s in segment.steps)
        for i in range(segment.count if resting else distinct)
    )
    alone = [sum(own) for own in ns]
    compute = sum(alone) + (segment.count - len(alone)) * alone[-1]
    return _Shape(segment.count, run, pace, ns, compute)


def _ns(step: Step, iteration: int, facts: Mapping[str, ChunkFacts]) -> float:
    """As the clock has it: whole."""
    if not isinstance(step, Call) or not step.is_called(iteration):
        return 0.0
    function = step.function_at(iteration)
    return float(step.repeat * whole_ns(facts[step.chunk].exec_of(function)))


def _seconds(step: Step, iteration: int, facts: Mapping[str, ChunkFacts]) -> float:
    if not isinstance(step, Call) or not step.is_called(iteration):
        return 0.0
    return step.repeat * facts[step.chunk].exec_of(step.function_at(iteration))
