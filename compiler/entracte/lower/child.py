"""A worker's first steps: how it ends, and where it keeps what is temporary."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

__all__ = ["KEPT_BYTES", "keep_memory", "settle_in", "small_pages", "undisturbed"]

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""That end a command."""
_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 256 << 20
"""What a process that keeps freed memory keeps at most: a weight in fp32 and its copies in fp16."""


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Signals that end a command wait until the block is over: a worker is started inside.

    Until it has settled in, a worker has the command's handlers. And Python calls a handler between
    any two lines, also in what libraries do around a fork, where what it raises is lost; blocking
    is not enough for that, since another thread may take the signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    before = {n: h for n in _SIGNALS if (h := signal.getsignal(n)) is not None}
    for number in before:
        signal.signal(number, lambda n, _: came.append(n))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for n in came:
            signal.raise_signal(n)


def settle_in(scratch: Path) -> None:
    """Called in the worker before anything else.

    Ctrl-C and a closed terminal reach the whole group: the command decides, and ends its workers
    with SIGTERM. A command that is killed cannot, so its workers watch it.

    Args:
        scratch: takes the temporary files of all libraries; the command removes it, for
            coremltools leaves its own to the interpreter's end, which a worker may not see.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    _end_with_parent()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    tempfile.tempdir = str(scratch)
    os.environ["TMPDIR"] = str(scratch)


def keep_memory() -> None:
    """Let what is freed serve the next weight. Otherwise the C library gives each large piece back
    to the system at once, which clears its pages anew: a third of the time of stamping. With
    another library nothing changes."""
    with contextlib.suppress(OSError, AttributeError):
        allocator = ctypes.CDLL(None)
        for setting in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            allocator.mallopt(setting, KEPT_BYTES)


def small_pages() -> None:
    """numpy asks for huge pages for what is large; a system whose memory is in pieces, or full of
    files, first makes room for each: three of the eight seconds of a template's conversion."""
    with contextlib.suppress(ImportError, AttributeError):
        from numpy._core import multiarray

        settings: Any = multiarray
        settings._set_madvise_hugepage(False)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "a worker has one"
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent.pid:  # it died before the line above
            os._exit(1)
        return
    watch = threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True)
    watch.start()


def _watch(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
