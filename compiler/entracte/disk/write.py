"""Files, written whole or not at all: the one way in which anything here writes a file.

A new file is made beside the final one, under a name that nobody can have prepared: exclusively
and without following links, so a link in a folder that came from elsewhere leads nowhere. Renaming
it into place replaces a link of that name and not what the link leads to; a file that the user
names is another matter (`follow`): there a link is the user's own, and stays.
"""

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from entracte.disk import left
from entracte.errors import WriteError

REMEDY = "make room there, or name another place"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def told(place: Path | str, remedy: str = REMEDY) -> Iterator[None]:
    """What the system refuses inside becomes one message that names the place."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"{place}: cannot be written ({_said(error, place)}); {remedy}") from error


def _said(error: OSError, place: Path | str) -> str:
    """What the system has against it, and of which file, where that is another one."""
    if isinstance(error, shutil.Error):  # of a whole tree: (from, to, what was said) of each file
        return re.sub(r"^\[Errno \d+\] |: '.*", "", str(error.args[0][0][-1]), flags=re.DOTALL)
    said = error.strerror or str(error)
    # Of two files the second is what is written, or the name that it gets.
    other = error.filename2 or error.filename
    if isinstance(other, str) and not _same(Path(other), Path(place)):
        said += f": {other}"
    return said


def _same(other: Path, place: Path) -> bool:
    """Names of unfinished files help nobody."""
    return other == place or other.name.startswith(f".{place.name}.")


@contextlib.contextmanager
def writing(
    path: Path,
    *,
    follow: bool = False,
    durable: bool = False,
    scratch: Path | None = None,
    remedy: str = REMEDY,
) -> Iterator[Path]:
    """An empty file with the ending of `path`, to be filled; it becomes `path` when the block ends
    well, and goes otherwise.

    Args:
        follow: `path` is what the user typed: where it is a link, the file behind it is replaced.
        durable: on the disk before it takes its place. For what costs a run or a compile to make
            again; a page or a cache's record does not.
        scratch: the folder to make it in, on the same disk; the final one by default.
        remedy: what the user can do where it cannot be written.

    Raises `WriteError`, also for an `OSError` from inside the block.
    """
    with told(path, remedy):
        final = _final(path, follow)
        aside = (scratch or final.parent) / left.new_name(final.name)
        if final.suffix:
            aside = aside.with_name(f"{aside.name}{final.suffix}")
        if scratch is None:
            left.sweep(final.parent, final)
        left.note(aside)
        handle = None
        try:
            mode = _make(aside)
            handle = left.lock(aside)
            yield aside
            _finish(aside, mode, durable)
            os.replace(aside, final)
        finally:
            left.remove(aside)
            left.unlock(handle)
            left.forget(aside)


def write_text(
    path: Path,
    text: str,
    *,
    follow: bool = False,
    durable: bool = False,
    remedy: str = REMEDY,
) -> None:
    """UTF-8, lines ended by LF. See `writing`."""
    write_bytes(path, text.encode(), follow=follow, durable=durable, remedy=remedy)


def write_bytes(
    path: Path,
    data: bytes,
    *,
    follow: bool = False,
    durable: bool = False,
    scratch: Path | None = None,
    remedy: str = REMEDY,
) -> None:
    """See `writing`."""
    with (
        writing(path, follow=follow, durable=durable, scratch=scratch, remedy=remedy) as aside,
        aside.open("wb") as file,
    ):
        file.write(data)


def move(made: Path, path: Path, *, follow: bool = False) -> None:
    """Put a finished file, on the same disk, at `path`. `follow` as for `writing`."""
    with told(path):
        os.replace(made, _final(path, follow))


def _final(path: Path, follow: bool) -> Path:
    """Where the file goes; a folder, a device or a pipe is not replaced."""
    final = Path(os.path.realpath(path)) if follow else path
    try:
        # /dev/stdout leads to a pipe, which has no path.
        mode = (path.stat() if follow else final.lstat()).st_mode
    except FileNotFoundError:
        return final
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise WriteError(f"{path}: cannot be written (there is {what}); name another file")
    return final


def _make(aside: Path) -> int:
    """An empty file, readable by whom the umask says; its mode."""
    handle = os.open(aside, _NEW, 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)


def _finish(aside: Path, mode: int, durable: bool) -> None:
    """A library may have made the file anew, for itself alone."""
    handle = os.open(aside, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(handle, mode)
        if durable:
            os.fsync(handle)
    finally:
        os.close(handle)
