"""Jobs of earlier sweeps: a sweep that is typed again does only what is missing.

What a job made is kept in the cache by all that went into it: its settings, the code of the
compiler and of its graphs, and the state of the files that hold its weights. It counts only while
the folder that it wrote is still as it left it.
"""

from collections.abc import Iterator
from pathlib import Path

from entracte.cli.sweep_job import Made
from entracte.compile.job import Built
from entracte.declare.read import Job
from entracte.errors import DoesNotFit, EntracteError
from entracte.plan.file import FILE
from entracte.store.cache import Cache, cache_folder, digest
from entracte.store.decisive import decisive_digest
from entracte.store.seal import file_sha256

_JOBS, _MEMORY = "sweep_jobs", "sweep_memory"
"""Kinds of cache entries."""


def made_of(built: Built, psnr_db: float | None = None) -> Made:
    """What is kept of a compile that wrote its plan, and was perhaps verified."""
    f, folder = built.plan.forecast, built.folder
    assert folder is not None, "a job of a sweep has a folder"
    return Made(
        fits=True,
        budget_bytes=built.plan.target.budget_bytes,
        peak_bytes=f.peak_bytes,
        makespan_s=f.makespan_s,
        loaded_bytes=f.loaded_bytes,
        lower_bound_s=f.lower_bound_s,
        weight_bytes=sum(c.weight_bytes for c in built.plan.facts),
        psnr_db=psnr_db,
        plan_sha256=file_sha256(folder / FILE),
        files=tuple(_sizes(folder)),
    )


def made_without_fit(job: Job, error: DoesNotFit) -> Made:
    """Not to fit is a result as well: the same job would not fit again."""
    return Made(fits=False, reason=str(error), budget_bytes=job.target.budget_bytes)


def known(job: Job, folder: Path, verifies: bool = False) -> Made | None:
    """What the same job made earlier; None if it must be done."""
    key, cache = job_key(job, folder, verifies), _cache(job)
    if key is None or cache is None:
        return None
    found = cache.record(_JOBS, key, Made)
    return found if found is not None and _is_there(found, folder) else None


def keep(job: Job, folder: Path, made: Made, verifies: bool = False) -> None:
    """Remember it for `known`."""
    key, cache = job_key(job, folder, verifies), _cache(job)
    if key is not None and cache is not None:
        cache.keep(_JOBS, key, made)


def job_key(job: Job, folder: Path, verifies: bool = False) -> str | None:
    """The digest of all that a job's result depends on; None where that cannot be known."""
    return decisive_digest(job, job.dry_run, verifies, str(folder.absolute()))


def _is_there(made: Made, folder: Path) -> bool:
    """Whether the folder is as the job left it; what runs have added since does not matter."""
    if not made.fits:
        return True
    try:
        sizes = dict(_sizes(folder))
        same = file_sha256(folder / FILE) == made.plan_sha256
    except OSError:
        return False
    return same and all(sizes.get(name) == size for name, size in made.files)


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.stat().st_size


def memory_bytes(job: Job) -> int | None:
    """The most that a job of this pipeline took in earlier sweeps; None if none was measured."""
    cache = _cache(job)
    return None if cache is None else cache.record(_MEMORY, _memory_key(job), int)


def note_memory(job: Job, taken_bytes: int) -> None:
    """Remember the larger of this and what is known."""
    cache = _cache(job)
    if cache is not None and taken_bytes > (memory_bytes(job) or 0):
        cache.keep(_MEMORY, _memory_key(job), taken_bytes)


def _memory_key(job: Job) -> str:
    """Dry runs take less than builds, and builds the more, the more of their own processes
    convert."""
    return digest(job.pipeline.name, job.dry_run, 0 if job.dry_run else job.workers)


def _cache(job: Job) -> Cache | None:
    """None where there can be none: the compile itself says so."""
    try:
        return Cache(cache_folder(job.cache))
    except EntracteError:
        return None
