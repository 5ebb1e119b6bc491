"""Job -> all that is found out before anything is converted: traced and decided."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from entracte.decide.auto import choose
from entracte.decide.blocks import LEAST_BLOCKS, LEAST_BYTES
from entracte.decide.decide import Decision
from entracte.decide.remembered import Decide, remembered
from entracte.declare.read import Job
from entracte.emit.host_files import HostFiles, look
from entracte.emit.ids import check_ids
from entracte.errors import ConfigError, DoesNotFit
from entracte.halves import chosen, hinted
from entracte.ir import MeasuredPipeline
from entracte.plan.limits import check_program_size
from entracte.progress.reporter import Reporter
from entracte.store.cache import Cache

if TYPE_CHECKING:
    from entracte.trace.weights import PipelineWeights
    from entracte.trace.wire import TracedPipeline

_DECIDING = "partition and schedule"
_LOOKING = "graphs and weights"
"""What runs before the first stage is traced."""


@dataclass(frozen=True)
class Ready:
    """All that is found out before anything is converted."""

    job: Job
    """With values for what was left to the planner."""
    host: HostFiles
    source: "PipelineWeights"
    traced: "TracedPipeline"
    decision: Decision


def ready(job: Job, cache: Cache, report: Reporter) -> Ready:
    """Trace and decide. Raises `ConfigError`, and `DoesNotFit` with what else would fit."""
    host = look(job.pipeline, cache, dry_run=job.dry_run)
    known = remembered()

    def decide(job: Job, source: MeasuredPipeline) -> Decision:
        return known(job, replace(source, pipeline=host.into(source.pipeline)))

    asked, job = job, chosen(job, cache, decide)
    if job.undecided is not None:
        job = _settled(job, cache, report, decide)
    if job.pipeline != asked.pipeline:
        host = look(job.pipeline, cache, dry_run=job.dry_run)
    traced, source = trace(job, cache, report)
    source.check_all(traced.stages)
    check_ids(traced.stages, host.ids)
    report.phase("plan", 2 if job.dry_run else 1)
    report.start(_DECIDING)
    try:
        decision = decide(job, traced.measured)
    except DoesNotFit as error:
        raise hinted(job, error, cache, decide) from None
    check_program_size(decision.program)
    report.advance(_DECIDING)
    if job.shares_graphs and not any(c.shares for c in decision.partition.chunks):
        raise ConfigError(
            f"partition.weights=inputs: no stage of {job.pipeline.name} without compression and "
            f"without functions has {LEAST_BLOCKS} equal blocks of {LEAST_BYTES >> 10} KiB of "
            "weights or more that could share a graph; give partition=auto"
        )
    traced = replace(traced, pipeline=host.into(traced.pipeline))
    return Ready(job, host, source, traced, decision)


def _settled(job: Job, cache: Cache, report: Reporter, decide: Decide) -> Job:
    """With values for what is left to the planner."""
    from entracte.lower.backend import CORE_ML
    from entracte.lower.traced import trace_with_weights

    assert job.undecided is not None
    tried = [_LOOKING]
    report.phase("choose", 1 + sum(len(values) for _, values in job.undecided.settings))
    report.start(_LOOKING)

    def begun(trial: str) -> None:
        report.advance(tried[-1])
        report.start(trial)
        tried.append(trial)

    return choose(
        job,
        lambda pipeline: trace_with_weights(pipeline, cache)[0].measured,
        CORE_ML.score_copies,
        begun,
        decide,
    )


def trace(job: Job, cache: Cache, report: Reporter) -> "tuple[TracedPipeline, PipelineWeights]":
    """The stages' graphs, measured, and where their weights are read."""
    from entracte.lower.traced import trace_with_weights

    names = [s.name for s in job.pipeline.stages]
    report.phase("trace", len(names))
    report.start(_LOOKING)

    def begun(stage: str, done: int, _: int) -> None:
        if done:
            report.advance(names[done - 1])
        else:
            report.advance(_LOOKING, 0)
        report.start(stage)

    found = trace_with_weights(job.pipeline, cache, begun)
    report.advance(names[-1])
    return found
