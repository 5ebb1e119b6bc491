"""The folder of a build: where it goes, what may be replaced, put there as a whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from entracte.declare.read import Job
from entracte.disk import left
from entracte.disk.folder import can_write, fresh, put
from entracte.disk.places import expanded
from entracte.errors import ConfigError, PlanError
from entracte.plan.file import FILE, read_plan


def build_folder(job: Job) -> Path:
    """Where a job's results go: `out`, or a name that differs for each variant."""
    if job.out is not None:
        return expanded(job.out, "out")
    return Path("build") / f"{job.pipeline.name}-{job.target.name}"


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
def set_aside(folder: Path, *, dry_run: bool) -> Iterator[Path]:
    """A folder beside the final one, put into its place when all went well."""
    final = _final(folder)
    left.sweep(final.parent, final)
    with fresh(final.parent, final.name) as aside:
        yield aside
        # Somebody may have put something there since: it took minutes.
        check_out(folder, dry_run=dry_run)
        put(aside, final)
