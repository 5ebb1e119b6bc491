"""Memory that a load takes from the system and gives back to it.

The C library keeps what it is given back: freed blocks below a threshold that it raises by itself
(up to 32 MiB) stay with the process. Weights therefore live in private anonymous mappings of their
own: the memory of a freed chunk is the system's again the moment its last tensor goes.
"""

from __future__ import annotations

import mmap
import os

PAGE_BYTES = mmap.PAGESIZE
_HUGE_BYTES = 2 << 20
_BLOCK_BYTES = 16 << 20
"""Bytes asked for at once: enough to keep a disk busy."""


def owned(nbytes: int) -> mmap.mmap:
    """A private anonymous mapping of whole pages, all zeros; it ends with its last user."""
    size = max(-(-nbytes // PAGE_BYTES), 1) * PAGE_BYTES
    region = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
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

    The interpreter lock is not held while the system reads.

    Args:
        start: a multiple of a page.

    Raises:
        OSError: the system cannot read.
    """
    region = owned(wanted)
    done = 0
    with memoryview(region) as view:
        # Whole pages are asked for, as direct reads demand: the last may reach beyond the file's
        # end and bring less.
        while done < wanted:
            with view[done : done + _BLOCK_BYTES] as part:
                got = os.preadv(descriptor, [part], start + done)
            if got <= 0:
                return None
            done += got
    return region
