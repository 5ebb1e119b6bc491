"""The checker's half about a plan's promise: what the plan's own numbers refute is refused.

Nothing is predicted here. Whoever follows the plan calls each chunk as often as the program says,
so computing takes at least the sum of those calls alone, and at most that under full contention;
each chunk is loaded at least once, by gates as often as the loads say. Sums are what they are sums
of, and bars lie where their steps are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from entracte.errors import PlanError
from entracte.ir import Bar, Call, ChunkFacts, Forecast, Load, Plan, Program, Segment

BOUNDS = ("compute", "load", "volume", "window")
CAUSES = ("start", "straight", "first", "steady", "switch")
QUEUES = ("load", "compute", "free")


@dataclass(frozen=True, slots=True)
class _Sums:
    """What the plan's own numbers say about any run in which no loop ends early."""

    calls: int
    """Steps that call a chunk, in all iterations."""
    calls_s: float
    """Of all calls, alone."""
    shortest_s: float
    """The same where every loop that may ends after its first iteration."""
    resting_s: float
    """The same where calls that may rest by a tensor happen in the first iteration only."""
    loads: int
    loads_s: float
    loaded_bytes: int
    exact: bool
    """Whether loads are these, or at least these."""
    slack_s: float
    """Times are whole nanoseconds: what rounding may add up to."""


def check_promise(plan: Plan, peak_step: str) -> None:
    """Raises `PlanError` where `plan.forecast` cannot be of this plan."""
    sums, f = _sums(plan), plan.forecast
    if f.peak_step != peak_step:
        raise PlanError(
            f"plan: claims its peak at {f.peak_step!r}, the checker finds it at {peak_step!r}"
        )
    if f.lower_bound not in BOUNDS:
        raise PlanError(f"plan: the bound {f.lower_bound!r} is not one of {', '.join(BOUNDS)}")
    _check_times(f, sums, plan.target.contention + 0.001)
    _check_loads(f, sums)
    _check_stages(plan, sums)
    _check_early(plan, sums)
    _check_resting(plan, sums)
    weights = {x.id: x.weight_bytes for x in plan.facts}
    for i, bar in enumerate(f.bars):
        where = f"plan.forecast.bars[{i}] ({bar.queue} of {bar.label})"
        _check_bar(bar, weights, where)
        _check_place(plan.program, bar, where)
        if not bar.start_s <= bar.end_s <= f.makespan_s + sums.slack_s:
            raise PlanError(
                f"{where}: from {bar.start_s} to {bar.end_s} s, the run takes {f.makespan_s} s"
            )
    ends = [b.end_s for b in f.bars if b.queue == "compute"]
    if sums.calls:
        _near("the end of the last call", max(ends, default=0.0), "", f.makespan_s, sums.slack_s)


# ---------------------------------------------------------------- sums


def _sums(plan: Plan) -> _Sums:
    facts, program = {f.id: f for f in plan.facts}, plan.program
    steps = [(g, x) for g in program.segments for x in g.steps if isinstance(x, Call)]
    calls = sum(len(x.at) or g.count for g, x in steps)
    called = {x.chunk: facts[x.chunk] for _, x in steps}
    by_gates = plan.schedule.driver == "gates"
    times = _loads_by_gates(plan) if by_gates else dict.fromkeys(called, 1)
    loads = sum(times.values())
    slices = sum(program.call_counts.values())
    return _Sums(
        calls=calls,
        calls_s=sum(_call_s(x, facts, g.count) for g, x in steps),
        shortest_s=sum(_call_s(x, facts, 1 if g.until is not None else g.count) for g, x in steps),
        resting_s=sum(_call_s(x, facts, 1 if x.rests_by else g.count) for g, x in steps),
        loads=loads,
        loads_s=sum(n * facts[c].load_s + facts[c].cold_s for c, n in times.items()),
        loaded_bytes=sum(n * facts[c].weight_bytes for c, n in times.items()),
        exact=by_gates and not _may_switch(plan),
        slack_s=1e-9 * (slices + 2 * loads + program.step_count + plan.forecast.makespan_s + 1),
    )


def _call_s(call: Call, facts: Mapping[str, ChunkFacts], iterations: int) -> float:
    """Seconds of a step in so many iterations, alone, those in which it rests left out."""
    f = facts[call.chunk]
    if call.at:
        functions = [call.function_at(i) for i in call.at if i < iterations]
        return call.repeat * sum(f.exec_of(name) for name in functions)
    total, done = 0.0, 0
    for function, n in (*call.switch, (call.function, iterations)):
        until = min(n, iterations)
        total += (until - done) * call.repeat * f.exec_of(function)
        done = until
    return total


def _may_switch(plan: Plan) -> bool:
    """Whether a loaded copy may be loaded again for another function."""
    used: dict[str, set[str]] = {}
    for segment in plan.program.segments:
        for x in segment.steps:
            if isinstance(x, Call):
                used.setdefault(x.chunk, set()).update(
                    (x.function, *(name for name, _ in x.switch))
                )
    return plan.target.reload_on_switch and any(len(names) > 1 for names in used.values())


def _loads_by_gates(plan: Plan) -> dict[str, int]:
    times: dict[str, int] = {}
    for load in plan.schedule.loads:
        segment = plan.program.segments[load.segment]
        often = 1 if load.iterations == "first" else _served(load, segment)
        times[load.chunk] = times.get(load.chunk, 0) + often
    return {chunk: n for chunk, n in times.items() if n}


