"""The whole way, from words or a job to a build folder, or to the plan of a dry run."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from entracte.calibrate.derived import calibrated
from entracte.compile.emitted import PROOF, emit_and_plan, plan_of, workshop
from entracte.compile.folder import build_folder, check_out, set_aside
from entracte.compile.ready import ready
from entracte.declare.read import Job
from entracte.disk import left
from entracte.disk.write import write_bytes
from entracte.emit.host_files import HostFiles
from entracte.emit.kept import BUILDS, KeptBuild, found_build, keep_build, place_build
from entracte.errors import ConfigError
from entracte.garbage import seldom_collected
from entracte.ir import Plan
from entracte.plan.file import CONSTANTS, write_plan
from entracte.plan.kept import Planned, kept_or_made, planned
from entracte.progress.reporter import Quiet, Reporter
from entracte.store.cache import Cache, cache_folder
from entracte.store.decisive import decisive_digest
from entracte.store.declared import read_job
from entracte.store.seal import file_sha256

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Built:
    """What a compile made."""

    plan: Plan
    folder: Path | None
    """None for a dry run without `out`."""
    seconds: float
    dry_run_s: float
    """The time that was predicted before anything was converted."""


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
    cache.check_place()
    try:
        with seldom_collected():
            make = _dry_run if job.dry_run else _compile
            return make(job, folder, cache, report, begun)
    finally:
        # Workers may have been ended in the middle of an entry.
        cache.sweep()


def _dry_run(job: Job, folder: Path, cache: Cache, report: Reporter, begun: float) -> Built:
    def make() -> Planned:
        r = ready(job, cache, report)
        report.start(PROOF)
        plan = plan_of(r.job, r.decision, r.decision.facts, r.decision.schedule, None, ())
        report.advance(PROOF)
        return Planned(plan, r.decision.makespan_s)

    made = planned(job, cache, make)
    writes = job.out is not None
    if writes:
        with set_aside(folder, dry_run=True) as aside:
            write_plan(made.plan, aside)
    seconds = time.monotonic() - begun
    return Built(made.plan, folder if writes else None, seconds, made.makespan_s)


def _compile(job: Job, folder: Path, cache: Cache, report: Reporter, begun: float) -> Built:
    def find(key: str) -> KeptBuild | None:
        found = found_build(cache, key)
        if found is None:
            return None
        kept, entries = found
        with set_aside(folder, dry_run=False) as aside:
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
    r = ready(job, cache, report)
    with set_aside(folder, dry_run=False) as aside:
        files = write_files(r.host, r.traced.constants, aside)
        shop = workshop(r.job, aside, cache, report)
        plan, bundle = emit_and_plan(r.job, r.traced, r.source, r.decision, files, shop, report)
        write_plan(plan, aside)
        left.remove(cache.logs(folder))
    return KeptBuild(plan, r.decision.makespan_s, bundle.entries)


def write_files(
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
