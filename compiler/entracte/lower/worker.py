"""Conversions in processes of their own.

coremltools is not thread-safe, keeps memory and can be killed by the system when memory runs out.
In a process of its own one conversion can fail, or die, without taking the compile along: the
caller gets a `LowerError` that names the chunk and its log.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from entracte.disk import left
from entracte.disk.folder import make_folder
from entracte.disk.write import told
from entracte.errors import EntracteError
from entracte.lower.child import keep_memory, settle_in, small_pages, undisturbed
from entracte.lower.errors import LowerError, full_disk
from entracte.lower.quiet import TAIL_CHARS

__all__ = ["Task", "run_task", "run_tasks"]

_DONE, _REFUSED, _FAILED = "done", "refused", "failed"
_STOP_S = 5.0
"""How long a process may take to end after SIGTERM before it is killed, in seconds."""


@dataclass(frozen=True)
class Task:
    """One call to make in a process of its own."""

    name: str
    """For messages: the chunk."""
    call: Callable[..., Any]
    """A module-level function (the process may be spawned)."""
    arguments: tuple[Any, ...]
    """Its positional arguments. Under `spawn` they are pickled; under `fork` (Linux) inherited."""
    log: Path
    """Where the process's stdout and stderr go. Replaced."""
    memory_bytes: int = 0
    """What the process is expected to take."""
    work_bytes: int = 0
    """Of weights that are done with it, for whoever counts them."""
    keeps_memory: bool = False
    """It takes and frees large pieces one after the other (`child.keep_memory`)."""


def run_task(call: Callable[..., Any], arguments: tuple[Any, ...], log: Path) -> Any:
    """`call(*arguments)` in a process of its own; its result.

    Raises:
        LowerError: as `run_tasks`; the task is named after the log.
    """
    ((_, result),) = run_tasks([Task(log.stem, call, arguments, log)], workers=1)
    return result


def run_tasks(
    tasks: Iterable[Task],
    workers: int = 1,
    memory_bytes: int | None = None,
    begun: Callable[[Task], None] = lambda _: None,
) -> Iterator[tuple[Task, Any]]:
    """Run the tasks, at most `workers` at a time; yield each with its result as it finishes.

    With `memory_bytes`, a task waits while it and those that run are expected to take more.
    `begun` is told of each task as its process begins.

    Tasks are taken from the iterable only when there is room, so it may be a generator that loads
    each task's weights. If one fails, or the caller stops iterating or is interrupted, the others
    are ended and waited for.

    Raises:
        LowerError: a task raised an exception or died; the message has the task's name, the cause
            and the log's path, and the tail of the log.
        ValueError: `workers` below 1.
    """
    if workers < 1:
        raise ValueError(f"workers={workers}: at least 1 is needed")
    waiting = _Waiting(iter(tasks))
    running: dict[Connection, tuple[Task, BaseProcess]] = {}
    try:
        while _start_some(waiting, running, workers, memory_bytes, begun):
            ready: list[Any] = wait(list(running))
            for pipe in ready:
                task, process = running[pipe]
                result = _collect(task, process, pipe)
                del running[pipe]
                yield task, result
    finally:
        _end_all(running)


class _Waiting:
    """Tasks not yet started; the next one may be looked at before it is taken."""

    def __init__(self, tasks: Iterator[Task]) -> None:
        self._tasks = tasks
        self._next: Task | None = None

    def peek(self) -> Task | None:
        if self._next is None:
            self._next = next(self._tasks, None)
        return self._next

    def take(self) -> None:
        self._next = None


def _start_some(
    waiting: _Waiting,
    running: dict[Connection, tuple[Task, BaseProcess]],
    workers: int,
    memory_bytes: int | None,
    begun: Callable[[Task], None],
) -> bool:
    """Start tasks while there is room; whether any task is running."""
    while len(running) < workers and (task := waiting.peek()) is not None:
        taken = sum(t.memory_bytes for t, _ in running.values())
        if running and memory_bytes is not None and taken + task.memory_bytes > memory_bytes:
            break
        waiting.take()
        with undisturbed():
            pipe, process = _start(task)
            running[pipe] = (task, process)
        begun(task)
    return bool(running)


