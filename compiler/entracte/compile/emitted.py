"""Decision -> packages and their plan: chosen again where packages need more than was traced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from entracte.clock.predict import predict
from entracte.compile.folder import build_folder
from entracte.cost import emitted_facts, traced_activation_bytes
from entracte.decide.decide import Decision, decide_job
from entracte.declare.read import Job
from entracte.disk import left
from entracte.emit.bundle import PACKAGES
from entracte.errors import DoesNotFit
from entracte.ir import Bundle, Chunk, ChunkFacts, Compared, Partition, Plan, Schedule
from entracte.plan.file import Decided, make_plan
from entracte.program.workload import Workload
from entracte.progress.reporter import Reporter
from entracte.schedule.choose import make_schedule
from entracte.store.cache import Cache

if TYPE_CHECKING:
    from entracte.emit.bundle import Workshop
    from entracte.trace.weights import PipelineWeights
    from entracte.trace.wire import TracedPipeline

_ATTEMPTS = 3
"""Conversions may need more activations than traced; then chunks are chosen again."""
_WORTH = 0.98
"""Packages are converted once more if that makes the plan so much faster."""
PROOF = "proof and bounds"


def emit_and_plan(  # noqa: PLR0913 - all that the phases before it made
    job: Job,
    traced: "TracedPipeline",
    source: "PipelineWeights",
    decision: Decision,
    files: tuple[tuple[str, str], ...],
    shop: "Workshop",
    report: Reporter,
) -> tuple[Plan, Bundle]:
    """Convert; if packages need more room than traced, choose again with what was learnt: because
    they do not fit, or because other chunks are then faster."""
    best: _Emitted | None = None
    corrections: dict[str, float] = {}
    for attempt in range(_ATTEMPTS):
        bundle = _emit(job, traced, source, decision, shop)
        decision = _as_emitted(decision, bundle)
        report.phase("schedule", 1)
        report.start("packages as they are")
        try:
            made = _scheduled(job, decision, bundle)
            best = made if best is None or made.makespan_s < best.makespan_s else best
        except DoesNotFit as error:
            if attempt + 1 == _ATTEMPTS and best is None:
                raise DoesNotFit(f"{error}, once converted; try a larger `target.memory`") from None
        corrections = _corrections(decision, bundle, corrections)
        again = _decided_again(job, traced, corrections, best)
        if again is None or _same_choice(again, decision):
            break
        decision = again
    assert best is not None
    if best.bundle is not bundle:
        # From the cache: the folder holds the last attempt's packages.
        _emit(job, traced, source, best.decision, shop)
    if job.verify:
        compared, changed = _compare(job, traced, source, best, files, shop)
        if changed:
            bundle = _emit(job, traced, source, best.decision, shop)
            best = _scheduled_again(job, best.decision, bundle, compared)
        best = replace(best, bundle=replace(best.bundle, verify="on", compared=compared))
    report.phase("finish", 1)
    report.start(PROOF)
    plan = plan_of(job, best.decision, best.facts, best.schedule, best.bundle, files)
    return plan, best.bundle


def _as_emitted(decision: Decision, bundle: Bundle) -> Decision:
    """Chunks that could not share a graph after all do not."""
    holds = {p.chunk for p in bundle.packages if p.arrays is None}
    chunks = decision.partition.chunks
    chunks = tuple(replace(c, shares="") if c.id in holds else c for c in chunks)
    return replace(decision, partition=Partition(chunks))


def _compare(
    job: Job,
    traced: "TracedPipeline",
    source: "PipelineWeights",
    made: "_Emitted",
    files: tuple[tuple[str, str], ...],
    shop: "Workshop",
) -> "tuple[tuple[Compared, ...], bool]":
    """Packages beside their source; whether some must be emitted again, repaired."""
    from entracte.emit.bundle import compare_all
    from entracte.verify.recorded import record_inputs

    def known(chunks: Sequence[str]) -> Path | None:
        plan = plan_of(job, made.decision, made.facts, made.schedule, made.bundle, files)
        return record_inputs(plan, traced.stages, source, chunks, shop.folder, shop.logs / "inputs")

    return compare_all(
        traced.stages,
        made.decision.partition.chunks,
        source,
        deployment=job.target.deployment,
        shop=shop,
        known=known,
    )


def _scheduled_again(
    job: Job, decision: Decision, bundle: Bundle, compared: tuple[Compared, ...]
) -> "_Emitted":
    """With packages that were repaired."""
    try:
        return _scheduled(job, decision, bundle)
    except DoesNotFit as error:
        repaired = ", ".join(c.chunk for c in compared if c.repaired)
        raise DoesNotFit(
            f"{error}, once {repaired} compute in fp32 what fp16 cannot; try a larger "
            "`target.memory`"
        ) from None


@dataclass(frozen=True)
class _Emitted:
    """A decision whose packages are there, scheduled with what they really need."""

    decision: Decision
    bundle: Bundle
    facts: tuple[ChunkFacts, ...]
    schedule: Schedule
    makespan_s: float


def _scheduled(job: Job, decision: Decision, bundle: Bundle) -> _Emitted:
    facts = emitted_facts(decision.partition.chunks, bundle, job.target)
    workload = Workload.on(job.target, decision.program, facts)
    schedule = make_schedule(workload, job.policy)
    made = predict(workload, schedule)
    return _Emitted(decision, bundle, facts, schedule, made.makespan_s)


def _decided_again(
    job: Job, traced: "TracedPipeline", corrections: Mapping[str, float], best: _Emitted | None
) -> Decision | None:
    """What would be chosen now; None if something fits already and this is hardly faster."""
    try:
        again = decide_job(job, traced.measured, corrections=corrections)
    except DoesNotFit:
        if best is None:
            raise
        return None
    worth = best is None or again.makespan_s < best.makespan_s * _WORTH
    return again if worth else None


def _same_choice(one: Decision, other: Decision) -> bool:
    """What shares a graph is no choice: it was found out."""
    return (_cuts(one), one.grouping) == (_cuts(other), other.grouping)


def _cuts(decision: Decision) -> tuple[Chunk, ...]:
    return tuple(replace(c, shares="") for c in decision.partition.chunks)


def _corrections(
    decision: Decision, bundle: Bundle, known: Mapping[str, float]
) -> dict[str, float]:
    """Per stage graph: how much larger activations became when converted."""
    result = dict(known)
    for chunk, package in zip(decision.partition.chunks, bundle.packages, strict=True):
        ratio = package.activation_bytes / max(1, traced_activation_bytes(chunk))
        result[chunk.graph] = max(result.get(chunk.graph, 1.0), ratio)
    return result


def _emit(
    job: Job,
    traced: "TracedPipeline",
    source: "PipelineWeights",
    decision: Decision,
    shop: "Workshop",
) -> Bundle:
    from entracte.emit.bundle import emit

    # Links of an earlier attempt; the cache keeps the packages themselves.
    left.remove(shop.folder / PACKAGES)
    return emit(
        traced.stages,
        decision.partition.chunks,
        source,
        deployment=job.target.deployment,
        shop=shop,
    )


def workshop(job: Job, aside: Path, cache: Cache, report: Reporter) -> "Workshop":
    """Where a job's packages are made: in the folder that becomes its build, telling how far."""
    from entracte.emit.bundle import ByteProgress, Workshop

    progress = ByteProgress(
        begin=lambda total: report.phase("convert", total, unit_bytes=True),
        advance=report.advance,
        start=report.start,
    )
    comparing = ByteProgress(
        begin=lambda total: report.phase("compare", total),
        advance=report.advance,
        start=report.start,
    )
    return Workshop(
        aside,
        cache,
        job.workers,
        progress,
        cache.logs(build_folder(job)),
        comparing,
        job.verify,
    )


def plan_of(
    job: Job,
    decision: Decision,
    facts: tuple[ChunkFacts, ...],
    schedule: Schedule,
    bundle: Bundle | None,
    files: tuple[tuple[str, str], ...],
) -> Plan:
    """The proven plan of what was decided; of what was emitted too, unless it is a dry run's."""
    return make_plan(
        job.pipeline,
        job.target,
        job.settings,
        Decided(
            program=decision.program,
            chunks=decision.partition.chunks,
            facts=facts,
            schedule=schedule,
        ),
        bundle=bundle,
        files=files,
    )
