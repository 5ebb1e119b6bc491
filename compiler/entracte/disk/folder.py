"""Folders, made aside and put into place in one step."""

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from entracte.disk import left
from entracte.disk.write import REMEDY, told

_ROUNDS = 20
"""Others may put folders at the same place while this one tries."""
_HERE, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux."""
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
"""What a system or a file system says that cannot exchange."""


def make_folder(folder: Path, remedy: str = REMEDY) -> None:
    """It and its parents, where they are not there. Raises `WriteError`."""
    with told(folder, remedy):
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Whether no other process is in such a block of the same folder now. Where the file system
    knows no locks, nobody can say, and it is taken to be so."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        yield left.is_held(handle) is not True
    finally:
        os.close(handle)


def remove_empty(folder: Path) -> None:
    """A folder in which there is nothing; any other stays."""
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def fresh(parent: Path, name: str) -> Iterator[Path]:
    """An empty folder of one's own, hidden in `parent`, which is made if need be. What is still
    there under its name when the block ends is removed.

    Raises `WriteError`.
    """
    make_folder(parent)
    folder = parent / left.new_name(name)
    left.note(folder)
    handle = None
    try:
        with told(parent):
            folder.mkdir()
        handle = left.lock(folder)
        yield folder
    finally:
        left.remove(folder)
        left.unlock(handle)
        left.forget(folder)


def put(folder: Path, final: Path) -> None:
    """Put a folder at `final`, in one step: whoever looks finds the old one or the new one.

    What was at `final`, if there was something, is then at `folder`. Several processes may do this
    at once; the last one's stays. `final` is no link. Raises `WriteError`.
    """
    with told(final):
        for _ in range(_ROUNDS):
            if _put(folder, final):
                return
        raise OSError(errno.EBUSY, "others write there all the time")


def _put(folder: Path, final: Path) -> bool:
    """False where somebody else was faster."""
    try:
        if os.path.lexists(final):
            exchange(folder, final)
        else:
            os.rename(folder, final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT) and folder.exists():
            return False
        raise
    return True


def exchange(one: Path, other: Path) -> None:
    """Two folders change places: at once where the system can, else by way of a third name."""
    if not _exchange_at_once(one, other):
        _exchange_by_steps(one, other)


def _exchange_at_once(one: Path, other: Path) -> bool:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _exchange_by_steps(one: Path, other: Path) -> None:
    """Whatever stops this halfway, `other` is there again (killed, the next one's `sweep` does
    it)."""
    old = other.with_name(left.new_name(other.name, left.OLD))
    left.note(old)
    try:
        os.rename(other, old)
        try:
            os.rename(one, other)
        except BaseException:
            _give_back(old, other)
            raise
        os.rename(old, one)
    finally:
        left.forget(old)


def _give_back(old: Path, place: Path) -> None:
    """What was at `place` comes back, unless somebody else has put something there."""
    try:
        if not os.path.lexists(place):
            os.rename(old, place)
    except OSError:
        if not os.path.lexists(place):
            raise
    left.remove(old)


def open_to_readers(folder: Path, *, frozen: bool = False) -> None:
    """Let all in it be read by those who may read the folder itself: libraries make files for
    their own user alone. `frozen`: and written by nobody."""
    wanted = stat.S_IMODE(folder.stat().st_mode)
    for place, folders, files in os.walk(folder):
        for name in folders:
            _widen(Path(place) / name, wanted)
        for name in files:
            _widen(Path(place) / name, wanted & 0o444 if frozen else wanted & 0o666, frozen)


def _widen(path: Path, wanted: int, exactly: bool = False) -> None:
    if path.is_symlink():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode != (wanted if exactly else mode | wanted):
        path.chmod(wanted if exactly else mode | wanted)


def can_write(folder: Path) -> bool:
    """Whether files can be made in a folder, or in the nearest parent that is there."""
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)
