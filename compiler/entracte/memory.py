"""What the process really holds: anonymous memory, as the system counts it.

Anonymous is what a phone's limit counts and nothing can take back: the heap, owned weights,
tensors, an operation's own workspace. Mapped files are not in it. Linux only.
"""

import os
import threading
from pathlib import Path
from typing import Self

_STATM = Path("/proc/self/statm")
_EVERY_S = 0.002
"""Between samples: far below the length of a load or a call worth measuring, 1 % of a core."""


class AnonymousPeak:
    """Inside `with`: the largest anonymous memory above what was there at the beginning.

    `resident_peak_bytes` counts mapped files too, for programs that compute on them.

    A thread looks every 2 ms, and whoever changes a lot calls `look`: a maximum that lasts less
    than 2 ms between two looks is missed. Before Linux 6.16 the counters may lag by 128 KiB for
    each core.
    """

    def __init__(self) -> None:
        self._file = os.open(_STATM, os.O_RDONLY) if _STATM.exists() else -1
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="entracte-memory", daemon=True)
        self._lock = threading.Lock()
        self._first = self._most = self._last = (0, 0)

    @property
    def peak_bytes(self) -> int | None:
        """Anonymous bytes above the beginning; None where the system does not say."""
        return self._most[0] - self._first[0] if self._first[0] else None

    @property
    def resident_peak_bytes(self) -> int | None:
        """The same of all resident memory."""
        return self._most[1] - self._first[1] if self._first[1] else None

    @property
    def left_bytes(self) -> int | None:
        """What was still there at the end of the `with`, above the beginning; at least 0."""
        return max(0, self._last[0] - self._first[0]) if self._last[0] else None

    def look(self) -> None:
        """Take a sample now."""
        if self._file < 0:
            return
        anonymous, resident = self._counts()
        with self._lock:
            self._most = max(self._most[0], anonymous), max(self._most[1], resident)

    def restart(self) -> None:
        """Forget the peak so far; the beginning stays what it was."""
        if self._file < 0:
            return
        with self._lock:
            self._most = self._counts()

    def __enter__(self) -> Self:
        if self._file >= 0:
            self._thread.start()
            # Read after the start: the thread's own stack is no part of what is measured.
            self._first = self._most = self._counts()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file < 0:
            return
        self.look()
        self._last = self._counts()
        self._over.set()
        self._thread.join()
        os.close(self._file)
        self._file = -1

    def _watch(self) -> None:
        while not self._over.wait(_EVERY_S):
            self.look()

    def _counts(self) -> tuple[int, int]:
        """Bytes of anonymous and of all resident memory."""
        # Fields of statm, in pages: all, resident, resident and backed by a file or shared.
        _, resident, shared, *_ = os.pread(self._file, 128, 0).split()
        anonymous = int(resident) - int(shared)
        return anonymous * self._page_bytes, int(resident) * self._page_bytes
