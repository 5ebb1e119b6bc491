"""Schedule -> Forecast: what a plan promises, simulated under nominal times."""

from collections.abc import Mapping

from entracte.clock.replay import replay
from entracte.clock.simulate import Simulation
from entracte.ir import ChunkFacts, Event, Forecast, Program, Schedule
from entracte.schedule.bounds import best_bound


def forecast(
    program: Program,
    facts: Mapping[str, ChunkFacts],
    schedule: Schedule,
    *,
    peak_bytes: int,
    peak_step: str,
    contention: float = 1.0,
    page_bytes: int = 0,
) -> Forecast:
    """The plan's promise: nominal times, the proven peak, and the lower bound.

    When a loop ends early is known only when it runs, so all figures are of the run in which
    none does; `earliest_s` says what an end after the first iteration would make of it.
    """

    def run(ends: Mapping[int, int] | None = None) -> Simulation:
        return replay(
            program, facts, schedule, contention=contention, page_bytes=page_bytes, ends=ends
        )

    result = run()
    early = {s: 1 for s, g in enumerate(program.segments) if g.until is not None}
    ended = run(early) if early else None
    bound = best_bound(
        program,
        facts,
        schedule.budget_bytes,
        enough_s=result.makespan_s,
        pages=page_bytes > 0 and schedule.rule == "online",
    )
    return Forecast(
        makespan_s=result.makespan_s,
        compute_s=result.compute_s,
        loading_s=result.loading_s,
        stall_s=result.stall_s,
        loaded_bytes=result.loaded_bytes,
        loads=result.loads,
        peak_bytes=peak_bytes,
        peak_step=peak_step,
        lower_bound_s=bound.seconds,
        lower_bound=bound.name,
        stage_s=result.stage_s,
        events=tuple(e for e in result.events if _worth_keeping(program, e)),
        earliest_s=ended.makespan_s if ended else None,
        stalls=result.stalls,
    )


def _worth_keeping(program: Program, event: Event) -> bool:
    """First, a steady and last iteration, and the loads a steady one makes for the next: the
    file must not grow with the steps."""
    count = program.segments[event.segment].count
    if event.queue == "load" and event.iteration == 3:
        return True
    return event.iteration in {0, min(2, count - 1), count - 1}
