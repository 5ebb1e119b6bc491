"""Jobs in processes of their own: results, failures, deaths, and no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch

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
