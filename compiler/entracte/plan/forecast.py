"""Schedule -> Forecast: what a plan promises, simulated under nominal times."""

from entracte.check.proof import Proof
from entracte.clock.drivers import kind_of
from entracte.clock.predict import predict
from entracte.ir import Bar, Forecast, Program, Schedule
from entracte.program.workload import Workload
from entracte.schedule.bounds import best_bound


def forecast(workload: Workload, schedule: Schedule, proof: Proof) -> Forecast:
    """The plan's promise: nominal times, the proven peak, and the lower bound.

    When a loop ends early is known only when it runs, so all figures are of the run in which
    none does; `earliest_s` says what an end after the first iteration would make of it.
    """

    program = workload.program
    result = predict(workload, schedule)
    early = {s: 1 for s, g in enumerate(program.segments) if g.until is not None}
    ended = predict(workload, schedule, ends=early) if early else None
    pages = workload.page_bytes > 0 and kind_of(schedule).by_pages
    bound = best_bound(workload, enough_s=result.makespan_s, pages=pages)
    return Forecast(
        makespan_s=result.makespan_s,
        compute_s=result.compute_s,
        loading_s=result.loading_s,
        stall_s=result.stall_s,
        loaded_bytes=result.loaded_bytes,
        loads=result.loads,
        peak_bytes=proof.peak_bytes,
        peak_step=proof.peak_step,
        lower_bound_s=bound.seconds,
        lower_bound=bound.name,
        stage_s=result.stage_s,
        bars=tuple(b for b in result.bars if _worth_keeping(program, b)),
        earliest_s=ended.makespan_s if ended else None,
        stalls=result.stalls,
    )


def _worth_keeping(program: Program, bar: Bar) -> bool:
    """First, a steady and last iteration, and the loads a steady one makes for the next: the
    file must not grow with the steps."""
    count = program.segments[bar.segment].count
    if bar.queue == "load" and bar.iteration == 3:
        return True
    return bar.iteration in {0, min(2, count - 1), count - 1}
