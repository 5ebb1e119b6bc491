"""A dry run that was made before is not made again, unless something that decides it is another."""

import json
import logging
import os
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import pytest

import entracte.compile.job as whole_way
from entracte.compile.job import compile_job, compile_pipeline
from entracte.declare import folder as folders
from entracte.declare.compose import compose
from entracte.declare.read import Job, read
from entracte.plan import kept
from entracte.plan.file import FILE
from entracte.plan.kept import Planned
from entracte.store import decisive
from entracte.store.cache import Cache
from entracte.store.decisive import HOW, decisive_digest
from entracte.store.declared import read_job
from tests.planner.plans import make_plan

WORDS = ("target=iphone15pro", "sampler.steps=3")
CHANGES = (
    "target.memory=40MiB", "target.deployment=iOS17", "verify=off", "pipeline=tiny_i2v",
    "pipeline.precision=fp32", "pipeline.weights=random:1",
    "policy=sequential", "policy.lookahead=1", "sampler.steps=4", "compression=int8",
    "guidance=apart", "guidance=auto", "partition=shared", "partition.chunk_bytes=1MiB",
)  # fmt: skip
SAME = ("out=there", "cache=elsewhere", "cache_limit=1GiB", "workers=3", "dry_run=true")


@cache
def job(*words: str) -> Job:
    return read(compose([*WORDS, *words]))


# ---------------------------------------------------------------- what decides


@pytest.mark.parametrize("word", CHANGES)
def test_another_setting_is_another_result(word):
    found = decisive_digest(job(word))
    assert found not in (None, decisive_digest(job()))


def test_where_and_how_fast_decide_nothing():
    assert {decisive_digest(job(word)) for word in SAME} == {decisive_digest(job())}
    assert decisive_digest(job(), "dry run") != decisive_digest(job())


OTHER = {int: 7, str: "other", bool: True, type(None): 7}


@pytest.mark.parametrize("name", sorted({f.name for f in fields(Job)} - {*HOW}))
def test_every_field_of_a_job_decides_but_those_that_say_how(name):
    made = job()
    value = getattr(made, name)
    if name == "composed":
        other: object = json.dumps(json.loads(value) | {"policy": {}})
    elif name in ("pipeline", "target", "policy"):
        other = replace(value, name="other")
    elif isinstance(value, bool):
        other = not value
    else:
        other = OTHER[type(value)]
    assert decisive_digest(replace(made, **{name: other})) != decisive_digest(made)


def test_other_code_is_another_result(monkeypatch):
    found = {decisive_digest(job())}
    for name in ("maker_digest", "graph_digest"):
        with monkeypatch.context() as changed:
            changed.setattr(decisive, name, lambda *_: "other code")
            found.add(decisive_digest(job()))
    assert len(found) == 3 and None not in found
    monkeypatch.setattr(decisive.graphs, "is_code", lambda _: False)
    assert decisive_digest(job()) is None


def test_another_file_is_another_result(tmp_path):
    weights = tmp_path / "weights"
    (weights / "inner").mkdir(parents=True)
    file = weights / "inner" / "a.safetensors"
    file.write_bytes(b"one")
    told = [decisive_digest(job(f"pipeline.weights={weights}"))]

    def changed() -> bool:
        told.append(decisive_digest(job(f"pipeline.weights={weights}")))
        return told[-1] not in told[:-1]

    assert not changed()
    file.write_bytes(b"two!")
    assert changed()
    os.utime(file, ns=(1, 1))  # as long, and written at another time
    assert changed()
    (weights / "b.json").write_text("{}")
    assert changed()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (weights / "linked").symlink_to(elsewhere)
    (elsewhere / "c").write_text("c")
    assert changed()
    (elsewhere / "c").write_text("longer")
    assert changed()
    (weights / "nowhere").symlink_to(tmp_path / "nothing")
    assert changed()


def test_what_is_missing_or_endless_is_not_known(tmp_path, monkeypatch):
    assert decisive_digest(job(f"pipeline.weights={tmp_path / 'missing'}")) is None
    for name in "abc":
        (tmp_path / name).write_text("")
    assert decisive_digest(job(f"pipeline.weights={tmp_path}")) is not None
    monkeypatch.setattr(decisive, "_MOST_FILES", 2)
    assert decisive_digest(job(f"pipeline.weights={tmp_path}")) is None


# ---------------------------------------------------------------- plans


def dry(store: Path, *words: str, out: Path) -> bytes:
    """The plan of a dry run, as it is written."""
    told = [*WORDS, "dry_run=true", f"cache={store}", *words]
    compile_pipeline(told, out=out)
    return (out / FILE).read_bytes()


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """A cache that has what the demo's traces give."""
    folder = tmp_path_factory.mktemp("filled")
    dry(folder, out=folder / "out")
    return folder


def refuse(*_: object) -> None:
    raise AssertionError("made again")


def test_a_kept_plan_is_the_one_that_would_be_made(filled, tmp_path, monkeypatch):
    first = (filled / "out" / FILE).read_bytes()
    with monkeypatch.context() as without:
        without.setattr(Cache, "record", lambda *_: None)
        assert dry(tmp_path / "none", out=tmp_path / "anew") == first
    monkeypatch.setattr(whole_way, "ready", refuse)
    assert dry(filled, out=tmp_path / "again") == first
    assert compile_job(read(compose([*WORDS, "dry_run=true", f"cache={filled}"]))).folder is None
    with pytest.raises(AssertionError, match="made again"):
        dry(filled, "target.memory=64MiB", out=tmp_path / "other")


def key_of(store: Path) -> tuple[Cache, str]:
    key = decisive_digest(job("dry_run=true", f"cache={store}"), kept._KIND)
    assert key is not None
    return Cache(store), key


def test_what_the_checker_refuses_is_made_again(filled, tmp_path):
    first = dry(filled, out=tmp_path / "first")
    store, key = key_of(filled)
    found = store.record(kept._KIND, key, Planned)
    assert found is not None
    forecast = replace(found.plan.forecast, peak_bytes=found.plan.forecast.peak_bytes - 1)
    store.keep(kept._KIND, key, replace(found, plan=replace(found.plan, forecast=forecast)))
    assert dry(filled, out=tmp_path / "again") == first


@pytest.mark.parametrize(("note", "times"), [("", 1), ("a note", 2)])
def test_what_had_something_to_say_is_said_again(note, times, tmp_path, log):
    made = []

    def make() -> Planned:
        made.append(note)
        if note:
            logging.getLogger("entracte").warning(note)
        return Planned(make_plan(built=False), 1.5)

    first, second = (kept.planned(job(), Cache(tmp_path), make) for _ in range(2))
    assert first == second and len(made) == times
    assert log == [note] * times if note else not log


# ---------------------------------------------------------------- recipes


def test_the_python_door_and_its_siblings_keep_what_recipes_declare(tmp_path, monkeypatch):
    words = ["pipeline=dit_xl_2", "target=iphone15pro", f"cache={tmp_path}"]
    first = read_job(compose(words))
    monkeypatch.setattr(folders, "_declared", refuse)
    assert read_job(compose(words)) == first
    with pytest.raises(AssertionError, match="made again"):
        read_job(compose([*words, "sampler.steps=7"]))
