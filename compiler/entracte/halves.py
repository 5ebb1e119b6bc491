"""Both halves of guidance in one batch or one after the other: `guidance=auto` takes what is faster
under the target's budget, and a refusal says where the other way would fit.

Both are decided as `compile dry_run=true` would decide them, so the choice is that of the planner's
own arithmetic: bytes of activations, of what stays loaded, and predicted time.
"""

import json
from dataclasses import dataclass, replace

from entracte.decide.decide import decide_job
from entracte.decide.remembered import Decide
from entracte.declare.guidance import AUTO
from entracte.declare.read import Job, guided
from entracte.errors import ConfigError, DoesNotFit
from entracte.graphs.recipes.guidance import APART, OWN, TOGETHER
from entracte.store.cache import Cache
from entracte.store.declared import kept_recipes
from entracte.units import format_bytes, format_seconds


@dataclass(frozen=True)
class _Way:
    """One way, and what it would cost."""

    name: str
    job: Job
    makespan_s: float | None
    """None where it does not fit."""
    need_bytes: int = 0
    """Where it does not fit: what it needs at least."""

    @property
    def told(self) -> str:
        """For instance `apart 3.1 s`."""
        if self.makespan_s is None:
            return f"{self.name} does not fit: it needs {format_bytes(self.need_bytes)}"
        return f"{self.name} {format_seconds(self.makespan_s)}"


def chosen(job: Job, cache: Cache, decide: Decide = decide_job) -> Job:
    """The job with `guidance=auto` decided; as it is where it asks for something else.

    The fastest that fits; in one batch where both take as long; where none fits, the one that lacks
    least. A pipeline without two halves is compiled as it is. Raises `ConfigError`.

    Args:
        decide: what the job is decided by afterwards, so that it may remember.
    """
    if job.guidance != AUTO:
        return job
    asked = (_way(job, name, cache, decide) for name in (TOGETHER, APART))
    ways = [way for way in asked if way is not None]
    if not ways:
        return _noted(
            _as(job, guided(job, OWN, kept_recipes(job.cache))),
            "this pipeline has no guidance with two halves",
        )
    best = min(ways, key=lambda w: (w.makespan_s is None, w.makespan_s or w.need_bytes))
    others = "; ".join(w.told for w in ways if w is not best)
    budget = f"under a budget of {format_bytes(job.target.budget_bytes)}"
    return _noted(best.job, f"{best.told}, {others or 'the only way'}, {budget}")


def hinted(job: Job, error: DoesNotFit, cache: Cache, decide: Decide = decide_job) -> DoesNotFit:
    """The refusal of a job, with `guidance=apart` among its remedies where that fits."""
    if job.guidance not in (OWN, TOGETHER):
        return error
    way = _way(job, APART, cache, decide)
    if way is None or way.makespan_s is None or way.job.pipeline == job.pipeline:
        return error
    return DoesNotFit(f"{error} or `guidance={APART}`", error.chunk, error.need_bytes,
                      error.memory_bytes)  # fmt: skip


def _way(job: Job, name: str, cache: Cache, decide: Decide) -> _Way | None:
    """None where the pipeline cannot be guided so."""
    from entracte.lower.traced import trace_with_weights

    try:
        other = _as(job, guided(job, name, kept_recipes(job.cache)))
        traced, _ = trace_with_weights(other.pipeline, cache)
    except ConfigError:
        return None
    try:
        decision = decide(other, traced.measured)
    except DoesNotFit as error:
        return _Way(name, other, None, error.need_bytes)
    return _Way(name, other, decision.makespan_s)


def _as(job: Job, other: Job) -> Job:
    """The job, guided as the other one: what a caller changed in it stays."""
    return replace(
        job,
        pipeline=other.pipeline,
        settings=other.settings,
        guidance=other.guidance,
        undecided=other.undecided,
    )


def _noted(job: Job, text: str) -> Job:
    """With what was chosen in the settings, from where `plan show` and the report have it."""
    left = job.undecided
    if left is not None:  # these settings are made again when the rest is decided
        left = replace(left, config=_with(left.config, text))
    return replace(job, settings=_with(job.settings, text), undecided=left)


def _with(settings: str, text: str) -> str:
    made = json.loads(settings)
    made["guidance"]["chosen"] = text
    return json.dumps(made)
