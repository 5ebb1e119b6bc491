"""One job at a time: a command in a process of its own, followed by what it tells as JSON."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from entracte.errors import ConfigError
from entracte.progress.values import Progress
from entracte.ui.events import progress_of

RUNNING, DONE, FAILED, CANCELLED = "running", "done", "failed", "cancelled"
FITS = "fits"
"""Kind of a task that tells by its status whether there is a device on which it fits."""
_LINES, _LONGEST = 2000, 2000
"""Lines that are kept of what a job prints, letters of each."""
_GRACE_S = 10.0
"""From the first asking to the last."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done."""

    kind: str
    """plan, build, run or fits."""
    words: tuple[str, ...]
    """Of the command `entracte`; how progress is told is not among them."""
    line: str
    """As it is typed in the root."""
    place: str
    """What it makes, relative to the root; empty where it makes nothing."""
    of: str = ""
    """Of a run: the build."""


@dataclass(frozen=True, slots=True)
class Status:
    """How far it is."""

    task: Task
    state: str
    seconds: float
    began: str
    """UTC: 2026-11-28T09:30:00Z."""
    progress: Progress | None
    lines: tuple[str, ...]
    """What it printed."""
    said: tuple[str, ...]
    """Its errors and notes."""


class Jobs:
    """Starts a task where none runs. `ended` is called once with the last status of each."""

    def __init__(self, root: Path, ended: Callable[[Status], None]) -> None:
        self._root, self._ended = root, ended
        self._lock = threading.RLock()
        self._job: _Job | None = None

    def start(self, task: Task) -> None:
        """Raises `ConfigError` where one runs already."""
        with self._lock:
            if self._job is not None and self._job.status().state == RUNNING:
                raise ConfigError("one job at a time: wait until this one ends, or cancel it")
            self._job = _Job(task, self._root, self._ended)

    def status(self) -> Status | None:
        """Of the job that runs or ran last."""
        job = self._job
        return None if job is None else job.status()

    def cancel(self) -> None:
        """Ask the job that runs to end; it leaves nothing half-written. Without one: nothing."""
        if self._job is not None:
            self._job.cancel()

    def close(self) -> None:
        """End what runs, and wait for it."""
        if self._job is not None:
            self._job.cancel()
            self._job.wait(_GRACE_S + 5)


class _Job:
    def __init__(self, task: Task, root: Path, ended: Callable[[Status], None]) -> None:
        self._task, self._ended = task, ended
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._said: deque[str] = deque(maxlen=_LINES)
        self._began, self._seconds = time.monotonic(), 0.0
        self._date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._state, self._is_cancelled = RUNNING, False
        words = [sys.executable, "-P", "-m", "entracte", *task.words, "--progress", "json"]
        self._process = subprocess.Popen(
            words, cwd=root, env=_environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            encoding="utf-8", errors="replace", start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None and self._process.stderr is not None
        out = threading.Thread(
            target=self._read, args=(self._process.stdout, self._lines), daemon=True
        )
        err = threading.Thread(target=self._follow, args=(self._process.stderr,), daemon=True)
        out.start()
        err.start()
        self._waiter = threading.Thread(target=self._wait, args=(out, err), daemon=True)
        self._waiter.start()

    def status(self) -> Status:
        with self._lock:
            running = self._state == RUNNING
            seconds = time.monotonic() - self._began if running else self._seconds
            return Status(
                self._task, self._state, seconds, self._date, self._progress,
                tuple(self._lines), tuple(self._said),
            )  # fmt: skip

    def cancel(self) -> None:
        with self._lock:
            if self._state != RUNNING or self._is_cancelled:
                return
            self._is_cancelled = True
        self._signal(signal.SIGINT)
        watch = threading.Timer(_GRACE_S, self._signal, (signal.SIGKILL,))
        watch.daemon = True
        watch.start()

    def wait(self, seconds: float) -> None:
        self._waiter.join(seconds)

    def _signal(self, number: int) -> None:
        """The command ends its own workers; killed, they end with it."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _read(self, stream: IO[str], lines: deque[str]) -> None:
        for text in stream:
            with self._lock:
                lines.append(text.rstrip("\n")[:_LONGEST])

    def _follow(self, stream: IO[str]) -> None:
        for text in stream:
            found = progress_of(text)
            with self._lock:
                if found is not None:
                    self._progress = found
                elif not text.startswith("{"):
                    self._said.append(text.rstrip("\n")[:_LONGEST])

    def _wait(self, *readers: threading.Thread) -> None:
        status = self._process.wait()
        for reader in readers:
            # A grandchild that holds the pipe would keep them for ever.
            reader.join(5.0)
        with self._lock:
            self._seconds = time.monotonic() - self._began
            ended = CANCELLED if self._is_cancelled and status else FAILED
            self._state = DONE if status == 0 else ended
        self._ended(self.status())


def _environment() -> dict[str, str]:
    """This process's. The root is somebody's data: no module is looked for there (`-P` too)."""
    own = {"COLUMNS": "100", "PYTHONUNBUFFERED": "1"}
    if places := os.environ.get("PYTHONPATH"):
        own["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, places.split(os.pathsep)))
    return os.environ | own


def last_words(status: Status) -> str:
    """What a job that ended has to say: its error, or its last line."""
    errors: Sequence[str] = [s for s in status.said if s.startswith("error:")]
    if status.task.kind == FITS and status.lines and not errors:
        return "it fits on none of them"  # what it printed is for programs
    said = errors or status.said or status.lines
    return said[-1] if said else ""
