"""Builds that were made before: the same job is not traced, planned and emitted again. What is
claimed for it is proven anew, and its files are read again where they changed."""

from dataclasses import dataclass
from pathlib import Path

from entracte.disk.folder import make_folder
from entracte.emit.bundle import holds, place
from entracte.emit.make import PACKAGES
from entracte.ir import Plan
from entracte.plan.kept import is_proven
from entracte.store.cache import Cache, link_file
from entracte.store.seal import sealed

__all__ = ["BUILDS", "KeptBuild", "found_build", "keep_build", "place_build"]

BUILDS = "builds"
_FILES = "files"
"""What a build holds besides packages."""


@dataclass(frozen=True, slots=True)
class KeptBuild:
    """A plan, and where the cache has what it runs."""

    plan: Plan
    makespan_s: float
    """The time that was predicted when its chunks were chosen."""
    entries: tuple[str, ...]
    """The key of each of the plan's packages, in their order."""


def found_build(cache: Cache, key: str | None) -> tuple[KeptBuild, tuple[Path, ...]] | None:
    """What was kept under `key`, with the folders of its packages and of its other files, if the
    independent checker proves its plan again and every file is what the plan says."""
    kept = cache.record(BUILDS, key, KeptBuild) if key is not None else None
    if kept is None or key is None or len(kept.entries) != len(kept.plan.packages):
        return None
    if not is_proven(kept.plan):
        return None
    folders = []
    for entry, package in zip(kept.entries, kept.plan.packages, strict=True):
        folder = cache.folder(PACKAGES, entry)
        if folder is None or not holds(folder, package):
            return None
        folders.append(folder)
    files = cache.folder(_FILES, key)
    if files is None or sealed(files) != dict(kept.plan.files):
        return None
    return kept, (*folders, files)


def place_build(kept: KeptBuild, folders: tuple[Path, ...], folder: Path) -> None:
    """Link all but the plan into a new build folder."""
    for entry, package in zip(folders, kept.plan.packages, strict=False):
        place(entry, package, folder)
    _link(kept.plan, folders[-1], folder)


def keep_build(cache: Cache, key: str, kept: KeptBuild, folder: Path) -> None:
    """Keep a build that was just made in `folder`."""
    if cache.folder(_FILES, key) is None:
        with cache.making(_FILES, key) as entry:
            _link(kept.plan, folder, entry)
    cache.keep(BUILDS, key, kept)


def _link(plan: Plan, source: Path, folder: Path) -> None:
    for path, _ in plan.files:
        make_folder((folder / path).parent)
        link_file(source / path, folder / path)
