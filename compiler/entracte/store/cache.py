"""What was compiled before, by the digest of what went into it.

An entry is a JSON record or a folder, written aside and renamed: a compile that is killed leaves
either a whole entry or none, and the next one goes on from the entries that are there. Nothing in
here is needed to run a build folder; the whole cache may be deleted at any time.

Nor is an entry believed because it is there: a record carries the digest of its name and text, a
folder a seal (`entracte.store.seal`). What does not agree, or lies under another's name, is
dropped, said in one line of the log, and made again.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from entracte.codec import decode, encode
from entracte.disk import left
from entracte.disk.folder import can_write, fresh, make_folder, open_to_readers
from entracte.disk.places import expanded
from entracte.disk.write import told, write_bytes
from entracte.errors import ConfigError, PlanError, WriteError
from entracte.store.seal import damage, seal, state_of
from entracte.units import format_bytes

LAYOUT = "v1"
"""Part of every path: raise it when entries change their meaning."""
DEFAULT = "~/.cache/entracte"
VARIABLE = "ENTRACTE_CACHE"

REMEDY = "make room there, or give another folder with `cache=FOLDER`"

T = TypeVar("T")
_LOG = logging.getLogger("entracte")


def digest(*parts: object) -> str:
    """SHA-256 of JSON-able values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def cache_folder(setting: str) -> Path:
    """`auto` is $ENTRACTE_CACHE, or ~/.cache/entracte; anything else is a folder."""
    chosen = os.environ.get(VARIABLE, DEFAULT) if setting == "auto" else setting
    folder = expanded(chosen, "cache")
    if os.path.lexists(folder) and not folder.is_dir():
        raise ConfigError(f"cache={setting}: {folder} is not a folder; choose another")
    return folder


