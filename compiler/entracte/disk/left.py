"""Unfinished files and folders: how they are named, whose they are, and who clears them away.

Each has the number of the process that makes it in its name, and is locked for as long as that
lives: the system lets go of the lock however the process ends. So what a killed one left behind
can be told from what another is still making, also by a process that cannot see it (containers
that share a disk).
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import time
from pathlib import Path

PARTIAL, OLD = "partial", "old"
_NAME = re.compile(
    r"^\.(?P<name>.+?)\.(?P<pid>\d+)(\.[0-9a-f]{8})?\.(?P<ending>partial|old)(\.\w+)?$"
)
_YOUNG_S = 60.0
"""An unlocked one may be a moment old: its process is about to lock it."""

_own: dict[Path, int] = {}
"""Unfinished things -> the process that makes them: a fork inherits this, and they are not its."""
_shared: dict[Path, int] = {}
"""Folders in which processes of ours leave unfinished things when they are killed."""


def new_name(name: str, ending: str = PARTIAL) -> str:
    """A name that nobody else has or can guess. A file may have its own ending behind it."""
    return f".{name}.{os.getpid()}.{secrets.token_hex(4)}.{ending}"


def note(path: Path) -> None:
    """This process makes it; `clear` would remove it."""
    _own[path] = os.getpid()


def forget(path: Path) -> None:
    """It is finished or gone."""
    _own.pop(path, None)


def share(folder: Path) -> None:
    """`clear` sweeps this folder too."""
    _shared[folder] = os.getpid()


def clear() -> None:
    """Remove all that this process has not finished, and what its dead workers left."""
    for path in [p for p, pid in _own.items() if pid == os.getpid()]:
        remove(path)
        forget(path)
    for folder in [p for p, pid in _shared.items() if pid == os.getpid()]:
        sweep(folder)


def sweep(folder: Path, final: Path | None = None) -> None:
    """Remove what dead processes left in a folder; with `final`, only what was to become that.

    Where a process died between taking the old folder away and putting the new one in its place,
    the old one is put back.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            found = _NAME.match(name)
            if found is None or (final is not None and found["name"] != final.name):
                continue
            path = folder / name
            if path in _own or not _is_left(path, int(found["pid"])):
                continue
            if found["ending"] == OLD and final is not None and not os.path.lexists(final):
                os.rename(path, final)
            else:
                remove(path)


def lock(path: Path) -> int | None:
    """Lock a file or folder of one's own for as long as the handle is open."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return handle
    return None


def unlock(handle: int | None) -> None:
    """What `lock` gave."""
    if handle is not None:
        os.close(handle)


def remove(path: Path) -> None:
    """A file, a folder or a link, if it is there; never what a link leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, as far as this one can see."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _is_left(path: Path, pid: int) -> bool:
    locked = _is_locked(path)
    if locked is None:
        return not is_alive(pid)
    if locked:
        return False
    return not is_alive(pid) or time.time() - path.lstat().st_mtime > _YOUNG_S


def _is_locked(path: Path) -> bool | None:
    """None where the file system knows no locks."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return is_held(handle)
    finally:
        os.close(handle)


def is_held(handle: int) -> bool | None:
    """Whether another process has a lock on it, and else it is this one's from now on; None where
    the file system knows no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False
