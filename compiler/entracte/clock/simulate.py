"""Schedule x times -> what happens when: one loader, one compute unit, gates between them.

The recurrence is exact for given durations (max-plus): a load starts when the loader is free
and its gate has ended; a call starts when the call before it has ended and its chunk is there.
A loop that ends early waits for the load in flight and skips its other loads. The first load of
a package is cold. With contention the durations come from `entracte/clock/contend.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from entracte.clock.contend import Shared
from entracte.ir import Call, ChunkFacts, Event, Program, Schedule, Step
from entracte.program.steps import PACE, START, Placement, bases, shortened, unroll, where_is

Times = Callable[[str, int], float]
"""(chunk, how many times it happened before) -> seconds."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The compute unit waits for a load before a call. `cause`: see `Forecast.stalls`."""

    chunk: str
    segment: int
    iteration: int
    start_s: float
    end_s: float
    cause: str


@dataclass(frozen=True, slots=True)
class Simulation:
    makespan_s: float
    compute_s: float
    loading_s: float
    loads: int
    loaded_bytes: int
    events: tuple[Event, ...]
    stage_s: tuple[tuple[str, float], ...]
    stalls: tuple[tuple[str, float], ...]
    """(cause, seconds): see `Forecast.stalls`."""
    waits: tuple[Wait, ...] = ()

    @property
    def stall_s(self) -> float:
        return self.makespan_s - self.compute_s


def simulate(
    program: Program,
    facts: Mapping[str, ChunkFacts],
    schedule: Schedule,
    *,
    load_times: Times | None = None,
    exec_times: Times | None = None,
    ends: Mapping[int, int] | None = None,
    contention: float = 1.0,
) -> Simulation:
    """Run the schedule on the clock. Times default to the nominal ones of `facts`, each call's
    those of the function it uses in its iteration. `ends` maps segments that may end early
    (`until`) to the iterations they do; the others do all of theirs. `contention` is how much
    slower loads and calls are while they overlap; `compute_s` and `loading_s` include it."""
    done = _Done(program, ends or {})
    clock = _Clock(program, facts, schedule, load_times, exec_times)
    if contention > 1.0:
        alone = _Clock(program, facts, schedule, load_times, exec_times)
        clock.shared = alone.shared_times(done, contention)
    for number, segment, iteration, step in done:
        if step is None:
            clock.end_early(number, number + iteration)
        else:
            clock.step(number, segment, iteration, step)
    return clock.result()


@dataclass(frozen=True, slots=True)
class _Done:
    """What is done: (number, segment, iteration, step). Where a loop ends early, the number of
    steps that are skipped stands for the iteration, and there is no step."""

    program: Program
    ends: Mapping[int, int]

    def __iter__(self) -> Iterator[tuple[int, int, int, Step | None]]:
        number = 0
        for s, segment in enumerate(self.program.segments):
            done = min(self.ends.get(s, segment.count), segment.count)
            for i in range(done):
                for step in segment.steps:
                    yield number, s, i, step
                    number += 1
            skipped = (segment.count - done) * len(segment.steps)
            if skipped:
                yield number, s, skipped, None
                number += skipped


