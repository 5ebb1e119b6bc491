"""The one folder that the UI reads and writes: nothing outside, also not by a link or `..`."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from entracte.disk.folder import make_folder
from entracte.disk.read import all_inside, inside
from entracte.errors import ConfigError

PLANS, BUILDS, RUNS, GIVEN = "plans", "builds", "runs", "given"
"""Where dry runs, builds, runs' outputs and given files go."""
PREVIEWS = "previews"
"""Folder of a run in which pictures lie while it runs: the newest is shown."""
PLAN = "plan.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", re.ASCII)
_DEEPEST, _MOST_LOOKED_AT, _MOST_FOUND = 3, 5000, 300
"""Levels of folders below the root, folders looked at, plans found."""


@dataclass(frozen=True, slots=True)
class Root:
    """A folder; names are relative to it, with slashes."""

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> "Root":
        """The folder that a user names. Raises `ConfigError` where there is none."""
        real = folder.expanduser().resolve()
        if not real.is_dir():
            raise ConfigError(f"--root {folder}: there is no such folder; make it, or name another")
        return cls(real)

    def existing(self, name: str) -> Path:
        """A file or folder that is there. Raises `ConfigError`."""
        found = None if "\0" in name else inside(self.folder, name)
        if found is None:
            raise ConfigError(
                f"{name[:200]!r}: not in the folder that the UI was started with "
                f"({self.folder}), or a link out of it"
            )
        return found

    def build(self, name: str) -> Path:
        """A folder with a plan, and nothing in it that leads out. Raises `ConfigError`."""
        found = self.existing(name)
        if not (found / PLAN).is_file():
            raise ConfigError(f"{name[:200]!r}: holds no {PLAN}; choose a plan or a build")
        self.check_whole(found)
        return found

    def check_whole(self, folder: Path) -> None:
        """Raises `ConfigError` where something below leads out of the root, or is no plain file."""
        if (stray := all_inside(self.folder, folder)) is not None:
            raise ConfigError(
                f"{stray}: a link out of {self.folder}, a device or a pipe; copy what is meant "
                "into the folder"
            )

    def fresh(self, kind: str, name: str) -> str:
        """A name, `kind/NAME` or `kind/NAME-2` and so on, at which there is nothing; the folder
        `kind` is made. Raises `ConfigError` for a name that is none."""
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"name {name[:100]!r}: give letters, digits, dots, - and _ (80 at most), without "
                "slashes"
            )
        self.make(kind)
        count = 1
        while os.path.lexists(self.folder / (made := _numbered(kind, name, count))):
            count += 1
        return made

    def make(self, kind: str) -> None:
        """The folder of that kind, if need be. Raises `ConfigError` or `WriteError`."""
        make_folder(self.folder / kind)
        self.existing(kind)

    def name_of(self, path: Path) -> str:
        """What a path inside is called."""
        return path.relative_to(self.folder).as_posix()

    def plans(self) -> tuple[str, ...]:
        """Folders with a plan, those of plans and builds, the newest first. No link is followed."""
        found = [(p.stat().st_mtime, self.name_of(p.parent)) for p in self._found()]
        return tuple(name for _, name in sorted(found, key=lambda f: (-f[0], f[1])))

    def _found(self) -> Iterator[Path]:
        count = 0
        for looked, (place, folders, files) in enumerate(os.walk(self.folder), 1):
            depth = len(Path(place).relative_to(self.folder).parts)
            is_plan = PLAN in files and inside(Path(place), PLAN) is not None
            if is_plan and depth:
                yield Path(place) / PLAN
                count += 1
            if is_plan or depth >= _DEEPEST:
                folders.clear()
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            if count >= _MOST_FOUND or looked >= _MOST_LOOKED_AT:
                return


def _numbered(kind: str, name: str, count: int) -> str:
    return f"{kind}/{name}" if count == 1 else f"{kind}/{name}-{count}"
