"""Schedule -> Forecast: what a plan promises, simulated under nominal times."""

import math
from dataclasses import astuple, fields, replace

from entracte.check.proof import Proof
from entracte.clock.drivers import kind_of
from entracte.clock.predict import predict
from entracte.errors import PlanError
from entracte.ir import Call, Forecast, Plan, Schedule, Segment
from entracte.plan.agree import near
from entracte.program.workload import Workload
from entracte.schedule.bounds import best_bound
from entracte.schedule.look import cost_of

_SOLVED = 1e-6
_NEARBY = 4
"""Iterations whose bars are kept where calls rest in some."""


def forecast(workload: Workload, schedule: Schedule, proof: Proof) -> Forecast:
    """The plan's promise: nominal times, the proven peak, and the lower bound.

    When a loop ends early is known only when it runs, so all figures are of the run in which
    none does; `earliest_s` says what an end after the first iteration would make of it. So it is
    with calls that rest by a tensor: `resting_s` says what it is where they rest.
    """

    program = workload.program
    result = predict(workload, schedule)
    early = {s: 1 for s, g in enumerate(program.segments) if g.until is not None}
    ended = predict(workload, schedule, ends=early) if early else None
    asks = any(isinstance(x, Call) and x.rests_by for g in program.segments for x in g.steps)
    resting = predict(workload, schedule, share=0.0) if asks else None
    pages = workload.page_bytes > 0 and kind_of(schedule).by_pages
    alone = replace(workload, contention=1.0)
    kept = [_iterations_kept(segment) for segment in program.segments]
    bound = best_bound(
        workload,
        enough_s=result.makespan_s,
        apart_s=lambda: cost_of(alone, schedule)[0],
        pages=pages,
    )
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
        bars=tuple(
            b
            for b in result.bars
            if b.iteration in kept[b.segment] or (b.queue == "load" and b.iteration == 3)
        ),
        earliest_s=ended.makespan_s if ended else None,
        stalls=result.stalls,
        resting_s=resting.makespan_s if resting else None,
    )


def check_forecast(plan: Plan, proof: Proof) -> None:
    """The promise is what the clock makes of the plan: nothing is promised by hand. (Whoever only
    reads a plan has `check.promise`, which needs no clock.) Raises `PlanError`."""
    made = forecast(Workload.of(plan), plan.schedule, proof)
    for field in fields(Forecast):
        given, proper = getattr(plan.forecast, field.name), getattr(made, field.name)
        if field.name == "lower_bound":
            continue  # two bounds may be as good
        if field.name == "lower_bound_s":
            # Solved by a library, whose versions differ in the last digits.
            same = math.isclose(given, proper, rel_tol=_SOLVED)
        elif field.name == "bars":
            same = near([astuple(b) for b in given], [astuple(b) for b in proper])
        else:
            same = near(given, proper)
        if not same:
            told = "" if field.name == "bars" else f" of {given}, the clock gives {proper}"
            raise PlanError(f"plan: promises other {field.name}{told}; compile again")


def _iterations_kept(segment: Segment) -> set[int]:
    """Whose bars are kept, beside the loads that a steady iteration makes for the next: the first,
    a steady and the last. The file must not grow with the steps. Where calls rest, also an
    iteration of each kind nearby."""
    kept = {0, min(2, segment.count - 1), segment.count - 1}
    if any(isinstance(x, Call) and x.at for x in segment.steps):
        kept |= set(range(min(_NEARBY, segment.count)))
    return kept
