"""Job -> build folder: trace, decide, emit, plan. The one place where the phases meet."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from entracte.calibrate.derived import calibrated
from entracte.clock.predict import predict
from entracte.cost import emitted_facts, traced_activation_bytes
from entracte.decide.auto import choose
from entracte.decide.blocks import LEAST_BLOCKS, LEAST_BYTES
from entracte.decide.decide import Decision, decide_job
from entracte.decide.remembered import Decide, remembered
from entracte.declare.read import Job
from entracte.disk import left
from entracte.disk.folder import can_write, fresh, put
from entracte.disk.places import expanded
from entracte.disk.write import write_bytes
from entracte.emit.bundle import PACKAGES
from entracte.emit.host_files import HostFiles, look
from entracte.emit.ids import check_ids
from entracte.emit.kept import BUILDS, KeptBuild, found_build, keep_build, place_build
from entracte.errors import ConfigError, DoesNotFit, PlanError
from entracte.garbage import seldom_collected
from entracte.halves import chosen, hinted
from entracte.ir import (
    Bundle,
    Chunk,
    ChunkFacts,
    Compared,
    MeasuredPipeline,
    Partition,
    Plan,
    Schedule,
)
from entracte.plan.file import (
    CONSTANTS,
    FILE,
    Decided,
    make_plan,
    read_plan,
    write_plan,
)
from entracte.plan.kept import Planned, kept_or_made, planned
from entracte.plan.limits import check_program_size
from entracte.program.workload import Workload
from entracte.schedule.choose import make_schedule
from entracte.store.cache import Cache, cache_folder
from entracte.store.decisive import decisive_digest
from entracte.store.declared import read_job
from entracte.store.seal import file_sha256

if TYPE_CHECKING:
    import numpy as np

    from entracte.emit.bundle import Workshop
    from entracte.trace.weights import PipelineWeights
    from entracte.trace.wire import TracedPipeline

_ATTEMPTS = 3
"""Conversions may need more activations than traced; then chunks are chosen again."""
_WORTH = 0.98
"""Packages are converted once more if that makes the plan so much faster."""
_DECIDING = "partition and schedule"
_PROOF = "proof and bounds"
_LOOKING = "graphs and weights"
"""What runs before the first stage is traced."""


class Reporter(Protocol):
    """Told what is going on; the command draws progress bars from it."""

    def phase(self, name: str, total: int, unit_bytes: bool = False) -> None:
        """A phase of `total` units begins: bytes, or things to count."""

    def start(self, label: str) -> None:
        """What runs now: a stage, a package; several may run at once."""

    def advance(self, label: str, amount: int = 1) -> None:
        """So many units more are done, or none and something else is; `label` is what."""


class Quiet:
    """A reporter that says nothing."""

    def phase(self, name: str, total: int, unit_bytes: bool = False) -> None:
        """See `Reporter`."""

    def start(self, label: str) -> None:
        """See `Reporter`."""

    def advance(self, label: str, amount: int = 1) -> None:
        """See `Reporter`."""


@dataclass(frozen=True)
class Built:
    """What a compile made."""

    plan: Plan
    folder: Path | None
    """None for a dry run without `out`."""
    seconds: float
    dry_run_s: float
    """The time that was predicted before anything was converted."""


def build_folder(job: Job) -> Path:
    """Where a job's results go: `out`, or a name that differs for each variant."""
    if job.out is not None:
        return expanded(job.out, "out")
    return Path("build") / f"{job.pipeline.name}-{job.target.name}"


def compile_pipeline(
    overrides: Sequence[str],
    *,
    out: Path | str | None = None,
    config_dir: Path | str | None = None,
    reporter: Reporter | None = None,
) -> Built:
    """Compile what the overrides say, as the command `compile` does with them.

    Args:
        overrides: e.g. `["target=host", "target.memory=24MiB"]`; with `"dry_run=true"`
            nothing is converted.
        out: the build folder; the same as `out=FOLDER` among the overrides.
        config_dir: a folder of yaml files of your own, like the command's `--config-dir`.
        reporter: told what is going on.

    Returns the plan and the build folder. Raises `ConfigError` and `DoesNotFit`.
    """
    from entracte.declare.compose import compose

    config = calibrated(compose(overrides, config_dir))
    if config.advise:
        raise ConfigError("advise=true: only the command `compile` prints advice; leave it out")
    job = read_job(config)
    return compile_job(job if out is None else replace(job, out=str(out)), reporter)


def compile_job(job: Job, reporter: Reporter | None = None) -> Built:
    """Compile. With `dry_run` nothing is converted, and written only if `out` is given."""
    begun = time.monotonic()
    report = reporter or Quiet()
    folder = build_folder(job)
    if not job.dry_run or job.out is not None:
        check_out(folder, dry_run=job.dry_run)
    cache = Cache(cache_folder(job.cache))
    try:
        with seldom_collected():
            make = _dry_run if job.dry_run else _compile
            return make(job, folder, cache, report, begun)
    finally:
        # Workers may have been ended in the middle of an entry.
        cache.sweep()


def _dry_run(job: Job, folder: Path, cache: Cache, report: Reporter, begun: float) -> Built:
    def make() -> Planned:
        r = _ready(job, cache, report)
        report.start(_PROOF)
        plan = _plan(r.job, r.decision, r.decision.facts, r.decision.schedule, None, ())
        report.advance(_PROOF)
        return Planned(plan, r.decision.makespan_s)

    made = planned(job, cache, make)
    writes = job.out is not None
    if writes:
        with _aside(folder, dry_run=True) as aside:
            write_plan(made.plan, aside)
    seconds = time.monotonic() - begun
    return Built(made.plan, folder if writes else None, seconds, made.makespan_s)


