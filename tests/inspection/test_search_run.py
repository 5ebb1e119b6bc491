"""`compile search=N` from its words to its page, with a compile that is none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from entracte.cli import search as command
from entracte.cli import sweep_run
from entracte.cli.console import console
from entracte.cli.sweep import show_sweep
from entracte.cli.sweep_verify import origin_of
from entracte.cli.words import hydra_words
from entracte.compile.job import Built
from entracte.errors import ConfigError, DoesNotFit
from entracte.plan.file import write_plan
from tests.planner.plans import make_plan
from tests.test_search import WITH_OPTUNA

BYTES = {"none": 90, "int8": 60, "palette6": 50, "palette4": 40}
SECONDS = {24: 4.0, 30: 2.0, 40: 1.0, 50: 1.0}
made: list[str] = []


def fake_compile(job, reporter=None) -> Built:
    """A plan whose time follows from the memory, and its peak from memory and compression."""
    memory = job.target.memory_bytes // 2**20
    compression = json.loads(job.settings)["compression"]["name"]
    made.append(f"{memory} {compression}")
    if (memory, compression) == (24, "none"):
        raise DoesNotFit("does not fit")
    if (memory, compression) == (40, "int8"):
        raise ConfigError("no luck")
    plan = make_plan(built=False)
    peak = BYTES[compression] + memory
    plan = replace(
        plan, forecast=replace(plan.forecast, makespan_s=SECONDS[memory], peak_bytes=peak)
    )
    folder = Path(job.out)
    folder.mkdir(parents=True, exist_ok=True)
    write_plan(plan, folder)
    return Built(plan, folder, 0.1, plan.forecast.makespan_s)


@pytest.fixture
def search(tmp_path, monkeypatch):
    """A function: words -> what was tried, and the rows of its page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep_run, "compile_job", fake_compile)
    monkeypatch.setattr(sweep_run, "_import_all", lambda: None)

    def run(*words: str, cache: str = "cache") -> tuple[list[str], list[dict]]:
        made.clear()
        typed = [
            "target=iphone15pro", "target.memory=24MiB,30MiB,40MiB,50MiB", "dry_run=true",
            f"compression={','.join(BYTES)}", f"cache={tmp_path / cache}", "out=many", *words,
        ]  # fmt: skip
        found = command.searched(hydra_words(typed))
        show_sweep(console, found.jobs, found.objectives, found.sentence)
        return list(made), json.loads((tmp_path / "many" / "sweep.json").read_text())["rows"]

    return run


def test_a_grid_is_done_whole_and_its_front_is_marked(search, capsys, tmp_path):
    tried, rows = search("search=16")
    assert len(tried) == len(rows) == 16
    said = " ".join(capsys.readouterr().out.split())
    assert "16 trials are no fewer, so all are done and nothing is searched" in said
    assert "nothing here measures what comes out" in said
    # Of each memory palette4 is smallest; 40 MiB are as fast as 50.
    assert {r["label"] for r in rows if r["pareto"]} == {
        f"target.memory={m}MiB compression=palette4" for m in (24, 30, 40)
    }
    assert [r["reason"] for r in rows if not r["fits"]] == ["does not fit", "no luck"]
    assert [r["failed"] for r in rows if not r["fits"]] == [False, True]
    # The page leads to the plans of its points.
    for r in rows:
        assert (r["folder"] != "") == r["fits"]
        assert (tmp_path / "many" / r["folder"] / "plan.json").is_file() == r["fits"]


@WITH_OPTUNA
def test_the_same_seed_twice_is_the_same_to_the_byte(search, tmp_path, capsys):
    """Also in other processes, whatever ends first."""
    tried, rows = search("search=6", "search.seed=3")
    assert len(tried) == len(rows) == 6
    names = ("sweep.json", "sweep.html")
    before = [(tmp_path / "many" / name).read_bytes() for name in names]
    beside, _ = search("search=6", "search.seed=3", "sweep.jobs=2", cache="another")
    assert beside == []  # none in this process
    assert [(tmp_path / "many" / name).read_bytes() for name in names] == before
    assert "(6 of 6) compile" in capsys.readouterr().out
    assert "6 are tried, chosen by TPE with seed 3" in before[1].decode()


def test_not_to_fit_is_an_answer_in_a_search(search):
    jobs = command.searched(
        hydra_words(["target=iphone15pro", "target.memory=24MiB,30MiB", "search=2", "out=built",
                     "cache=c"])
    ).jobs  # fmt: skip
    assert [o.failed for o in jobs] == [False, False] and isinstance(jobs[0].error, DoesNotFit)


def test_what_is_verified_is_compared_with_the_users_own_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["target=host", "compression=none,int8", "search=2", "search.objectives=[db]"]
    monkeypatch.setattr(sweep_run, "compile_job", lambda *_: 1 / 0)
    jobs = command.searched(hydra_words([*words, "pipeline.weights=random:7", "cache=c"])).jobs
    origin = origin_of(jobs[0])
    assert origin is not None and origin.weights == "random:7" and origin.loras == ()
    assert jobs[0].verifies and all(o.failed for o in jobs)
    dry = command.searched(
        hydra_words(["target=host", "search=2", "compression=none,int8", "dry_run=true",
                     "sweep.verify=true", "cache=c"])
    ).jobs  # fmt: skip
    assert "a dry run makes no packages" in str(dry[0].error)