def _served(load: Load, segment: Segment) -> int:
    """Iterations after the first in which a load serves a call."""
    within = segment.steps[load.step : load.free_step + 1]
    calls = [x for x in within if isinstance(x, Call) and x.chunk == load.chunk]
    if not all(x.at for x in calls):
        return segment.count - 1
    return len({i for x in calls for i in x.at} - {0})


# ---------------------------------------------------------------- checks


def _near(what: str, given: float, of: str, proper: float, slack_s: float) -> None:
    if abs(given - proper) > slack_s:
        raise PlanError(f"plan: claims {what} of {given} s, its own numbers{of} make it {proper} s")


def _check_times(f: Forecast, sums: _Sums, contention: float) -> None:
    slack = sums.slack_s
    _within("computing", f.compute_s, sums.calls_s, contention * sums.calls_s, slack)
    most = contention * sums.loads_s if sums.exact else f.makespan_s
    _within("loading", f.loading_s, sums.loads_s, max(most, sums.loads_s), slack)
    _near("stalls", f.stall_s, " (makespan less computing)", f.makespan_s - f.compute_s, slack)
    _near("stalls by cause", sum(s for _, s in f.stalls), "", f.stall_s, slack)
    stray = sorted({cause for cause, _ in f.stalls} - set(CAUSES))
    if stray:
        raise PlanError(f"plan: the stall {stray[0]!r} is not one of {', '.join(CAUSES)}")
    _within("a run", f.makespan_s, max(f.compute_s, f.loading_s), float("inf"), slack)
    if f.lower_bound_s > f.makespan_s + slack:
        raise PlanError(
            f"plan: claims a run of {f.makespan_s} s, and that none is below {f.lower_bound_s} s"
        )


def _within(what: str, given: float, least: float, most: float, slack_s: float) -> None:
    if not least - slack_s <= given <= most + slack_s:
        raise PlanError(
            f"plan: claims {given} s of {what}, by its own numbers it is {least} s"
            + (" or more" if most == float("inf") else f" to {most} s" if most > least else "")
        )


def _check_loads(f: Forecast, sums: _Sums) -> None:
    for what, given, proper in (
        ("loads", f.loads, sums.loads),
        ("bytes loaded", f.loaded_bytes, sums.loaded_bytes),
    ):
        if given < proper or (sums.exact and given > proper):
            least = "" if sums.exact else " or more"
            raise PlanError(f"plan: claims {given} {what}, its own numbers make it {proper}{least}")


def _check_stages(plan: Plan, sums: _Sums) -> None:
    names = {s.stage for g in plan.program.segments for s in g.steps}
    stray = sorted({name for name, _ in plan.forecast.stage_s} - names)
    if stray:
        raise PlanError(f"plan: claims seconds of stage {stray[0]!r}, which no step is of")
    given = sum(s for _, s in plan.forecast.stage_s)
    _near("all stages", given, "", plan.forecast.compute_s, sums.slack_s)


def _check_early(plan: Plan, sums: _Sums) -> None:
    f = plan.forecast
    may = any(g.until is not None for g in plan.program.segments)
    if may != (f.earliest_s is not None):
        raise PlanError(
            f"plan: {'a loop' if may else 'no loop'} may end early, and the earliest end is "
            f"{'not told' if f.earliest_s is None else f'{f.earliest_s} s'}"
        )
    if f.earliest_s is not None:
        # A load in flight when a loop ends is finished first.
        rest = sum(x.load_s + x.cold_s for x in plan.facts) * plan.target.contention
        most = f.makespan_s + rest
        _within("a run that ends early", f.earliest_s, sums.shortest_s, most, sums.slack_s)


def _check_resting(plan: Plan, sums: _Sums) -> None:
    f = plan.forecast
    steps = [x for g in plan.program.segments for x in g.steps if isinstance(x, Call)]
    may = any(x.rests_by for x in steps)
    if may != (f.resting_s is not None):
        told = "not told" if f.resting_s is None else f"{f.resting_s} s"
        raise PlanError(
            f"plan: {'calls' if may else 'no calls'} may rest by a tensor, and the run in which "
            f"they do is {told}"
        )
    if f.resting_s is not None:
        # A load may be waited for in full that a call hid.
        most = f.makespan_s + max(f.loading_s, sums.loads_s)
        _within("a run in which calls rest", f.resting_s, sums.resting_s, most, sums.slack_s)


def _check_bar(bar: Bar, weights: Mapping[str, int], where: str) -> None:
    if bar.queue not in QUEUES:
        raise PlanError(f"{where}: the queue is not one of {', '.join(QUEUES)}")
    if bar.label not in weights:
        raise PlanError(f"{where}: there is no such chunk")
    most = 0 if bar.queue == "compute" else weights[bar.label]
    if bar.size_bytes > most:
        raise PlanError(f"{where}: {bar.size_bytes} bytes, at most {most} are possible")


def _check_place(program: Program, bar: Bar, where: str) -> None:
    inside = bar.segment < len(program.segments)
    segment = program.segments[bar.segment] if inside else None
    if segment is None or bar.iteration >= segment.count or bar.step >= len(segment.steps):
        raise PlanError(
            f"{where}: there is no iteration {bar.iteration}, step {bar.step} of segment "
            f"{bar.segment}"
        )
    step = segment.steps[bar.step]
    if bar.queue == "compute" and (not isinstance(step, Call) or step.chunk != bar.label):
        raise PlanError(f"{where}: step {bar.segment}.{bar.step} does not call it")
    if bar.queue == "compute" and isinstance(step, Call) and not step.is_called(bar.iteration):
        raise PlanError(f"{where}: it rests in iteration {bar.iteration}")