class _Clock:
    """Working state of `simulate`: when the loader is free and when each step ended."""

    def __init__(
        self,
        program: Program,
        facts: Mapping[str, ChunkFacts],
        schedule: Schedule,
        load_times: Times | None,
        exec_times: Times | None,
    ) -> None:
        self.program, self.facts, self.schedule = program, facts, schedule
        self.load_times, self.exec_times = load_times, exec_times
        self.base = bases(program)
        self.pending = unroll(program, schedule)
        self.load = next(self.pending, None)
        self.ready: dict[int, float] = {}
        self.ends: list[float] = []
        self.loader_free = self.loading = self.computing = 0.0
        self.loads = self.loaded_bytes = 0
        self.events: list[Event] = []
        self.stage_s: dict[str, float] = {}
        self.stalls = dict.fromkeys(STALLS, 0.0)
        self.waits: list[Wait] = []
        self.made: list[Placement] = []
        self.calls: dict[str, int] = {}
        self.seen: set[str] = set()
        self.shared: Shared | None = None

    def shared_times(self, done: _Done, contention: float) -> Shared:
        """How long everything takes when loads and calls slow each other down."""
        loads = unroll(self.program, self.schedule)
        shared = Shared(loads, lambda x, n: self._load_seconds(x.chunk, n), contention)
        for number, _, iteration, step in done:
            if step is None:
                shared.end_early(number + iteration)
            else:
                shared.step(number, self._seconds(step, iteration))
        return shared

    def step(self, number: int, segment: int, iteration: int, step: Step) -> None:
        # Every load for this step or an earlier one has its gate among the steps that ended.
        while self.load is not None and self.load.use <= number:
            self._make(self.load)
            self.load = next(self.pending, None)
        begin = max(self._now(), self.ready.get(number, 0.0))
        self._note_wait(number, segment, iteration, step, begin)
        seconds = self._seconds(step, iteration)
        if self.shared is not None:
            seconds = self.shared.step_s[number]
        if isinstance(step, Call):
            self._note("compute", step.chunk, (segment, iteration), begin, begin + seconds)
        self.stage_s[step.stage] = self.stage_s.get(step.stage, 0.0) + seconds
        self.computing += seconds
        self.ends.append(begin + seconds)

    def end_early(self, number: int, resume: int) -> None:
        """The steps from `number` to `resume` are not done. A load of theirs that began before
        is finished (its gate is not the last step's: that opens only if the loop goes on)."""
        while self.load is not None and self.load.use < resume:
            opened = self.load.gate < number - 1
            if opened and self._start(self.load) < self._now():
                self._make(self.load)
                self.load = next(self.pending, None)
                continue
            while self.load is not None and self.load.use < resume:
                self.load = next(self.pending, None)
        end = max(self._now(), self.loader_free)
        self.ends += [end] * (resume - number)

    def _note_wait(
        self, number: int, segment: int, iteration: int, step: Step, begin: float
    ) -> None:
        now = self._now()
        cause = cause_of(self.program, number, segment, iteration)
        self.stalls[cause] += begin - now
        if begin > now and isinstance(step, Call):
            self.waits.append(Wait(step.chunk, segment, iteration, now, begin, cause))

    def _note_frees(self) -> None:
        """Each copy is given back when its last step has ended."""
        for load in self.made:
            segment, iteration = self._where(load.free)
            end = self.ends[load.free]
            size = self.facts[load.chunk].weight_bytes
            self.events.append(Event("free", load.chunk, segment, iteration, end, end, size))

    def result(self) -> Simulation:
        self._note_frees()
        return Simulation(
            makespan_s=self._now(),
            compute_s=self.computing,
            loading_s=self.loading,
            loads=self.loads,
            loaded_bytes=self.loaded_bytes,
            events=tuple(self.events),
            stage_s=tuple(self.stage_s.items()),
            stalls=tuple((cause, s) for cause, s in self.stalls.items() if s > 0),
            waits=tuple(self.waits),
        )

    def _now(self) -> float:
        return self.ends[-1] if self.ends else 0.0

    def _start(self, load: Placement) -> float:
        return max(self.loader_free, 0.0 if load.gate == START else self.ends[load.gate])

    def _make(self, load: Placement) -> None:
        start = self._start(load)
        seconds = self._load_seconds(load.chunk, self.loads)
        if self.shared is not None:
            seconds = self.shared.load_s.get(load.use, seconds)
        self.loader_free = self.ready[load.use] = start + seconds
        self.loading += seconds
        self.loads += 1
        self.loaded_bytes += self.facts[load.chunk].weight_bytes
        self.made.append(load)
        self._note("load", load.chunk, self._where(load.use), start, self.loader_free)

    def _load_seconds(self, chunk: str, number: int) -> float:
        """The first load of a package in a run is cold."""
        if self.load_times:
            return self.load_times(chunk, number)
        cold = 0.0 if chunk in self.seen else self.facts[chunk].cold_s
        self.seen.add(chunk)
        return self.facts[chunk].load_s + cold

    def _seconds(self, call: Step, iteration: int) -> float:
        if not isinstance(call, Call):
            return 0.0
        count = self.calls.get(call.chunk, 0)
        self.calls[call.chunk] = count + 1
        if self.exec_times:
            return call.repeat * self.exec_times(call.chunk, count)
        return call.repeat * self.facts[call.chunk].exec_of(call.function_at(iteration))

    def _where(self, number: int) -> tuple[int, int]:
        return where_is(self.program.segments, self.base, number)[:2]

    def _note(
        self, queue: str, label: str, where: tuple[int, int], start: float, end: float
    ) -> None:
        segment, iteration = where
        size = self.facts[label].weight_bytes if queue == "load" else 0
        self.events.append(Event(queue, label, segment, iteration, start, end, size))


STALLS = ("start", "straight", "first", "steady")


def cause_of(program: Program, number: int, segment: int, iteration: int) -> str:
    """Which kind of wait a wait before this step is."""
    if number == 0:
        return "start"
    if not program.segments[segment].is_loop:
        return "straight"
    return "first" if iteration == 0 else "steady"


def paced_s(
    program: Program,
    facts: Mapping[str, ChunkFacts],
    schedule: Schedule,
    *,
    contention: float = 1.0,
) -> float:
    """The makespan, nearly: long loops are run for a few iterations and go on at their last pace.

    For comparing many programs: whole runs of them cost several times more.
    """
    short = shortened(program)
    made = simulate(short, facts, schedule, contention=contention)
    ends = {(e.segment, e.iteration): e.end_s for e in made.events if e.queue == "compute"}
    seconds = made.makespan_s
    for s, (whole, run) in enumerate(zip(program.segments, short.segments, strict=True)):
        if run.count < whole.count and (s, run.count - 1) in ends:
            pace = (ends[s, run.count - 1] - ends[s, run.count - 1 - PACE]) / PACE
            seconds += (whole.count - run.count) * pace
    return seconds