def _start(task: Task) -> tuple[Connection, BaseProcess]:
    # fork hands the weights over without copying or pickling; it is safe here because the parent
    # has one torch thread and no conversion of its own under way
    method = "fork" if sys.platform == "linux" else "spawn"
    context: Any = multiprocessing.get_context(method)
    make_folder(_scratch(task))
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(task, sender), name=f"lower {task.name}")
    process.daemon = True
    sys.stdout.flush()
    sys.stderr.flush()
    process.start()
    sender.close()  # so that the child's death is seen as the end of the pipe
    return receiver, process


def _scratch(task: Task) -> Path:
    """For temporary files of its process, beside the log."""
    return task.log.with_name(f"{task.log.name}.tmp")


def _child(task: Task, sender: Connection) -> None:
    try:
        settle_in(_scratch(task))
        with told(task.log):
            _say_into(task.log)
        torch.set_num_threads(1)
        small_pages()
        if task.keeps_memory:
            keep_memory()
        # What the parent hands over lives as long as this process. Each conversion collects twice,
        # and would look through it, and so copy it: half of a small chunk's processor time.
        gc.freeze()
        answer = (_DONE, task.call(*task.arguments))
    except EntracteError as error:
        _log_trace()  # with the notes, which are too long for the message
        answer = (_REFUSED, str(error))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
        _log_trace()
        answer = _failure(error, task.log.parent)
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    _send(sender, answer)


def _log_trace() -> None:
    """Where the log's disk is full too, the answer matters more."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


def _failure(error: BaseException, place: Path) -> tuple[str, str]:
    """The answer for what no code of ours foresaw."""
    full = full_disk(error, place)
    return (_REFUSED, full) if full else (_FAILED, _short(error))


def _say_into(log: Path) -> None:
    """All that the process and its libraries print."""
    file = log.open("w", buffering=1, errors="replace")
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    sys.stdout = sys.stderr = file  # a caller may have replaced them by objects without descriptors


def _send(sender: Connection, answer: tuple[str, Any]) -> None:
    try:
        sender.send(answer)
    except Exception as error:  # noqa: BLE001 - a result that cannot be sent is a failed task
        sender.send((_FAILED, f"the result cannot be sent to the parent: {_short(error)}"))


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip()[:TAIL_CHARS]


def _collect(task: Task, process: BaseProcess, pipe: Connection) -> Any:
    """The task's result. Called when its pipe is readable: it has answered or died."""
    try:
        outcome, value = _received(task, process, pipe)
    finally:
        left.remove(_scratch(task))
    if outcome == _REFUSED:  # a complete message; the log adds nothing that a user wants
        raise LowerError(f"{task.name}: {value}; log {task.log}")
    if outcome == _FAILED:
        raise LowerError(f"{task.name}: {value}; log {task.log}{_tail(task.log)}")
    return value


def _received(task: Task, process: BaseProcess, pipe: Connection) -> tuple[str, Any]:
    try:
        outcome, value = pipe.recv()
    except (EOFError, OSError):
        process.join()
        raise LowerError(
            f"{task.name}: the conversion's process died: {_death(process.exitcode)}; "
            f"log {task.log}{_tail(task.log)}"
        ) from None
    finally:
        pipe.close()
    process.join()
    return outcome, value


def _death(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}, no result"
    name = signal.Signals(-exit_code).name
    remedy = "; memory ran out? try smaller chunks or fewer workers" if name == "SIGKILL" else ""
    return f"signal {name}{remedy}"


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        text = log.read_text(errors="replace").strip()
        return f"\n--- end of the log ---\n{text[-TAIL_CHARS:]}" if text else ""
    return ""


def _end_all(running: dict[Connection, tuple[Task, BaseProcess]]) -> None:
    for pipe, (_, process) in running.items():
        process.terminate()
        pipe.close()
    for task, process in running.values():
        process.join(_STOP_S)
        if process.is_alive():
            process.kill()
            process.join()
        left.remove(_scratch(task))
