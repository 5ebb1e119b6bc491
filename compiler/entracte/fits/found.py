"""One pipeline, or one build, on several targets: where it fits, and what is predicted there.

A pipeline is decided for each target as `compile dry_run=true` would decide it, from one trace. A
build is taken as it is: its plan's proven peak is held against each budget, its packages against
what a device reads, and the clock follows its own schedule with that target's figures. Nothing is
run; every figure of time is a prediction.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from entracte.check.proof import check
from entracte.clock.predict import simulated
from entracte.cost import facts_on
from entracte.decide.decide import Decision, decide_job
from entracte.decide.shared import Known
from entracte.declare.profiles import Profile
from entracte.declare.read import Job
from entracte.errors import DoesNotFit, PlanError
from entracte.ir import MeasuredPipeline, Plan, Target
from entracte.plan.limits import check_program_size
from entracte.program.workload import Workload
from entracte.store.cache import Cache, cache_folder
from entracte.units import format_bytes

_FOREVER = 2**62
"""Bytes that nothing takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What one target makes of it.

    Attributes:
        missing: what is too large for it or cannot be read there, in words; empty where it fits.
        least_memory_bytes: a limit in memory, `target.memory`, with which it would fit; None where
            it fits, or where memory is not what is missing.
        peak_bytes: proven for any timing; None where no schedule fits.
        makespan_s: predicted; None where it does not fit, or where the clock cannot count so far.
        chunks: packages; 0 where it does not fit.
        sourced, estimated: names of the target's figures that somebody published, and of those
            that nobody did.
    """

    target: str
    title: str
    limit: str
    memory_bytes: int
    budget_bytes: int
    missing: tuple[str, ...] = ()
    least_memory_bytes: int | None = None
    peak_bytes: int | None = None
    makespan_s: float | None = None
    chunks: int = 0
    sourced: tuple[str, ...] = ()
    estimated: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Nothing is missing."""
        return not self.missing


Report = Callable[[str], None]


def ranked(fits: Iterable[Fit]) -> tuple[Fit, ...]:
    """Those that fit first, by time; then by the memory that is missing; then by name."""

    def key(fit: Fit) -> tuple[float, ...]:
        least = fit.least_memory_bytes
        lacks = float("inf") if least is None else least - fit.memory_bytes
        seconds = float("inf") if fit.makespan_s is None else fit.makespan_s
        return (0, seconds) if fit.fits else (1, lacks)

    return tuple(sorted(fits, key=lambda fit: (key(fit), fit.target, fit.limit)))


# ---------------------------------------------------------------- a pipeline


def fits_of_job(
    job: Job, profiles: Sequence[Profile], report: Report = lambda _: None
) -> tuple[Fit, ...]:
    """Decide a pipeline for each target, in the order given.

    Args:
        job: what is compiled, for whichever target.
        report: told each target before it is looked at.

    Raises `ConfigError` where the pipeline itself cannot be traced.
    """
    from entracte.lower.traced import trace_with_weights

    traced, _ = trace_with_weights(job.pipeline, Cache(cache_folder(job.cache)))
    measured = traced.measured
    known: dict[Target, Fit] = {}
    looked_at: Known = {}
    found = []
    for profile in profiles:
        report(profile.target.name)
        # Some targets have other targets' figures, and what is decided follows from figures.
        key = replace(profile.target, name="", title="", sources=(), estimated=())
        if key not in known:
            known[key] = _decided(job, measured, profile, looked_at)
        found.append(_named(known[key], profile))
    return tuple(found)


def _decided(job: Job, measured: MeasuredPipeline, profile: Profile, looked_at: Known) -> Fit:
    blank = _blank(profile)
    try:
        decision = decide_job(job, measured, profile.target, known=looked_at)
    except DoesNotFit as error:
        least = error.memory_bytes or None
        return replace(blank, missing=(str(error),), least_memory_bytes=least)
    check_program_size(decision.program)
    return replace(
        blank,
        peak_bytes=_peak_bytes(decision, profile.target),
        makespan_s=simulated(decision.workload, decision.schedule).makespan_ns / 1e9,
        chunks=len(decision.facts),
    )


