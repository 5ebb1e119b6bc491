"""A build that was made before is not made again, unless something of it is another."""

from dataclasses import replace
from pathlib import Path

import pytest

import entracte.compile.job as whole_way
from entracte.compile.job import compile_job
from entracte.emit.kept import BUILDS, KeptBuild, found_build, keep_build
from entracte.emit.make import PACKAGES
from entracte.plan.file import read_plan
from entracte.plan.kept import kept_or_made
from entracte.store.cache import Cache, cache_folder
from entracte.store.decisive import decisive_digest
from tests.demo import job


def contents(folder: Path) -> dict[Path, bytes]:
    found = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    # Of a run that another test has made of it.
    return {path: data for path, data in found.items() if path.name != "run.json"}


def refuse(*_: object) -> None:
    raise AssertionError("made again")


def test_the_same_job_again_is_the_same_folder(whole, tmp_path, monkeypatch):
    """Also where packages go one graph to several chunks: `test_shared_graphs.py` has that."""
    monkeypatch.setattr(whole_way, "ready", refuse)
    built = compile_job(job(tmp_path / "again"))
    assert contents(tmp_path / "again") == contents(whole)
    assert built.plan == read_plan(whole)
    with pytest.raises(AssertionError, match="made again"):
        compile_job(job(tmp_path / "other", "target.memory=64MiB"))
    assert not (tmp_path / "other").exists()


@pytest.fixture
def kept(whole, tmp_path) -> tuple[Cache, str, KeptBuild]:  # noqa: ARG001 (made by it)
    made = job(tmp_path / "out")
    cache, key = Cache(cache_folder(made.cache)), decisive_digest(made, BUILDS)
    assert key is not None
    found = cache.record(BUILDS, key, KeptBuild)
    assert found is not None and found_build(cache, key) is not None
    return cache, key, found


def _peak(kept: KeptBuild) -> KeptBuild:
    forecast = replace(kept.plan.forecast, peak_bytes=kept.plan.forecast.peak_bytes - 1)
    return replace(kept, plan=replace(kept.plan, forecast=forecast))


def _file(kept: KeptBuild) -> KeptBuild:
    (path, _), *rest = kept.plan.files
    return replace(kept, plan=replace(kept.plan, files=((path, "0" * 64), *rest)))


def _package(kept: KeptBuild) -> KeptBuild:
    first, *rest = kept.plan.packages
    plan = replace(kept.plan, packages=(replace(first, digest="0" * 64), *rest))
    return replace(kept, plan=plan)


def _others(kept: KeptBuild) -> KeptBuild:
    return replace(kept, entries=kept.entries[::-1])


def _fewer(kept: KeptBuild) -> KeptBuild:
    return replace(kept, entries=kept.entries[1:])


@pytest.mark.parametrize("change", [_peak, _file, _package, _others, _fewer])
def test_a_record_that_says_something_else_is_not_taken(kept, monkeypatch, change):
    cache, key, found = kept
    monkeypatch.setattr(cache, "record", lambda *_: change(found))
    assert found_build(cache, key) is None


@pytest.mark.parametrize("kind", [PACKAGES, "files"])
def test_what_is_gone_from_the_cache_is_made_again(kept, monkeypatch, kind):
    cache, key, _ = kept
    folder = cache.folder
    monkeypatch.setattr(cache, "folder", lambda k, n: None if k == kind else folder(k, n))
    assert found_build(cache, key) is None


def test_nothing_is_kept_without_a_key_or_by_others(kept, tmp_path, monkeypatch):
    cache, key, found = kept
    assert found_build(cache, None) is None
    assert found_build(cache, "0" * 64) is None
    other = Cache(tmp_path / "cache")

    def read_only(*_: object) -> None:
        raise OSError(30, "read-only")

    monkeypatch.setattr(other, "making", read_only)

    def keep(key: str, made: KeptBuild) -> None:
        keep_build(other, key, made, tmp_path)

    assert kept_or_made(key, lambda _: None, lambda: found, keep) is found
    assert found_build(other, key) is None