class Cache:
    """Entries under a folder, by kind and digest."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / LAYOUT
        self._scratch = self._root / "unfinished"
        """All in one place: what killed processes left is found without looking everywhere."""

    def check_place(self) -> None:
        """Raises `WriteError` where there is no cache, and none can be made. One that is there may
        be read-only: what it has may be all that is wanted."""
        if not self._root.exists() and not can_write(self._root):
            raise WriteError(f"{self._root}: no cache can be made there; {REMEDY}")

    def record(self, kind: str, key: str, type_: type[T]) -> T | None:
        """The record kept under `key`; None if there is none, or it is damaged."""
        path = self._place(kind, key).with_suffix(".json")
        if os.path.lexists(path) and not path.is_file():
            self._forget(kind, path, "it is no file")
            return None
        try:
            text = path.read_text()
            value: T = decode(type_, json.loads(_checked(text, f"{kind}/{key}")))
        except OSError:
            return None
        except (ValueError, RecursionError, PlanError) as error:
            self._forget(kind, path, str(error))
            return None
        _touch(path)
        return value

    def keep(self, kind: str, key: str, value: Any) -> None:
        """Write a record in one step."""
        path = self._place(kind, key).with_suffix(".json")
        make_folder(path.parent, REMEDY)
        make_folder(self._scratch, REMEDY)
        text = json.dumps(encode(value))
        data = f"{_sha256(f'{kind}/{key}', text)}\n{text}".encode()
        write_bytes(path, data, scratch=self._scratch, remedy=REMEDY)

    def folder(self, kind: str, key: str) -> Path | None:
        """The folder kept under `key`, if there is one whose files are what they were.

        They are read for that once, and again whenever one was replaced or written to.
        """
        path = self._place(kind, key)
        if not os.path.lexists(path):
            return None
        if fault := damage(path, f"{kind}/{key}"):
            self._forget(kind, path, fault)
            return None
        _touch(path)
        return path

    def _forget(self, kind: str, path: Path, fault: str) -> None:
        _LOG.warning("cache: an entry of %s is damaged and made again: %s: %s", kind, path, fault)
        # A cache that others own may be read-only.
        with contextlib.suppress(OSError, WriteError):
            self._remove(path)

    @contextlib.contextmanager
    def making(self, kind: str, key: str) -> Iterator[Path]:
        """An empty folder that becomes the entry when the block ends well."""
        path = self._place(kind, key)
        make_folder(path.parent, REMEDY)
        self.sweep()
        with told(path, REMEDY), fresh(self._scratch, key) as aside:
            yield aside
            seal(aside, f"{kind}/{key}")
            # Build folders share these files: whoever edits one must copy it first.
            open_to_readers(aside, frozen=True)
            try:
                os.rename(aside, path)
            except OSError:
                if not path.is_dir():  # else another compile was faster; its bytes are the same
                    raise

    def check_room(self, made_bytes: int, folder: Path, linked_bytes: int) -> None:
        """Whether about so many bytes of packages can be made, and so many be put into a build
        folder, which is a copy on another disk. Raises `WriteError`."""
        for place in (self._root, folder):
            make_folder(place)
        _check_room(self._root, made_bytes, REMEDY)
        if folder.stat().st_dev != self._root.stat().st_dev:
            remedy = "make room there, or give another folder with `out=FOLDER`"
            _check_room(folder.parent, linked_bytes, remedy)

    def sweep(self) -> None:
        """Remove what killed processes had begun."""
        left.share(self._scratch)
        left.sweep(self._scratch)

    def drop(self, kind: str, key: str) -> None:
        """Forget a damaged folder."""
        self._remove(self._place(kind, key))

    def prune(self, limit_bytes: int) -> None:
        """Remove the entries that were used longest ago until at most `limit_bytes` are left."""
        entries = [(_used(p), p, size_bytes(p)) for p in self._entries()]
        total = sum(size for *_, size in entries)
        for _, path, size in sorted(entries):
            if total <= limit_bytes:
                return
            self._remove(path)
            total -= size

    def _remove(self, path: Path) -> None:
        if not path.is_dir() or path.is_symlink():
            left.remove(path)
            return
        # Renamed first: a half-removed entry must never be taken for a whole one.
        make_folder(self._scratch, REMEDY)
        doomed = self._scratch / left.new_name(path.name)
        with contextlib.suppress(OSError):
            os.rename(path, doomed)
        left.remove(doomed)

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

    def __init__(self, cache: Cache, maker: str = "") -> None:
        """`maker`: the digest of the code that computes the digests."""
        self._cache, self._maker = cache, maker

    def known(self, file: Path) -> dict[str, str]:
        """Key -> digest, of what was noted for the file in its present state."""
        return dict(self._cache.record("weights", self._key(file), _Pairs) or ())

    def note(self, file: Path, digests: Mapping[str, str]) -> None:
        """Remember them for the file in its present state."""
        self._cache.keep("weights", self._key(file), tuple(sorted(digests.items())))

    def _key(self, file: Path) -> str:
        return digest(str(file.resolve()), state_of(file.resolve()), self._maker)


_Pairs: Any = tuple[tuple[str, str], ...]


def _sha256(name: str, text: str) -> str:
    return hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()


def _checked(text: str, name: str) -> str:
    """A record's JSON, behind its digest. Raises `ValueError`."""
    sha256, _, body = text.partition("\n")
    if sha256 != _sha256(name, body):
        raise ValueError("it holds other bytes, or is another entry")
    return body


def _check_room(place: Path, need_bytes: int, remedy: str) -> None:
    free_bytes = shutil.disk_usage(place).free
    if free_bytes < need_bytes:
        raise WriteError(
            f"{place}: packages take about {format_bytes(need_bytes)}, and its disk has "
            f"{format_bytes(free_bytes)} left; {remedy}"
        )


def link_tree(source: Path, destination: Path) -> None:
    """Make `destination` hold the files of `source`: as hard links, or copies across disks."""
    for file in sorted(source.rglob("*")):
        place = destination / file.relative_to(source)
        if file.is_dir():
            make_folder(place)
            continue
        make_folder(place.parent)
        link_file(file, place)


def link_file(file: Path, place: Path) -> None:
    """Make `place` hold a file: as a hard link, or a copy across disks."""
    try:
        os.link(file, place)
    except OSError:
        with told(place):
            shutil.copyfile(file, place)


def size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file())


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(path)


def _used(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0