def _peak_bytes(decision: Decision, target: Target) -> int:
    budget = target.budget_bytes
    return check(
        decision.program, decision.facts, decision.schedule, budget_bytes=budget
    ).peak_bytes


# ---------------------------------------------------------------- a build


def fits_of_plan(plan: Plan, profiles: Sequence[Profile]) -> tuple[Fit, ...]:
    """What a plan that was read, and so proven, would be on each target, in the order given."""
    return tuple(_as_it_is(plan, profile) for profile in profiles)


def _as_it_is(plan: Plan, profile: Profile) -> Fit:
    target = profile.target
    found = replace(_blank(profile), peak_bytes=plan.forecast.peak_bytes)
    lacks = _lacking_memory(plan, target)
    missing = (*lacks, *_too_large(plan, target), *_unreadable(plan, target))
    if missing:
        least = _memory_for(plan.forecast.peak_bytes, target) if lacks else None
        return replace(found, missing=missing, least_memory_bytes=least)
    return replace(found, chunks=len(plan.chunks), makespan_s=_predicted_s(plan, target))


def _lacking_memory(plan: Plan, target: Target) -> tuple[str, ...]:
    peak, budget = plan.forecast.peak_bytes, target.budget_bytes
    if peak <= budget:
        return ()
    text = f"its proven peak of {format_bytes(peak)} is above {format_bytes(budget)}"
    gates = replace(plan.schedule, driver="gates")
    least = check(plan.program, plan.facts, gates, budget_bytes=_FOREVER).peak_bytes
    if least <= budget:
        # The rule fills whatever it was planned for.
        return (f"{text}, but its chunks would fit, planned for this budget: compile again",)
    return (text,)


def _memory_for(peak_bytes: int, target: Target) -> int:
    """Whole MiB of a limit that leave a budget of so many bytes."""
    wanted = peak_bytes / (1 - target.settle_fraction) + target.base_footprint_bytes
    return (int(wanted) // 2**20 + 1) * 2**20


def _too_large(plan: Plan, target: Target) -> tuple[str, ...]:
    most = target.chunk_limit_bytes
    large = [f for f in plan.facts if f.weight_bytes > most]
    if not large:
        return ()
    one = max(large, key=lambda f: f.weight_bytes)
    more = f" and {len(large) - 1} more are" if len(large) > 1 else " is"
    return (
        f"the weights of {one.id}, {format_bytes(one.weight_bytes)},{more} above its limit of "
        f"{format_bytes(most)} for a package",
    )


def _unreadable(plan: Plan, target: Target) -> tuple[str, ...]:
    """Packages are of the system that they were compiled for, or of one as old."""
    of, here = plan.target.deployment, target.deployment
    if of == here:
        return ()
    from entracte.lower.targets import can_read

    return () if can_read(here, of) else (f"packages for {of} cannot be read by {here}",)


def _predicted_s(plan: Plan, target: Target) -> float | None:
    """Of the plan's own schedule, under the budget that it was made for."""
    workload = replace(
        Workload.on(target, plan.program, facts_on(plan.chunks, plan.facts, target)),
        budget_bytes=plan.schedule.budget_bytes,
    )
    try:
        return simulated(workload, plan.schedule).makespan_ns / 1e9
    except PlanError:
        # Programs of many hours are beyond the online rule's numbers.
        return None


# ---------------------------------------------------------------- rows


def _blank(profile: Profile) -> Fit:
    target = profile.target
    return Fit(
        target=target.name,
        title=target.title,
        limit=profile.limit,
        memory_bytes=target.memory_bytes,
        budget_bytes=target.budget_bytes,
        sourced=tuple(dict.fromkeys(s.partition(":")[0] for s in target.sources)),
        estimated=target.estimated,
    )


def _named(fit: Fit, profile: Profile) -> Fit:
    """The same outcome under this profile's name and with its own sources."""
    own = _blank(profile)
    return replace(
        fit,
        target=own.target,
        title=own.title,
        limit=own.limit,
        sourced=own.sourced,
        estimated=own.estimated,
    )
