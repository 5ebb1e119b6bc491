"""What was compiled before, by the digest of what went into it.

An entry is a JSON record or a folder, written aside and renamed: a compile that is killed leaves
either a whole entry or none, and the next one goes on from the entries that are there. Nothing in
here is needed to run a build folder; the whole cache may be deleted at any time.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from entracte.codec import decode, encode
from entracte.errors import ConfigError, PlanError

LAYOUT = "v1"
"""Part of every path: raise it when entries change their meaning."""
DEFAULT = "~/.cache/entracte"
VARIABLE = "ENTRACTE_CACHE"

T = TypeVar("T")


def digest(*parts: object) -> str:
    """SHA-256 of JSON-able values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def cache_folder(setting: str) -> Path:
    """`auto` is $ENTRACTE_CACHE, or ~/.cache/entracte; anything else is a folder."""
    chosen = os.environ.get(VARIABLE, DEFAULT) if setting == "auto" else setting
    folder = Path(chosen).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"cache={setting}: {folder} is not a folder; choose another")
    return folder


class Cache:
    """Entries under a folder, by kind and digest."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / LAYOUT

    def record(self, kind: str, key: str, type_: type[T]) -> T | None:
        """The record kept under `key`; None if there is none, or it is damaged."""
        path = self._place(kind, key).with_suffix(".json")
        try:
            value: T = decode(type_, json.loads(path.read_text()))
        except (OSError, ValueError, PlanError):
            return None
        _touch(path)
        return value

    def keep(self, kind: str, key: str, value: Any) -> None:
        """Write a record in one step."""
        path = self._place(kind, key).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        aside.write_text(json.dumps(encode(value)))
        os.replace(aside, path)

    def folder(self, kind: str, key: str) -> Path | None:
        """The folder kept under `key`, if there is one."""
        path = self._place(kind, key)
        if not path.is_dir():
            return None
        _touch(path)
        return path

    @contextlib.contextmanager
    def making(self, kind: str, key: str) -> Iterator[Path]:
        """An empty folder that becomes the entry when the block ends well."""
        path = self._place(kind, key)
        aside = path.with_name(f".{key}.{os.getpid()}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(".*.tmp"):
            if not is_alive(left.name.split(".")[-2]):
                _remove(left)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        try:
            yield aside
            _freeze(aside)
            if path.exists():  # another compile was faster; its bytes are the same
                return
            with contextlib.suppress(OSError):
                os.replace(aside, path)
            if not path.is_dir():
                raise ConfigError(f"cache: cannot write {path}; try `cache=FOLDER`")
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def drop(self, kind: str, key: str) -> None:
        """Forget a damaged folder."""
        _remove(self._place(kind, key))

    def prune(self, limit_bytes: int) -> None:
        """Remove the entries that were used longest ago until at most `limit_bytes` are left."""
        entries = [(_used(p), p, size_bytes(p)) for p in self._entries()]
        total = sum(size for *_, size in entries)
        for _, path, size in sorted(entries):
            if total <= limit_bytes:
                return
            _remove(path)
            total -= size

    def logs(self, folder: Path) -> Path:
        """Where a compile into `folder` keeps what its conversions print: a message names a log, so
        it outlives the build folder that a failed compile does not leave."""
        return self._root / "logs" / f"{folder.name}-{digest(str(folder.absolute()))[:8]}"

    def _entries(self) -> Iterable[Path]:
        return (p for p in self._root.glob("*/??/*") if not p.name.startswith("."))

    def _place(self, kind: str, key: str) -> Path:
        return self._root / kind / key[:2] / key


class DigestMemo:
    """Digests of the tensors of weight files, kept for as long as a file is what it was."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def known(self, file: Path) -> dict[str, str]:
        """Key -> digest, of what was noted for the file in its present state."""
        return dict(self._cache.record("weights", _state(file), _Pairs) or ())

    def note(self, file: Path, digests: Mapping[str, str]) -> None:
        """Remember them for the file in its present state."""
        self._cache.keep("weights", _state(file), tuple(sorted(digests.items())))


_Pairs: Any = tuple[tuple[str, str], ...]


def _state(file: Path) -> str:
    found = file.resolve().stat()
    return digest(str(file.resolve()), found.st_size, found.st_mtime_ns, found.st_ino)


def link_tree(source: Path, destination: Path) -> None:
    """Make `destination` hold the files of `source`: as hard links, or copies across disks."""
    for file in sorted(source.rglob("*")):
        place = destination / file.relative_to(source)
        if file.is_dir():
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:
            shutil.copyfile(file, place)


def size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file())


def is_alive(pid: str) -> bool:
    """Whether the process that made a partial folder still runs (a killed one cannot tidy up)."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _freeze(folder: Path) -> None:
    """Build folders share these files: whoever edits one must copy it first."""
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(0o444)


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(path)


def _used(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _remove(path: Path) -> None:
    if path.is_dir():
        # Renamed first: a half-removed entry must never be taken for a whole one.
        doomed = path.with_name(f".{path.name.strip('.')}.gone.tmp")
        with contextlib.suppress(OSError):
            os.replace(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        return
    path.unlink(missing_ok=True)
