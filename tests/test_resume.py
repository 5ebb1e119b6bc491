"""A compile that is killed, at any moment, goes on where it was and ends with the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import entracte.compile.job as whole_way
from entracte.compile.job import compile_job
from entracte.emit.bundle import Workshop
from entracte.plan.file import read_plan
from entracte.store.cache import Cache, DigestMemo, digest
from entracte.store.seal import SEAL, SEEN
from tests.demo import STEPS, job
from tests.test_signals import interrupt

DEMO = ("+target=iphone15pro", f"sampler.steps={STEPS}")
"""As the build that all tests share."""
MANY = (
    "+target=iphone15pro",
    "sampler.steps=3",
    "target.memory=24MiB",
    "partition.chunk_bytes=700KiB",
)
"""Several chunks of every stage, so that there is much to interrupt."""


def start(out: Path, cache: Path, overrides: tuple[str, ...]) -> subprocess.Popen:
    command = [sys.executable, "-m", "entracte.cli.compile", *overrides, f"out={out}"]
    return subprocess.Popen(
        [*command, f"cache={cache}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(out: Path, cache: Path, overrides: tuple[str, ...]) -> None:
    process = start(out, cache, overrides)
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors.decode()


def kill(process: subprocess.Popen) -> None:
    """The command and all its workers, with no chance to tidy up."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def kept(cache: Path) -> int:
    return len(list(cache.glob("v1/packages/??/*")))


def digests(folder: Path) -> list[tuple[str, str]]:
    return [(p.path, p.digest) for p in read_plan(folder).packages]


def contents(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def kills_until_done(
    out: Path, cache: Path, overrides: tuple[str, ...], moments: random.Random, most: int
) -> int:
    """Kill the compile `most` times, each time after some more packages were kept."""
    done = 0
    while done < most:
        process, goal = start(out, cache, overrides), kept(cache) + moments.randint(0, 2)
        while process.poll() is None and kept(cache) < goal:
            time.sleep(0.02)
        time.sleep(moments.random() * 2)
        if process.poll() is not None:
            break
        kill(process)
        assert not out.exists(), "a killed compile left something where the build should be"
        done += 1
    return done


def check_resumed(wanted: Path, folder: Path, overrides, most: int, seed: int) -> int:
    out, cache = folder / "build", folder / "cache"
    done = kills_until_done(out, cache, overrides, random.Random(seed), most)
    assert done >= min(most, 2)
    finish(out, cache, overrides)
    assert digests(out) == digests(wanted)
    left = [p for p in (*folder.glob(".*partial"), *cache.rglob(".*")) if p.exists()]
    left = [p for p in left if p.name not in (SEAL, SEEN)]
    assert not left, "what a killed compile left behind is removed by the next"
    return done


def test_a_killed_compile_goes_on_and_a_second_converts_nothing(whole, tmp_path, monkeypatch):
    """Told to end, then killed, in a cache of its own; then everything comes from it, also into
    another folder.

    Every file has the bytes of the build that was made elsewhere and undisturbed.
    """
    interrupt(tmp_path, signal.SIGTERM)
    check_resumed(whole, tmp_path, DEMO, most=1, seed=0)
    found, wanted = contents(tmp_path / "build"), contents(whole)
    # Of a run that another test has made of it.
    wanted.pop(Path("run.json"), None)
    assert found.keys() == wanted.keys()
    assert not [p for p in found if found[p] != wanted[p]]
    made = []
    monkeypatch.setattr(Workshop, "run", lambda self, tasks: made.extend(t.name for t in tasks))
    monkeypatch.setattr(whole_way, "found_build", lambda *_: None)
    compile_job(job(tmp_path / "again", f"cache={tmp_path / 'cache'}"))
    assert made == []
    assert digests(tmp_path / "again") == digests(whole)


@pytest.mark.slow
def test_dozens_of_kills(tmp_path):
    finish(tmp_path / "undisturbed", tmp_path / "cache", MANY)
    total = 0
    for seed in range(1, 6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        total += check_resumed(tmp_path / "undisturbed", folder, MANY, most=6, seed=seed)
    print(f"{total} kills")
    assert total >= 24


def test_a_damaged_entry_is_made_again(tmp_path):
    cache = Cache(tmp_path)
    key = digest("x")
    cache.keep("things", key, (("a", "b"),))
    kind = tuple[tuple[str, str], ...]
    assert cache.record("things", key, kind) == (("a", "b"),)
    next(tmp_path.rglob("*.json")).write_text('[["a"')
    assert cache.record("things", key, kind) is None


def test_an_entry_is_whole_or_absent(tmp_path):
    cache = Cache(tmp_path)
    with pytest.raises(RuntimeError), cache.making("things", "aabb") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert cache.folder("things", "aabb") is None
    assert not list(tmp_path.rglob("half"))


def test_the_oldest_entries_go_first(tmp_path):
    cache = Cache(tmp_path)
    for i in range(4):
        with cache.making("things", f"{i}{i}key") as folder:
            (folder / "data").write_bytes(bytes(1000))
        os.utime(cache.folder("things", f"{i}{i}key"), (i, i))
    os.utime(tmp_path / "v1" / "things" / "00" / "00key", (99, 99))
    cache.prune(2500)
    left = sorted(p.name for p in (tmp_path / "v1" / "things").glob("??/*"))
    assert left == ["00key", "33key"]


def test_digests_of_a_file_are_forgotten_when_it_changes(tmp_path):
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"one")
    memo = DigestMemo(Cache(tmp_path / "cache"))
    memo.note(file, {"k": "d"})
    assert memo.known(file) == {"k": "d"}
    file.write_bytes(b"other")
    assert memo.known(file) == {}
