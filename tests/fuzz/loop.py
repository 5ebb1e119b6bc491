"""The watching process: gives cases to a worker, and another one when it dies."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.fuzz.case import Outcome
from tests.fuzz.worker import STACK

SILENT_S = 120.0
"""A case that waits so long for something is a hang too: a pipe, a lock, a child."""
WORKER = ["-m", "tests.fuzz.worker"]
ERRORS = "errors.txt"
_AHEAD = 8
"""Cases that are given before the first one's answer is there."""


class _Worker:
    def __init__(self, root: Path, seed: int) -> None:
        root.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, *WORKER, str(root), str(seed)]
        self._errors = (root / ERRORS).open("w")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self._rest = b""

    def line(self, timeout_s: float) -> bytes | None:
        """The next line of its answers; None where it ended, b"" where it says nothing."""
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            if not select.select([self.process.stdout], [], [], timeout_s)[0]:
                return b""
            read = os.read(self.process.stdout.fileno(), 1 << 16)
            if not read:
                return None
            self._rest += read
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def give(self, kind: str, index: int) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{kind} {index}\n".encode())
            self.process.stdin.flush()

    def end(self, number: int) -> int:
        """Its exit status, whatever it is doing."""
        if number:
            self.process.send_signal(number)
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        status = self.process.wait()
        self._errors.close()
        return status


def outcomes(
    cases: Iterable[tuple[str, int]],
    root: Path,
    seed: int,
    begun: Callable[[], None] = lambda: None,
) -> Iterator[Outcome]:
    """Of all cases, in order. A worker that a case ends is followed by another."""
    rest = list(cases)
    while rest:
        worker = _Worker(root, seed)
        if worker.line(600) != b"ready":
            worker.end(signal.SIGKILL)
            raise RuntimeError(_text(root / ERRORS))
        begun()
        given = 0
        while rest:
            while given < min(_AHEAD, len(rest)):
                worker.give(*rest[given])
                given += 1
            line = worker.line(SILENT_S)
            if not line:
                break
            yield _outcome(line)
            rest.pop(0)
            given -= 1
        if not rest:
            worker.end(0)
            return
        status = worker.end(signal.SIGABRT if line == b"" else 0)
        yield _ended(rest.pop(0), status, root)


def _outcome(line: bytes) -> Outcome:
    import json

    found = json.loads(line)
    return Outcome(**{**found, "notes": tuple(found["notes"])})


def _ended(case: tuple[str, int], status: int, root: Path) -> Outcome:
    """A case that took its process with it."""
    stack = _text(root / STACK)
    hung = -status in (signal.SIGPROF, signal.SIGABRT)
    why = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    if not hung:
        stack += _text(root / ERRORS)
    return Outcome(*case, "hang" if hung else "traceback", f"{why}\n{stack}")


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace")[-3000:] if path.is_file() else ""