def _compile(job: Job, folder: Path, cache: Cache, report: Reporter, begun: float) -> Built:
    def find(key: str) -> KeptBuild | None:
        found = found_build(cache, key)
        if found is None:
            return None
        kept, entries = found
        with _aside(folder, dry_run=False) as aside:
            place_build(kept, entries, aside)
            write_plan(kept.plan, aside)
        return kept

    def keep(key: str, made: KeptBuild) -> None:
        keep_build(cache, key, made, folder)

    kept = kept_or_made(
        decisive_digest(job, BUILDS), find, lambda: _made(job, folder, cache, report), keep
    )
    cache.prune(job.cache_limit_bytes)
    return Built(kept.plan, folder, time.monotonic() - begun, kept.makespan_s)


def _made(job: Job, folder: Path, cache: Cache, report: Reporter) -> KeptBuild:
    r = _ready(job, cache, report)
    with _aside(folder, dry_run=False) as aside:
        files = _write_files(r.host, r.traced.constants, aside)
        shop = _shop(r.job, aside, cache, report)
        plan, bundle = _emit_and_plan(r.job, r.traced, r.source, r.decision, files, shop, report)
        write_plan(plan, aside)
        left.remove(cache.logs(folder))
    return KeptBuild(plan, r.decision.makespan_s, bundle.entries)


@dataclass(frozen=True)
class _Ready:
    """All that is found out before anything is converted."""

    job: Job
    """With values for what was left to the planner."""
    host: HostFiles
    source: "PipelineWeights"
    traced: "TracedPipeline"
    decision: Decision


def _ready(job: Job, cache: Cache, report: Reporter) -> _Ready:
    host = look(job.pipeline, cache, dry_run=job.dry_run)
    known = remembered()

    def decide(job: Job, source: MeasuredPipeline) -> Decision:
        return known(job, replace(source, pipeline=host.into(source.pipeline)))

    asked, job = job, chosen(job, cache, decide)
    if job.undecided is not None:
        job = _settled(job, cache, report, decide)
    if job.pipeline != asked.pipeline:
        host = look(job.pipeline, cache, dry_run=job.dry_run)
    traced, source = _trace(job, cache, report)
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
    return _Ready(job, host, source, traced, decision)


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


def _trace(job: Job, cache: Cache, report: Reporter) -> "tuple[TracedPipeline, PipelineWeights]":
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


def _emit_and_plan(  # noqa: PLR0913 - all that the phases before it made
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
    report.start(_PROOF)
    plan = _plan(job, best.decision, best.facts, best.schedule, best.bundle, files)
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
        plan = _plan(job, made.decision, made.facts, made.schedule, made.bundle, files)
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


def _shop(job: Job, aside: Path, cache: Cache, report: Reporter) -> "Workshop":
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


def _write_files(
    host: HostFiles, constants: "Mapping[str, np.ndarray]", aside: Path
) -> tuple[tuple[str, str], ...]:
    """Constants and host steps' files: the folder must run where there is no model code."""
    from safetensors.numpy import save

    names = []
    if constants:
        write_bytes(aside / CONSTANTS, save(dict(sorted(constants.items()))))
        names.append(CONSTANTS)
    names += host.write(aside)
    return tuple((name, file_sha256(aside / name)) for name in names)


def _plan(
    job: Job,
    decision: Decision,
    facts: tuple[ChunkFacts, ...],
    schedule: Schedule,
    bundle: Bundle | None,
    files: tuple[tuple[str, str], ...],
) -> Plan:
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


# ---------------------------------------------------------------- folders


def check_out(folder: Path, *, dry_run: bool = False) -> None:
    """A build folder may be replaced by a build, a dry run's by both; else what is there stays.

    Raises `ConfigError`, also for a place where no folder can be put.
    """
    final = _final(folder)
    if final.exists() and not (final / FILE).is_file() and any(_entries(final)):
        raise ConfigError(
            f"out={folder}: there is something that is no build folder; choose another name"
        )
    if dry_run and (final / FILE).is_file() and not _is_dry_run(final):
        raise ConfigError(
            f"out={folder}: a build is there, with its packages; a dry run would leave only a plan "
            "in its place: choose another name, or remove the folder first"
        )
    if final.is_mount() or Path.cwd().is_relative_to(final):
        raise ConfigError(
            f"out={folder}: a build folder is replaced as a whole, and this one cannot be (a disk "
            "is mounted there, or you are in it); name a folder inside it"
        )
    if not can_write(final.parent):
        raise ConfigError(
            f"out={folder}: {final.parent} cannot be written: there is no such folder, or it is "
            "read-only; choose another name"
        )


def _final(folder: Path) -> Path:
    """Where a build goes: behind a link, which stays."""
    return Path(os.path.realpath(folder))


def _is_dry_run(folder: Path) -> bool:
    try:
        return not read_plan(folder).built
    except PlanError:
        return False


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else [folder]


@contextmanager
def _aside(folder: Path, *, dry_run: bool) -> Iterator[Path]:
    """A folder beside the final one, put into its place when all went well."""
    final = _final(folder)
    left.sweep(final.parent, final)
    with fresh(final.parent, final.name) as aside:
        yield aside
        # Somebody may have put something there since: it took minutes.
        check_out(folder, dry_run=dry_run)
        put(aside, final)
