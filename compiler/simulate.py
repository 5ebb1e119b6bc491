"""Schedule x times -> what happens when: one loader, one compute unit, gates between them.

The recurrence is exact for given durations (max-plus): a load starts when the loader is free
and its gate has ended; a call starts when the call before it has ended and its chunk is there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from compiler.ir import Call, ChunkFacts, Event, Forecast, Program, Schedule
from compiler.slots import START, bases, unroll

Times = Callable[[str, int], float]
"""(chunk, how many times it happened before) -> seconds."""


@dataclass(frozen=True, slots=True)
class Simulation:
    makespan_s: float
    compute_s: float
    loading_s: float
    loads: int
    loaded_bytes: int
    events: tuple[Event, ...]
    stage_s: tuple[tuple[str, float], ...]

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
) -> Simulation:
    """Run the schedule on the clock. Times default to the nominal ones of `facts`."""
    load_s = load_times or (lambda chunk, _: facts[chunk].load_s)
    exec_s = exec_times or (lambda chunk, _: facts[chunk].exec_s)
    steps = [
        (s, i, step)
        for s, segment in enumerate(program.segments)
        for i in range(segment.count)
        for step in segment.steps
    ]
    ready: dict[int, float] = {}
    ends: list[float] = []
    loader_free = loading = computing = 0.0
    loaded_bytes = loads = 0
    events: list[Event] = []
    stage_s: dict[str, float] = {}
    pending = unroll(program, schedule)
    load = next(pending, None)
    seen: dict[str, int] = {}
    for t, (s, i, step) in enumerate(steps):
        # Every load for this step or an earlier one has its gate among the steps that ended.
        while load is not None and load.use <= t:
            gate_end = 0.0 if load.gate == START else ends[load.gate]
            start = max(loader_free, gate_end)
            duration = load_s(load.chunk, loads)
            loader_free = start + duration
            ready[load.use] = loader_free
            loading += duration
            loads += 1
            loaded_bytes += facts[load.chunk].weight_bytes
            where = _where(program, load.use)
            events.append(
                Event(
                    queue="load",
                    label=load.chunk,
                    segment=where[0],
                    iteration=where[1],
                    start_s=start,
                    end_s=loader_free,
                )
            )
            load = next(pending, None)
        begin = max(ends[-1] if ends else 0.0, ready.get(t, 0.0))
        duration = 0.0
        if isinstance(step, Call):
            count = seen.get(step.chunk, 0)
            duration = step.repeat * exec_s(step.chunk, count)
            seen[step.chunk] = count + 1
            events.append(
                Event(
                    queue="compute",
                    label=step.chunk,
                    segment=s,
                    iteration=i,
                    start_s=begin,
                    end_s=begin + duration,
                )
            )
        stage_s[step.stage] = stage_s.get(step.stage, 0.0) + duration
        computing += duration
        ends.append(begin + duration)
    return Simulation(
        makespan_s=ends[-1] if ends else 0.0,
        compute_s=computing,
        loading_s=loading,
        loads=loads,
        loaded_bytes=loaded_bytes,
        events=tuple(events),
        stage_s=tuple(stage_s.items()),
    )


def _where(program: Program, step: int) -> tuple[int, int]:
    base = bases(program)
    segment = max(s for s, b in enumerate(base) if b <= step)
    return segment, (step - base[segment]) // len(program.segments[segment].steps)


def lower_bound(program: Program, facts: Mapping[str, ChunkFacts]) -> tuple[float, str]:
    """No schedule of this program is faster than this, and why.

    `compute`: calls are serial and the first one waits for its load. `load`: every chunk is
    read at least once by one loader, and the last chunk's calls come after all loads.
    """
    calls = [
        (step.chunk, step.repeat * facts[step.chunk].exec_s, segment.count)
        for segment in program.segments
        for step in segment.steps
        if isinstance(step, Call)
    ]
    if not calls:
        return 0.0, "compute"
    compute = facts[calls[0][0]].load_s + sum(e * n for _, e, n in calls)
    shortest = min(e for _, e, _ in calls)
    load = sum(facts[c].load_s for c in {c for c, _, _ in calls}) + shortest
    return (compute, "compute") if compute >= load else (load, "load")


def forecast(
    program: Program,
    facts: Mapping[str, ChunkFacts],
    schedule: Schedule,
    *,
    peak_bytes: int,
    peak_step: str,
) -> Forecast:
    """The plan's promise: nominal times, the proven peak, and the lower bound."""
    result = simulate(program, facts, schedule)
    bound, why = lower_bound(program, facts)
    return Forecast(
        makespan_s=result.makespan_s,
        compute_s=result.compute_s,
        loading_s=result.loading_s,
        stall_s=result.stall_s,
        loaded_bytes=result.loaded_bytes,
        loads=result.loads,
        peak_bytes=peak_bytes,
        peak_step=peak_step,
        lower_bound_s=bound,
        lower_bound=why,
        stage_s=result.stage_s,
        events=tuple(e for e in result.events if _worth_keeping(program, e)),
    )


def _worth_keeping(program: Program, event: Event) -> bool:
    """First, a steady and last iteration, and the loads a steady one makes for the next: the
    file must not grow with the steps."""
    count = program.segments[event.segment].count
    if event.queue == "load" and event.iteration == 3:
        return True
    return event.iteration in {0, min(2, count - 1), count - 1}
