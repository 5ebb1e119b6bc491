"""Predicted against observed by class: first loads, loads, and calls by what they mostly do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from entracte.calibrate.observed import CALL, FIRST_LOAD, Observation
from entracte.clock.predict import simulated
from entracte.cost import cold_seconds, exec_seconds, facts_on, load_seconds, work_seconds
from entracte.errors import PlanError
from entracte.ir import Plan, Run, Target
from entracte.program.workload import Workload

OVERHEAD = "overhead"


@dataclass(frozen=True, slots=True)
class ClassError:
    """One class of what was observed.

    Attributes:
        name: `first load`, `load`, or of calls the class of operations that takes most of a call,
            `overhead` where nothing takes more than it.
        chunks: different loads or calls; `times`: all of them.
        predicted_s, observed_s: sums over all of them, as if nothing had run beside.
        median_error: of |predicted / observed - 1| over chunks; None where nothing took time.
    """

    name: str
    chunks: int
    times: int
    predicted_s: float
    observed_s: float
    median_error: float | None

    @property
    def total_error(self) -> float | None:
        """Of the sums: 0.1 where 10 % too much was predicted; None where nothing took time."""
        return self.predicted_s / self.observed_s - 1 if self.observed_s > 0 else None


def class_errors(
    seen: Iterable[Observation], target: Target, by: Target | None = None
) -> tuple[ClassError, ...]:
    """What a target's figures predict of observations.

    Args:
        by: the target by which calls are put into classes, so that two tables have the same ones;
            by default `target`.
    """
    groups: dict[str, list[Observation]] = {}
    for o in seen:
        groups.setdefault(_class_of(o, by or target), []).append(o)
    order = [FIRST_LOAD, "load"]
    names = sorted(groups, key=lambda n: (order.index(n) if n in order else len(order), n))
    return tuple(_error(name, groups[name], target) for name in names)


def predicted_s(o: Observation, target: Target) -> float:
    """Of one load or call."""
    if o.kind == CALL:
        return exec_seconds(o.part, target)
    whole = round(o.size_bytes / o.share) if o.share else o.size_bytes
    seconds = load_seconds(whole, target)
    if o.kind == FIRST_LOAD:
        seconds += cold_seconds(whole, target)
    return seconds * o.share


def _class_of(o: Observation, target: Target) -> str:
    if o.kind != CALL:
        return o.kind
    takes = {w.kind: work_seconds(w, target) for w in o.work}
    takes[OVERHEAD] = target.call_overhead_s
    return max(takes, key=lambda kind: takes[kind])


def _error(name: str, group: Sequence[Observation], target: Target) -> ClassError:
    each = [(predicted_s(o, target), o) for o in group]
    errors = [abs(s / o.typical_s - 1) for s, o in each if o.typical_s > 0]
    return ClassError(
        name,
        len(group),
        sum(len(o.seconds) for o in group),
        sum(s * len(o.seconds) for s, o in each),
        sum(sum(o.seconds) for o in group),
        median(errors) if errors else None,
    )


def run_s(plan: Plan, run: Run, target: Target) -> float | None:
    """Predicted seconds of the run's own schedule and loops on a target; None for a rest of a run,
    and where the clock cannot count so far."""
    if run.resumed is not None:
        return None
    place = {g.name: s for s, g in enumerate(plan.program.segments)}
    workload = replace(
        Workload.on(target, plan.program, facts_on(plan.chunks, plan.facts, target)),
        budget_bytes=plan.schedule.budget_bytes,
    )
    ends = {place[name]: done for name, done in run.iterations}
    try:
        return simulated(workload, plan.schedule, ends=ends).makespan_ns / 1e9
    except PlanError:
        return None
