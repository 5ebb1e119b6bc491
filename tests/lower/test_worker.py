"""Jobs in processes of their own: results, failures, deaths, and no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest
import torch

from entracte.lower.child import undisturbed
from entracte.lower.convert import Conversion, convert_chunk
from entracte.lower.errors import LowerError
from entracte.lower.package import canonical_digest
from entracte.lower.ports import DType, Port
from entracte.lower.worker import Task, run_task, run_tasks


def _square(value: int) -> int:
    print(f"squaring {value}", flush=True)
    return value * value


def _fail(text: str) -> None:
    print("about to fail", flush=True)
    raise RuntimeError(text)


def _refuse() -> None:
    raise LowerError("no such target")


def _die(number: int) -> None:
    os.write(2, b"last words\n")
    os.kill(os.getpid(), number)


def _leave() -> None:
    os._exit(3)


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _lambda() -> object:
    return lambda: 0


def _threads() -> int:
    return torch.get_num_threads()


def test_result_and_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "logs" / "chunk.log"
    assert run_task(_square, (7,), log) == 49
    assert log.read_text() == "squaring 7\n"
    assert capfd.readouterr() == ("", "")


def test_one_torch_thread(tmp_path: Path) -> None:
    assert run_task(_threads, (), tmp_path / "log") == 1


def test_all_results_arrive(tmp_path: Path) -> None:
    tasks = [Task(f"chunk {n}", _square, (n,), tmp_path / f"{n}.log") for n in range(5)]
    results = {task.arguments[0]: result for task, result in run_tasks(tasks, 2)}
    assert results == {n: n * n for n in range(5)}


def test_jobs_are_made_only_when_there_is_room(tmp_path: Path) -> None:
    made = []

    def tasks():
        for n in range(4):
            made.append(n)
            yield Task(str(n), _square, (n,), tmp_path / f"{n}.log")

    results = run_tasks(tasks(), workers=1)
    next(results)
    assert made == [0]
    assert len(list(results)) == 3


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        (_fail, ("no luck",), r"chunk: RuntimeError: no luck; log .*chunk.log(.|\n)*about to fail"),
        (_die, (signal.SIGKILL,), r"died: signal SIGKILL; memory ran out\?(.|\n)*last words"),
        (_die, (signal.SIGXCPU,), "died: signal SIGXCPU"),
        (_refuse, (), r"chunk: no such target; log \S+$"),
        (_leave, (), "exit code 3, no result"),
        (_lambda, (), "result cannot be sent"),
    ],
)
def test_failures_name_the_chunk_and_the_log(tmp_path, call, arguments, message) -> None:
    with pytest.raises(LowerError, match=message):
        run_task(call, arguments, tmp_path / "chunk.log")


def _fill() -> None:
    """What Linux says of a disk without room."""
    with Path("/dev/full").open("w") as file:
        file.write("x")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no such device")
@pytest.mark.parametrize("log_is_full", [False, True])
def test_a_full_disk_is_told_also_where_the_log_is_on_it(tmp_path, log_is_full) -> None:
    log = tmp_path / ".made.partial" / "chunk.log"
    log.parent.mkdir()
    if log_is_full:
        log.symlink_to("/dev/full")
    with pytest.raises(LowerError) as caught:
        run_task(_fill, (), log)
    assert str(caught.value) == (
        f"chunk: cannot be written in {tmp_path} (No space left on device): no room on its disk? "
        f"make some, or name another place with cache=FOLDER; log {log}"
    )


def test_a_failure_ends_the_others(tmp_path: Path) -> None:
    tasks = [
        Task("slow", _sleep, (60,), tmp_path / "slow.log"),
        Task("bad", _fail, ("no",), tmp_path / "bad.log"),
    ]
    start = time.monotonic()
    with pytest.raises(LowerError, match="bad: RuntimeError"):
        list(run_tasks(tasks, workers=2))
    assert time.monotonic() - start < 30
    assert not multiprocessing.active_children()


def test_stopping_early_ends_the_others(tmp_path: Path) -> None:
    tasks = [
        Task("quick", _square, (2,), tmp_path / "quick.log"),
        Task("slow", _sleep, (60,), tmp_path / "slow.log"),
    ]
    results = run_tasks(tasks, workers=2)
    assert next(results)[1] == 4
    results.close()
    assert not multiprocessing.active_children()


def _lower(width: int, path: Path) -> str:
    from torch import nn

    module = nn.Linear(width, 4).requires_grad_(False).eval()
    inputs = (Port("x", (1, width), DType.FP32),)
    outputs = (Port("y", (1, 5 if width == 7 else 4), DType.FP32),)
    facts = convert_chunk(
        module, (torch.zeros(1, width),), inputs=inputs, outputs=outputs,
        how=Conversion("fp32", "iOS17", "none"), path=path,
    )  # fmt: skip
    return facts.digest


def test_conversions_side_by_side(tmp_path: Path) -> None:
    tasks = [
        Task(f"chunk {n}", _lower, (n, tmp_path / f"{n}.mlpackage"), tmp_path / f"{n}.log")
        for n in (4, 5)
    ]
    digests = {task.name: digest for task, digest in run_tasks(tasks, workers=2)}
    assert digests == {f"chunk {n}": canonical_digest(tmp_path / f"{n}.mlpackage") for n in (4, 5)}


def test_a_refused_conversion(tmp_path: Path) -> None:
    log = tmp_path / "chunk 7.log"
    with pytest.raises(LowerError) as caught:
        run_task(_lower, (7, tmp_path / "7.mlpackage"), log)
    assert str(caught.value) == (
        f"chunk 7: output `y`: the port has shape (1, 5), the chunk returns (1, 4); log {log}"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["chunk 7.log"]


def test_no_workers_are_refused() -> None:
    with pytest.raises(ValueError, match="workers=0: at least 1"):
        list(run_tasks([], workers=0))


def _litter() -> str:
    return tempfile.mkdtemp(suffix=".mlpackage")


def test_temporary_files_go_with_the_task(tmp_path: Path) -> None:
    """coremltools leaves its own to the interpreter's end, which a worker does not see."""
    made = Path(run_task(_litter, (), tmp_path / "log"))
    assert made.parent == tmp_path / "log.tmp" and not made.parent.exists()
    with pytest.raises(LowerError):
        run_task(_die, (signal.SIGKILL,), tmp_path / "log")
    assert [p.name for p in tmp_path.iterdir()] == ["log"]


