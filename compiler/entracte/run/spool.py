"""An output on its way into a file: its pieces as they come, on disk, not in memory.

What cannot be written while it is made is written from here at the end; and where no file can be
made of it, the numbers are kept.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, BinaryIO

from entracte.disk.write import writing

if TYPE_CHECKING:
    import numpy as np

_BLOCK_BYTES = 1 << 22


class Dropped(Exception):
    """Leaves a block of `writing` so that nothing stays."""


class Spool:
    """Arrays that differ along one axis only, one behind the other."""

    def __init__(self, place: Path, axis: int) -> None:
        """Beside `place`, else where the system keeps temporary files."""
        self._folders = [place.parent, Path(tempfile.gettempdir())]
        self._stem, self._axis = place.stem, axis
        self._stack = contextlib.ExitStack()
        self._handle = -1
        self._extents: list[int] = []
        self._like: Any = None
        """The first piece's type and shape."""
        self._size_bytes = 0
        self.lost: OSError | None = None
        """Why not all of it is there."""

    # ------------------------------------------------------------ in

    def append(self, piece: Any) -> None:
        """The next piece. Where there is no room for it anywhere, all is `lost`."""
        import numpy as np

        if self.lost is not None:
            return
        array = np.asarray(piece)
        if self._like is None:
            self._like = array.dtype, array.shape
        data = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        try:
            self._write_somewhere(data)
        except OSError as error:
            self.lost = error
            return
        self._extents.append(array.shape[self._along] if array.ndim else 1)
        self._size_bytes += len(data)

    def _write_somewhere(self, data: memoryview) -> None:
        try:
            self._write(data)
        except OSError:
            if len(self._folders) == 1:
                raise
            self._move()
            self._write(data)

    def _write(self, data: memoryview) -> None:
        if self._handle < 0:
            self._open()
        at = self._size_bytes
        while data:
            done = os.pwrite(self._handle, data, at)
            data, at = data[done:], at + done

    def _open(self) -> None:
        """In the first of the folders that takes it."""
        try:
            kept = self._folders[0] / f"{self._stem}.spool"
            aside = self._stack.enter_context(_scratch(kept))
            self._handle = os.open(aside, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._stack.callback(os.close, self._handle)
        except OSError:
            if len(self._folders) == 1:
                raise
            self._folders.pop(0)
            self._open()

    def _move(self) -> None:
        """Go on in the other folder, with all that is there."""
        self._folders.pop(0)
        with self._stack.pop_all():
            old, self._handle = self._handle, -1
            whole, self._size_bytes = self._size_bytes, 0
            for at in range(0, whole, _BLOCK_BYTES):
                block = os.pread(old, min(_BLOCK_BYTES, whole - at), at)
                self._write(memoryview(block))
                self._size_bytes += len(block)

    # ------------------------------------------------------------ out

    @property
    def _along(self) -> int:
        return self._axis % max(1, len(self._like[1]))

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Of its elements."""
        self._check_whole()
        made: np.dtype[Any] = self._like[0]
        return made

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all pieces, joined."""
        self._check_whole()
        shape = list(self._like[1])
        if shape:
            shape[self._along] = sum(self._extents)
        return tuple(shape)

    @property
    def size_bytes(self) -> int:
        """Of all pieces."""
        return self._size_bytes

    def blocks(self) -> Iterator[bytes]:
        """The bytes of all pieces joined, in row-major order."""
        shape = self.shape
        outer = prod(shape[: self._along])
        inner_bytes = prod(shape[self._along + 1 :]) * self.dtype.itemsize
        if len(self._extents) == 1:
            yield from self._read(0, self._size_bytes)
            return
        for o in range(outer):
            start = 0
            for extent in self._extents:
                length = extent * inner_bytes
                yield from self._read(start + o * length, length)
                start += outer * length

    def _read(self, start: int, length: int) -> Iterator[bytes]:
        for at in range(start, start + length, _BLOCK_BYTES):
            yield os.pread(self._handle, min(_BLOCK_BYTES, start + length - at), at)

    def _check_whole(self) -> None:
        if self.lost is not None:
            raise self.lost

    def mapped(self) -> "np.ndarray":
        """All pieces joined along their first axis, as the disk has them: nothing is read yet."""
        import mmap

        import numpy as np

        if not self._size_bytes:
            return np.empty(self.shape, self.dtype)
        data = mmap.mmap(self._handle, self._size_bytes, access=mmap.ACCESS_READ)
        return np.frombuffer(data, self.dtype).reshape(self.shape)

    def write_npy(self, file: BinaryIO) -> None:
        """As numpy's own format, as it is."""
        from numpy.lib import format as npy

        described = {"descr": self.dtype.str, "fortran_order": False, "shape": self.shape}
        npy.write_array_header_1_0(file, described)  # type: ignore[no-untyped-call]
        for block in self.blocks():
            file.write(block)

    def keep(self, place: Path) -> Path | None:
        """As a tensor beside `place`, else where the system keeps temporary files. None where
        neither is possible."""
        if self.lost is not None or self._like is None:
            return None
        for folder in (place.parent, Path(tempfile.gettempdir())):
            kept = folder / f"{place.stem}.partial-{token_hex(4)}.npy"
            try:
                with writing(kept, durable=True) as aside, aside.open("wb") as file:
                    self.write_npy(file)
            except Exception:  # noqa: S112 (the next place is tried)
                continue
            return kept
        return None

    def drop(self) -> None:
        """Remove it."""
        self._stack.close()
        self._handle = -1


@contextlib.contextmanager
def _scratch(place: Path) -> Iterator[Path]:
    """A file of one's own beside `place` that goes when the block ends."""
    with contextlib.suppress(Dropped), writing(place) as aside:
        yield aside
        raise Dropped
