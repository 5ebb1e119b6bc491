"""Memory that a load takes from the system and gives back to it.

The C library keeps what it is given back: freed blocks below a threshold that it raises by itself
(up to 32 MiB) stay with the process. Weights therefore live in private anonymous mappings of their
own: the memory of a freed chunk is the system's again the moment its last tensor goes.
"""

from __future__ import annotations

import contextlib
import mmap
import os

import torch

PAGE_BYTES = mmap.PAGESIZE
HUGE_BYTES = 2 << 20
_BLOCK_BYTES = 16 << 20
"""Bytes asked for at once: enough to keep a disk busy."""


def owned(nbytes: int) -> mmap.mmap:
    """A private anonymous mapping of whole pages, all zeros; it ends with its last user."""
    size = max(-(-nbytes // PAGE_BYTES), 1) * PAGE_BYTES
    region = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        # A page fault per 2 MiB instead of per 4 KiB. The mapping's end stays in small pages, so
        # no more than the mapping is ever resident. A kernel without them refuses: no loss.
        try:
            region.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            return region
    return region


def open_direct(path: str | os.PathLike[str]) -> int | None:
    """A descriptor whose reads leave the page cache out; None where that cannot be had.

    Its offsets, lengths and addresses must be multiples of a page.
    """
    if not hasattr(os, "O_DIRECT"):
        return None
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return None


def read_pages(descriptor: int, start: int, wanted: int) -> mmap.mmap | None:
    """`wanted` bytes from offset `start` on, in owned memory; None if the file ends before.

    Args:
        start: a multiple of a page.

    Raises:
        OSError: the system cannot read.
    """
    region = owned(wanted)
    with memoryview(region) as view:
        return region if read_into(descriptor, view, start, wanted) else None


def read_into(descriptor: int, view: memoryview, start: int, wanted: int) -> bool:
    """At least `wanted` bytes from offset `start` on into `view`; False if the file ends before.

    The interpreter lock is not held while the system reads.

    Args:
        view: whole pages, as direct reads demand: the last may reach beyond the file's end and
            bring less.
        start: a multiple of a page.

    Raises:
        OSError: the system cannot read.
    """
    done = 0
    while done < wanted:
        with view[done : done + _BLOCK_BYTES] as part:
            got = os.preadv(descriptor, [part], start + done)
        if got <= 0:
            return False
        done += got
    return True


class Reserved:
    """Addresses without memory, all of them from the start: memory comes to a part of them when it
    is read into, and leaves it with `drop`. Views on `bytes` stay valid throughout."""

    def __init__(self, nbytes: int) -> None:
        """`nbytes`: whole pages. Raises `OSError` where there are no such addresses."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._map = mmap.mmap(-1, nbytes + HUGE_BYTES, flags=flags)
        whole = torch.frombuffer(self._map, dtype=torch.uint8)
        self._shift = -whole.data_ptr() % HUGE_BYTES
        self.bytes = whole[self._shift : self._shift + nbytes]
        """From an address that is a multiple of `HUGE_BYTES`."""
        self._advise("MADV_NOHUGEPAGE", 0, nbytes)

    def view(self, start: int, stop: int) -> memoryview:
        """To read into; to be released by the caller."""
        with memoryview(self._map) as whole:
            return whole[self._shift + start : self._shift + stop]

    def tensor(self, start: int, stop: int) -> torch.Tensor:
        """Bytes as a tensor whose storage they are, and no more."""
        if start == stop:
            return self.bytes[start:stop]
        return torch.frombuffer(
            self._map, dtype=torch.uint8, count=stop - start, offset=self._shift + start
        )

    def huge(self, start: int, stop: int) -> None:
        """Use 2 MiB pages where they lie inside: dropping it then splits none of them, for only
        whole ones go back to the system at once."""
        low, high = -(-start // HUGE_BYTES) * HUGE_BYTES, stop // HUGE_BYTES * HUGE_BYTES
        if low < high:
            self._advise("MADV_HUGEPAGE", low, high)

    def drop(self, start: int, stop: int) -> None:
        """Give the memory of whole pages back; they read as zeros until they are read into."""
        if start < stop:
            self._map.madvise(mmap.MADV_DONTNEED, self._shift + start, stop - start)

    def _advise(self, what: str, start: int, stop: int) -> None:
        if hasattr(mmap, what) and start < stop:
            # A kernel without huge pages refuses: no loss.
            with contextlib.suppress(OSError):
                self._map.madvise(getattr(mmap, what), self._shift + start, stop - start)