def _write_and_sleep(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(60)


def _command(path: Path) -> None:
    os.setsid()
    list(run_tasks([Task("slow", _write_and_sleep, (path,), path.with_name("log"))]))


def _wait_for(what) -> None:
    end = time.monotonic() + 30
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    assert what()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_ends_with_a_command_that_is_killed(tmp_path: Path) -> None:
    command = multiprocessing.get_context("fork").Process(target=_command, args=(tmp_path / "pid",))
    command.start()
    _wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    worker = int((tmp_path / "pid").read_text())
    assert _runs(worker)
    command.kill()
    command.join()
    _wait_for(lambda: not _runs(worker))


def _signals() -> list[str]:
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return [f"{signal.getsignal(n).name} {n in blocked}" for n in numbers]


def test_a_worker_leaves_ctrl_c_to_the_command_and_ends_by_sigterm(tmp_path: Path) -> None:
    assert run_task(_signals, (), tmp_path / "log") == [
        "SIG_IGN False", "SIG_IGN False", "SIG_DFL False",
    ]  # fmt: skip
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_a_log_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(LowerError, match="log: cannot be written .Is a directory"):
        run_task(_square, (1,), tmp_path / "log")


@pytest.mark.parametrize("other_thread", [False, True])
def test_a_signal_between_two_lines_of_a_fork_is_not_lost(other_thread: bool) -> None:
    """What is raised there is lost: `gc` and `logging` say so and go on. It is raised behind."""
    told, main = [], threading.main_thread().ident
    before = signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        with pytest.raises(KeyboardInterrupt), undisturbed():
            if other_thread:
                # A thread that blocks nothing takes it; Python's handler runs in the main one.
                sender = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM))
                sender.start()
                sender.join()
            else:
                signal.pthread_kill(main, signal.SIGTERM)
            time.sleep(0.05)
            told.append("whole")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == ["whole"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
