"""Settings that were left to the planner, chosen by predicted time: each value is traced and
decided as `compile dry_run=true` would, and the fastest that fits is taken.

One setting after another, in the order in which they are declared; while one is tried, those
behind it stand at their first value. A value is not tried where it cannot be told from the one
before: bounds of scores that no attention exceeds, and finer blocks of queries once they take no
less memory.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from entracte.cost import ATTENTION, class_of
from entracte.decide.activations import activation_peak
from entracte.decide.decide import decide_job
from entracte.decide.remembered import Decide
from entracte.declare.read import Job, decided
from entracte.declare.undecided import SCORES
from entracte.errors import ConfigError, DoesNotFit
from entracte.ir import MeasuredPipeline, Pipeline
from entracte.units import parse_bytes

__all__ = ["choose"]

_EQUAL = 1.001
"""Predicted times that differ by less are equal: the model is not that good."""


@dataclass(frozen=True, slots=True)
class _Trial:
    value: Any
    makespan_s: float | None
    """None where it does not fit."""
    fault: DoesNotFit | None = None


def choose(
    job: Job,
    trace: Callable[[Pipeline], MeasuredPipeline],
    score_copies: int,
    report: Callable[[str], None] = lambda _: None,
    decide: Decide = decide_job,
) -> Job:
    """The job with a value for each setting that is `auto`; its settings tell what was tried.

    Args:
        trace: a pipeline, measured as `compile` measures it.
        score_copies: of the backend: how often attention holds its scores.
        report: told each value before it is tried.
        decide: what the job is decided by afterwards, so that it may remember.

    Raises `DoesNotFit` where no value fits, and `ConfigError` where none can be traced.
    """
    if job.undecided is None:
        return job
    values: dict[str, Any] = {}
    told: dict[str, Any] = {}
    scores: dict[str, int] = {}
    for key, tried in job.undecided.settings:
        trials = _Trials(job, values, trace, score_copies, report, decide)
        found = list(trials.of_scores(tried, scores) if key == SCORES else trials.of(key, tried))
        values[key] = _best(key, found).value
        told[key] = {
            str(t.value): None if t.makespan_s is None else round(t.makespan_s, 6) for t in found
        }
    made = decided(job, values, told)
    if SCORES not in values:
        return made
    bound = parse_bytes(values[SCORES], SCORES)
    return replace(made, pipeline=_blocked(made.pipeline, scores, bound))


def _best(key: str, trials: list[_Trial]) -> _Trial:
    times = [t.makespan_s for t in trials if t.makespan_s is not None]
    if not times:
        least = min((t.fault for t in trials if t.fault), key=lambda f: f.need_bytes)
        raise DoesNotFit(
            f"{least}; that is with the best {key} of {', '.join(str(t.value) for t in trials)}",
            least.chunk, least.need_bytes, least.memory_bytes,
        )  # fmt: skip
    limit = min(times) * _EQUAL
    return next(t for t in trials if t.makespan_s is not None and t.makespan_s <= limit)


@dataclass(frozen=True)
class _Trials:
    """Of one setting."""

    job: Job
    values: Mapping[str, Any]
    """What was chosen before it."""
    trace: Callable[[Pipeline], MeasuredPipeline]
    score_copies: int
    report: Callable[[str], None]
    decide: Decide

    def of(self, key: str, tried: tuple[Any, ...]) -> Iterator[_Trial]:
        """Every value that can be traced. Raises `ConfigError` where none can."""
        refused: list[ConfigError] = []
        made = 0
        for value in tried:
            self.report(f"{key}={value}")
            job = decided(self.job, {**self.values, key: value}, {})
            try:
                traced = self.trace(job.pipeline)
            except ConfigError as error:
                refused.append(error)
                continue
            made += 1
            yield self._decided(value, traced)
        if not made:
            raise refused[0]

    def of_scores(self, tried: tuple[str, ...], scores: dict[str, int]) -> Iterator[_Trial]:
        """Whole scores, then blocks of them as long as these take less memory.

        Args:
            scores: is filled with the bytes of the largest scores of each stage.
        """
        before: list[int] | None = None
        for value in tried:
            bound = parse_bytes(value, SCORES)
            if before is not None and bound >= max(scores.values(), default=0):
                continue
            self.report(f"{SCORES}={value}")
            made = decided(self.job, {**self.values, SCORES: value}, {}).pipeline
            traced = self.trace(made if before is None else _blocked(made, scores, bound))
            peaks = list(_peaks(traced))
            if peaks == before:
                return
            before = peaks
            scores.update(scores or self._scores(traced))
            yield self._decided(value, traced)

    def _scores(self, traced: MeasuredPipeline) -> dict[str, int]:
        return {
            name: max((o.workspace_bytes // self.score_copies for o in ops), default=0)
            for name, parts in traced.graphs.items()
            for ops in [[o for p in parts for o in p.ops if class_of(o) == ATTENTION]]
        }

    def _decided(self, value: Any, traced: MeasuredPipeline) -> _Trial:
        try:
            found = self.decide(self.job, traced)
        except DoesNotFit as error:
            return _Trial(value, None, error)
        return _Trial(value, found.makespan_s)


def _blocked(pipeline: Pipeline, scores: Mapping[str, int], bound: int) -> Pipeline:
    """A stage whose scores are within the bound is traced as it was."""
    return replace(
        pipeline,
        stages=tuple(
            replace(s, score_bytes=0) if scores.get(s.name, 0) <= bound else s
            for s in pipeline.stages
        ),
    )


def _peaks(traced: MeasuredPipeline) -> Iterator[int]:
    """Activations of each whole graph."""
    for parts in traced.graphs.values():
        for part in parts:
            yield activation_peak(part.ops, part.inputs, part.outputs)
