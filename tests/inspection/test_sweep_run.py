"""Sweeps beyond one core: jobs that fail or die, that are known, and that fit a machine."""

import os
import signal
import time
from pathlib import Path

import pytest

from entracte.cli import compile as command
from entracte.cli import machine, sweep_run
from entracte.cli import sweep_known as shelf
from entracte.cli.machine import Machine, jobs_at_once
from entracte.cli.sweep_job import SweepJob
from entracte.cli.sweep_pool import Call, run_calls
from entracte.compile.job import Built
from entracte.declare.compose import compose
from entracte.declare.read import sweep_jobs
from entracte.errors import ConfigError, DoesNotFit
from entracte.plan.file import write_plan
from entracte.store import decisive
from tests.planner.plans import make_plan

GIB = 2**30

# ---------------------------------------------------------------- the machine


@pytest.mark.parametrize(
    ("cores", "free", "need", "processes", "jobs"),
    [
        (8, 100 * GIB, GIB, 1, 8),  # cores
        (8, 100 * GIB, GIB, 2, 4),
        (8, 100 * GIB, GIB, 3, 2),
        (8, 10 * GIB, 3 * GIB, 1, 3),  # 9 of 10 GiB may be taken
        (8, 10 * GIB, 3 * GIB + 1, 1, 2),
        (8, GIB, 3 * GIB, 1, 1),  # one runs in any case
        (1, 100 * GIB, GIB, 4, 1),
        (4, 100 * GIB, 0, 1, 4),  # nothing is known of its memory
    ],
)
def test_how_many_jobs_a_machine_takes(cores, free, need, processes, jobs):
    assert jobs_at_once(Machine(cores, free), need, processes) == jobs


