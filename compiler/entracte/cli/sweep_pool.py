"""Calls in processes of their own, several at once. One that fails, or is killed, takes nothing
along: its caller hears of it, and the others go on."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from entracte.cli.faults import fault_of
from entracte.disk.folder import make_folder
from entracte.errors import DoesNotFit, EntracteError
from entracte.lower.child import settle_in, undisturbed

_STOP_S = 5.0
"""How long a process may take to end after SIGTERM before it is killed, in seconds."""
_TAIL_CHARS = 600


@dataclass(frozen=True)
class Call:
    """What one process does."""

    number: int
    """Which of the sweep's points; names its files."""
    place: str
    """Calls of one place never run at the same time: the folder that they write."""
    function: Callable[..., Any]
    """A module-level function: the process may be spawned."""
    arguments: tuple[Any, ...]
    folder: Path | None = None
    """In which its plan must be afterwards."""


@dataclass(frozen=True)
class Answer:
    """What became of a call."""

    value: Any = None
    error: EntracteError | None = None
    said: str = ""
    """All that its process printed."""


_Running = dict[Connection, tuple[Call, BaseProcess]]


def run_calls(
    calls: list[Call],
    at_once: int,
    scratch: Path,
    began: Callable[[Call], None] = lambda _: None,
) -> Iterator[tuple[Call, Answer]]:
    """Run the calls, at most so many at a time; each with its answer, as they end.

    Args:
        calls: those that have not begun; taken from the list as they begin.
        scratch: a folder for their logs and temporary files. The caller removes it.
        began: told of each call as it begins.

    Whoever stops iterating ends those that run.
    """
    running: _Running = {}

    def begin(call: Call) -> None:
        began(call)
        with undisturbed():
            pipe, process = _start(call, scratch)
            running[pipe] = (call, process)

    try:
        while _begin_some(calls, running, at_once, begin):
            ready: list[Any] = wait(list(running))
            for pipe in ready:
                call, process = running[pipe]
                answer = _answer(process, pipe, _log(scratch, call))
                del running[pipe]
                yield call, answer
    finally:
        _end_all(running)


def _begin_some(
    calls: list[Call], running: _Running, at_once: int, begin: Callable[[Call], None]
) -> bool:
    """Begin what may run now; whether anything runs."""
    while len(running) < at_once and (call := next_call(calls, _calls(running))) is not None:
        begin(call)
    return bool(running)


def _calls(running: _Running) -> Iterator[Call]:
    return (call for call, _ in running.values())


def next_call(calls: list[Call], running: Iterable[Call]) -> Call | None:
    """Taken from the calls: the first whose place is free."""
    busy = {call.place for call in running}
    found = next((c for c in calls if c.place not in busy), None)
    if found is not None:
        calls.remove(found)
    return found


def _log(scratch: Path, call: Call) -> Path:
    return scratch / f"{call.number}.log"


def _start(call: Call, scratch: Path) -> tuple[Connection, BaseProcess]:
    # fork inherits what is imported, which takes seconds; it is safe here because the sweep
    # computes nothing itself while it has processes.
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    own = scratch / str(call.number)
    make_folder(own)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(call, sender, own, _log(scratch, call)))
    # Not a daemon: those may have no processes, and a compile converts in its own.
    process.daemon = False
    sys.stdout.flush()
    sys.stderr.flush()
    process.start()
    sender.close()  # so that the child's death is seen as the end of the pipe
    return receiver, process


def _child(call: Call, sender: Connection, own: Path, log: Path) -> None:
    settle_in(own)
    with log.open("w", buffering=1, errors="replace") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        try:
            answer = Answer(call.function(*call.arguments))
        except Exception as error:  # noqa: BLE001 - the sweep must hear of it, whatever it is
            answer = Answer(error=fault_of(error))
        sender.send(sendable(answer))
        file.flush()
    # Not the way out of an interpreter that was forked: what it holds is the sweep's.
    os._exit(0)


def sendable(answer: Answer) -> tuple[Any, str | None, bool]:
    """Value, error's text, and whether nothing fits: the error may hold what no pipe takes."""
    text = None if answer.error is None else str(answer.error)
    return answer.value, text, isinstance(answer.error, DoesNotFit)


def _answer(process: BaseProcess, pipe: Connection, log: Path) -> Answer:
    """Called when the pipe is readable: the process has answered, or died."""
    try:
        value, text, unfit = pipe.recv()
    except (EOFError, OSError):
        process.join()
        return Answer(error=EntracteError(_death(process.exitcode, _said(log))))
    finally:
        pipe.close()
    process.join()
    error = None if text is None else DoesNotFit(text) if unfit else EntracteError(text)
    return Answer(value, error, _said(log))


def _said(log: Path) -> str:
    with contextlib.suppress(OSError):
        return log.read_text(errors="replace")
    return ""


def _death(exit_code: int | None, said: str) -> str:
    if exit_code is None or exit_code >= 0:
        how, remedy = f"exit code {exit_code}", ""
    else:
        how = f"signal {signal.Signals(-exit_code).name}"
        killed = -exit_code == signal.SIGKILL
        remedy = "; memory ran out? give a smaller sweep.jobs" if killed else ""
    tail = f"\n{said.strip()[-_TAIL_CHARS:]}" if said.strip() else ""
    return f"the job's process died: {how}{remedy}{tail}"


def _end_all(running: _Running) -> None:
    for pipe, (_, process) in running.items():
        process.terminate()
        pipe.close()
    for _, process in running.values():
        process.join(_STOP_S)
        if process.is_alive():
            process.kill()
            process.join()
