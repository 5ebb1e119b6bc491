"""What a kept folder's files held when it was made, so that damage is seen before they are used.

A seal is written once, beside the files: whose they are, the size and SHA-256 of each. A second
file notes in which state (inode, size, time of change) each file was when it was sealed, or last
read and found to be what the seal says: reading gigabytes again is worth nothing while that state
is the same.
"""

import contextlib
import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path

from entracte.disk.write import write_text
from entracte.errors import WriteError

SEAL = ".seal.json"
SEEN = ".seen.json"

State = tuple[int, int, int]
"""Of a file: inode, size, time of change in nanoseconds."""
_LARGE_BYTES = 1 << 20
"""Writing so much takes longer than a clock's tick: two such files never have one state."""
_KNOWN: dict[tuple[str, int, State], str] = {}
"""Name (of a small file), device and state -> SHA-256, of what this process read or wrote."""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def known_sha256(path: Path) -> str:
    """`file_sha256`, read again only when inode, size or time of change is another one; of a large
    file under any name."""
    whose = _whose(path)
    if whose not in _KNOWN:
        _KNOWN[whose] = file_sha256(path)
    return _KNOWN[whose]


def note_sha256(path: Path, digest: str) -> None:
    """Whoever wrote a file knows its digest: `known_sha256` need not read it."""
    _KNOWN[_whose(path)] = digest


def forget_sha256() -> None:
    """What was read before is read anew."""
    _KNOWN.clear()


def _whose(path: Path) -> tuple[str, int, State]:
    state = state_of(path)
    return "" if state[1] >= _LARGE_BYTES else str(path), path.lstat().st_dev, state


def state_of(path: Path) -> State:
    """Changes when a file is replaced or written to; of a link, not of what it leads to."""
    found = path.lstat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def seal(folder: Path, entry: str = "") -> None:
    """Note what the folder's files hold, and of which entry. Nothing may be written into it
    afterwards."""
    found = _files(folder)
    files = {name: [path.lstat().st_size, known_sha256(path)] for name, path in found}
    _write(folder / SEAL, {"entry": entry, "files": files})
    _write(folder / SEEN, {name: state_of(path) for name, path in found})


def sealed(folder: Path) -> dict[str, str]:
    """File -> SHA-256, as the seal has it; empty where there is none, or one that cannot be read.

    Names are relative to the folder, with slashes.
    """
    return {name: digest for name, (_, digest) in _read_seal(folder)[1].items()}


def damage(folder: Path, entry: str = "") -> str | None:
    """What of the folder is not as it was sealed as that entry; None when all is.

    A file is read if its state is not what it was when it was sealed or last read.
    """
    if folder.is_symlink() or not folder.is_dir():
        return "it is no folder"
    (whose, known), seen = _read_seal(folder), _read_seen(folder)
    if not known:
        return f"{SEAL} is missing or damaged"
    if whose != entry:
        return f"it is the entry {whose[:100]!r}"
    found = dict(_files(folder))
    if stray := sorted(found.keys() ^ known.keys()):
        return f"{stray[0]} {'is missing' if stray[0] in known else 'does not belong to it'}"
    states = {name: state_of(path) for name, path in found.items()}
    for name, path in found.items():
        if not stat.S_ISREG(path.lstat().st_mode) or states[name][1] != known[name][0]:
            return f"{name} has another size"
        if seen.get(name) != states[name] and file_sha256(path) != known[name][1]:
            return f"{name} holds other bytes"
    if seen != states:
        # A folder that cannot be written to is read each time.
        with contextlib.suppress(OSError, WriteError):
            _write(folder / SEEN, states)
    return None


def _files(folder: Path) -> list[tuple[str, Path]]:
    """All that is no folder, in a fixed order; not the seal's own files."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_symlink() or not p.is_dir())
    named = ((p.relative_to(folder).as_posix(), p) for p in found)
    return [(name, p) for name, p in named if name != SEAL and SEEN not in name]


def _read_seal(folder: Path) -> tuple[str, dict[str, tuple[int, str]]]:
    """The entry, and file -> its size and digest; no files where the seal cannot be read."""
    try:
        body = json.loads(_read(folder / SEAL))
        files = body["files"].items()
        return str(body["entry"]), {n: (int(size), str(digest)) for n, (size, digest) in files}
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return "", {}


def _read_seen(folder: Path) -> dict[str, State]:
    try:
        body = json.loads(_read(folder / SEEN))
        return {n: (int(inode), int(size), int(at)) for n, (inode, size, at) in body.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _read(path: Path) -> bytes:
    """A pipe would be waited for."""
    if not path.is_file():
        raise FileNotFoundError(path)
    return path.read_bytes()


def _write(path: Path, body: Mapping[str, object]) -> None:
    """Whole or not at all: another compile may be reading it."""
    write_text(path, json.dumps(body, sort_keys=True))