def test_free_memory_as_the_system_says_it(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:   2000 kB\n")
    assert machine.available_bytes(meminfo) == 2000 * 1024
    assert machine.available_bytes(tmp_path / "none") is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert machine.left_bytes(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.left_bytes(tmp_path) is None
    here = machine.this_machine()
    assert here.cores >= 1 and here.free_bytes > 0
    assert machine.taken_bytes(0) > 2**20


# ---------------------------------------------------------------- processes


def call(number: int, function, *arguments, place: str | None = None) -> Call:
    return Call(number, str(number) if place is None else place, function, arguments)


def doubled(number: int) -> int:
    print(f"said {number}")
    return 2 * number


def unfit() -> None:
    raise DoesNotFit("does not fit")


def wrong() -> None:
    raise ConfigError("key: wrong")


def killed() -> None:
    print("the last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def left() -> None:
    raise SystemExit(7)


def test_a_call_that_fails_or_dies_takes_nothing_along(tmp_path, capfd):
    calls = [call(n, f) for n, f in enumerate((unfit, wrong, killed, left))]
    calls.append(call(4, doubled, 21))
    answers = {c.number: a for c, a in run_calls(list(calls), 2, tmp_path)}
    assert answers[4].value == 42 and answers[4].said == "said 21\n"
    assert isinstance(answers[0].error, DoesNotFit) and str(answers[0].error) == "does not fit"
    assert str(answers[1].error) == "key: wrong" and not isinstance(answers[1].error, DoesNotFit)
    assert "signal SIGKILL; memory ran out? give a smaller sweep.jobs" in str(answers[2].error)
    assert "the last words" in str(answers[2].error)
    assert "died: exit code" in str(answers[3].error)
    assert capfd.readouterr() == ("", "")


def alone(place: Path) -> tuple[float, float]:
    place.mkdir()  # raises where another one is there
    begun = time.monotonic()
    time.sleep(0.1)
    place.rmdir()
    return begun, time.monotonic()


def overlap(spans: list[tuple[float, float]]) -> int:
    return max(sum(a <= begun < b for a, b in spans) for begun, _ in spans)


def test_so_many_at_once_and_never_two_in_one_place(tmp_path):
    calls = [call(n, alone, tmp_path / f"of{n}") for n in range(4)]
    spans = [a.value for _, a in run_calls(calls, 2, tmp_path / "a")]
    assert len(spans) == 4 and overlap(spans) == 2
    same = [call(n, alone, tmp_path / "same", place="same") for n in range(3)]
    answers = [a for _, a in run_calls(same, 3, tmp_path / "b")]
    assert [a.error for a in answers] == [None] * 3
    assert overlap([a.value for a in answers]) == 1


def test_whoever_stops_ends_those_that_run(tmp_path):
    calls = [call(0, doubled, 1), call(1, time.sleep, 60)]
    begun = time.monotonic()
    for _ in run_calls(calls, 2, tmp_path):
        break
    assert time.monotonic() - begun < 10


# ---------------------------------------------------------------- sweeps of a compile that is none

compiled: list[str] = []


def fake_compile(job, reporter=None) -> Built:
    """A plan at once; of some memories a fault."""
    memory = job.target.memory_bytes // 2**20
    compiled.append(str(memory))
    if memory == 30:
        raise DoesNotFit("does not fit: 30 is too little")
    if memory == 40:
        raise ConfigError("no luck")
    if memory == 50:
        killed()
    folder = Path(job.out)
    folder.mkdir(parents=True, exist_ok=True)
    write_plan(make_plan(built=False), folder)
    return Built(make_plan(built=False), folder, 0.1, 0.1)


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A function: memories in MiB -> the jobs, run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep_run, "compile_job", fake_compile)
    monkeypatch.setattr(sweep_run, "_import_all", lambda: None)
    compiled.clear()

    def run(*memories: int, jobs: object = 1) -> list[SweepJob]:
        made = []
        for memory in memories:
            words = [f"target.memory={memory}MiB", "dry_run=true", f"cache={tmp_path / 'cache'}"]
            words.append(f"sweep.jobs={jobs}")
            config = compose(["+target=iphone15pro", *words])
            made.append(SweepJob.of(config, words))
        sweep_run.run_sweep(made)
        return made

    return run


def test_a_sweep_typed_again_does_only_what_is_missing(sweep, tmp_path):
    first = sweep(24, 30, 40)
    assert compiled == ["24", "30", "40"] and not any(o.was_known for o in first)
    compiled.clear()
    again = sweep(24, 30, 40, 64)
    # A fault may be gone by now; that it does not fit stays so.
    assert compiled == ["40", "64"]
    assert [o.was_known for o in again] == [True, True, False, False]
    assert again[0].made == first[0].made
    assert str(again[1].error) == "does not fit: 30 is too little" and not again[1].failed
    assert again[2].failed and str(again[2].error) == "no luck"
    compiled.clear()
    (again[0].place / "run.json").write_text("{}")  # what a run adds
    assert sweep(24)[0].was_known
    (again[0].place / "plan.json").write_text("{}")
    sweep(24)
    assert compiled == ["24"]


def test_other_code_or_another_folder_is_another_job(sweep, monkeypatch, tmp_path):
    (o,) = sweep(24)
    key = shelf.job_key(o.job, o.place)
    assert key == shelf.job_key(o.job, o.place) is not None
    with monkeypatch.context() as changed:
        changed.setattr(decisive, "maker_digest", lambda *_: "other code")
        assert shelf.job_key(o.job, o.place) != key
    with monkeypatch.context() as changed:
        changed.setattr(decisive.graphs, "is_code", lambda _: False)
        assert shelf.job_key(o.job, o.place) is None
    assert shelf.job_key(o.job, tmp_path) != key
    assert shelf.job_key(o.job, o.place, verifies=True) != key


@pytest.mark.parametrize("jobs", [2, "auto"])
def test_jobs_in_processes_fail_by_themselves(sweep, jobs, capsys, monkeypatch):
    monkeypatch.setattr(machine, "this_machine", lambda: Machine(3, 100 * GIB))
    made = sweep(24, 30, 40, 50, 64, jobs=jobs)
    assert [o.failed for o in made] == [False, False, True, True, False]
    assert made[0].made is not None and made[4].made is not None
    assert made[0].made.makespan_s == make_plan().forecast.makespan_s
    assert "signal SIGKILL" in str(made[3].error)
    said = capsys.readouterr()
    assert all(f"({n} of 5) compile target.memory=" in said.out for n in range(1, 6))
    assert "error: no luck" in said.err
    measured = shelf.memory_bytes(made[0].job)
    assert measured is not None and measured > 2**20
    assert ("3 at once: 3 cores" in said.out) == (jobs == "auto")
    # The figures come from this process's memory now, and only what failed is done again.
    again = sweep(24, 30, 40, 50, 64, jobs=jobs)
    assert [o.was_known for o in again] == [True, True, False, False, True]
    assert "the first job runs alone" not in capsys.readouterr().out
    assert compiled == []  # none in this process


def test_how_many_at_once_is_said_once(sweep):
    assert sweep_jobs("auto") is None and sweep_jobs(4) == 4
    for wrong_value in (0, -1, True, 1.5, "many", None):
        with pytest.raises(ConfigError, match="sweep.jobs=.*not a whole number from 1"):
            sweep_jobs(wrong_value)
    with pytest.raises(ConfigError, match="sweep.jobs=0"):
        sweep(24, jobs=0)


def test_a_launcher_in_whose_processes_jobs_would_be_lost_is_refused():
    joblib = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
    with pytest.raises(ConfigError, match="JoblibLauncher .*leave it out, .*`sweep.jobs=auto`"):
        command._note_job(compose(["+target=host"]), joblib)
