"""Workload x schedule -> Prediction: what happens when, if loads and calls take nominal times."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from entracte.clock.clock import Gamma, Interval, Simulation, simulate
from entracte.clock.drivers import make_driver
from entracte.ir import Bar, Program, Schedule
from entracte.program.steps import functions_of, resting
from entracte.program.workload import Workload


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
class Prediction:
    """A whole run, seconds and names."""

    makespan_s: float
    compute_s: float
    """Contention included, like `loading_s`."""
    loading_s: float
    loads: int
    loaded_bytes: int
    bars: tuple[Bar, ...]
    stage_s: tuple[tuple[str, float], ...]
    stalls: tuple[tuple[str, float], ...]
    """(cause, seconds): see `Forecast.stalls`."""
    waits: tuple[Wait, ...] = ()

    @property
    def stall_s(self) -> float:
        """Seconds in which nothing computes."""
        return self.makespan_s - self.compute_s


def predict(
    workload: Workload,
    schedule: Schedule,
    *,
    ends: Mapping[int, int] | None = None,
    share: float = 1.0,
) -> Prediction:
    """Run the schedule's driver on the clock.

    Args:
        ends: segment -> iterations it does, of loops that end early (`until`).
        share: of a loop's iterations, those in which calls happen that ask a tensor (`rests_by`):
            the first one always, the others evenly over the loop.
    """
    return told(workload.program, simulated(workload, schedule, ends=ends, share=share))


def simulated(
    workload: Workload,
    schedule: Schedule,
    *,
    ends: Mapping[int, int] | None = None,
    share: float = 1.0,
) -> Simulation:
    """The same in numbers: enough to compare schedules by."""
    rests = resting(workload.program, share) if share < 1 else None
    driver = make_driver(workload, schedule)
    functions = functions_of(workload.program) if workload.reload_on_switch else None
    gamma = Gamma.of(workload.contention)
    return simulate(driver, gamma=gamma, ends=ends, functions=functions, rests=rests)


def told(program: Program, made: Simulation) -> Prediction:
    """A simulation of this program in seconds and names."""
    waits = tuple(_waits(program, made))
    stalls = dict.fromkeys(_CAUSES, 0.0)
    for wait in waits:
        stalls[wait.cause] += wait.end_s - wait.start_s
    stage_s: dict[str, float] = {}
    for step in _steps(made):
        s, _, k = made.table.where(step.what)
        stage = program.segments[s].steps[k].stage
        stage_s[stage] = stage_s.get(stage, 0.0) + _s(step.end_ns - step.start_ns)
    return Prediction(
        makespan_s=_s(made.makespan_ns),
        compute_s=_s(made.compute_ns),
        loading_s=_s(made.loading_ns),
        loads=made.loads,
        loaded_bytes=made.loaded_bytes,
        bars=tuple(_bars(made)),
        stage_s=tuple(stage_s.items()),
        stalls=tuple((cause, s) for cause, s in stalls.items() if s > 0),
        waits=waits,
    )


def _steps(made: Simulation) -> Iterator[Interval]:
    return (x for x in made.intervals if x.queue == "compute")


_CAUSES = ("start", "straight", "first", "steady", "switch")


def cause_of(program: Program, segment: int, iteration: int, step: int) -> str:
    """Which kind of wait a wait before this step is."""
    if (segment, iteration, step) == (0, 0, 0):
        return "start"
    if not program.segments[segment].is_loop:
        return "straight"
    return "first" if iteration == 0 else "steady"


def _waits(program: Program, made: Simulation) -> Iterator[Wait]:
    """Between the end of one step and the start of the next the compute unit waits for a load;
    for a host step it waits only after an early end, for a load that is in flight."""
    before = 0
    for x in made.intervals:
        if x.queue not in ("compute", "switch"):
            continue
        s, iteration, k = made.table.where(x.step)
        chunk = made.table.step(x.step).chunk or ""
        if x.start_ns > before:
            cause = cause_of(program, s, iteration, k)
            yield Wait(chunk, s, iteration, _s(before), _s(x.start_ns), cause)
        if x.queue == "switch" and x.end_ns > max(before, x.start_ns):
            yield Wait(chunk, s, iteration, _s(x.start_ns), _s(x.end_ns), "switch")
        before = x.end_ns


def _bars(made: Simulation) -> Iterator[Bar]:
    table = made.table
    for x in made.intervals:
        # What serves no step any more, after an early end, belongs to the last one.
        segment, iteration, step = table.where(min(x.step, table.end - 1))
        if x.queue == "compute":
            chunk, size_bytes = table.step(x.what).chunk, 0
        else:
            chunk, size_bytes = table.units[x.what].chunk, table.units[x.what].size_bytes
        # Host steps are no bars of a timeline.
        if chunk is not None:
            start_s, end_s = _s(x.start_ns), _s(x.end_ns)
            queue = "load" if x.queue == "switch" else x.queue
            yield Bar(queue, chunk, segment, iteration, step, start_s, end_s, size_bytes)


def _s(ns: int) -> float:
    return ns / 1e9
