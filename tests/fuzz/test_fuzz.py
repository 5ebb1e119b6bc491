"""300 cases of every kind keep the bounds; and what watches them can see what breaks one."""

import os
import random
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from entracte.store import unpickle_child
from tests.fuzz import doors, guard
from tests.fuzz.case import Outcome, rng_of
from tests.fuzz.kinds import KINDS, spread
from tests.fuzz.loop import outcomes
from tests.fuzz.sound import by_hand

CASES = 300


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def found(root) -> list[Outcome]:
    return list(outcomes(spread(CASES, short=True), root, seed=0))


def test_no_case_breaks_a_bound(found):
    bad = [f"{o.kind} --seed 0 --only {o.index}: {o.verdict}: {o.what}" for o in found if o.is_bad]
    assert not bad, "\n\n".join(bad)
    assert len(found) == CASES


def test_the_cases_reach_deep(found):
    """Of each kind some are accepted, and most are refused for many different reasons: a fuzzer
    whose every case stops at the first check would keep all bounds too."""
    counts = Counter((o.kind, o.verdict) for o in found)
    for kind in KINDS:
        assert counts[kind.name, "accepted"] >= 1, (kind.name, counts)
        assert counts[kind.name, "refused"] >= 5, (kind.name, counts)
    told = {o.what.split(":")[-1][:40] for o in found if o.verdict == "refused"}
    assert len(told) >= 60


def test_what_the_cases_change_is_sound(found, root, tmp_path):
    """The build of everything computes what its modules do, put together by hand."""
    words = ["plan", "run", str(root / "base" / "build"), "--device", "reference"]
    for name in ("video", "poster", "track", "logits"):
        words += ["--out", f"{name}={tmp_path / name}.npy"]
    said = doors.call([*words, "--out", f"words={tmp_path / 'words.txt'}"])
    assert said.status == 0, said.text
    rights, text = by_hand(root / "base" / "weights")
    for name, right in rights.items():
        made = np.load(tmp_path / f"{name}.npy").astype(np.float32)
        assert right.std() > 0.01, name
        assert made.shape == tuple(right.shape), name
        # Some stages are fp16.
        np.testing.assert_allclose(made, right.numpy(), atol=4e-3, err_msg=name)
    assert (tmp_path / "words.txt").read_text().split() == text.split()


def test_a_case_is_its_kind_seed_and_index():
    assert rng_of("plan", 0, 7).random() == random.Random("plan 0 7").random()
    assert spread(40)[:20] == spread(20)


# ---------------------------------------------------------------- the watch itself


def test_a_traceback_is_seen():
    said = doors.call(["plan", "show", "nowhere"])
    assert doors.verdict(said)[0] == "refused"
    for text in ("Traceback (most recent call last)\n", "error: internal error: KeyError"):
        assert doors.verdict(doors.Said(1, "", text))[0] == "traceback"
    assert doors.verdict(doors.Said(1, "", "", "boom"))[0] == "traceback"
    assert doors.verdict(doors.Said(3, "", ""))[0] == "silent"


def test_a_fault_of_ours_is_one_message_and_a_log(monkeypatch, tmp_path):
    from entracte.cli import files

    def fault(_):
        raise KeyError("what nobody expected")

    monkeypatch.setattr(files, "read_plan", fault)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said = doors.call(["plan", "show", "nowhere"])
    assert doors.verdict(said)[0] == "traceback"
    assert said.err.count("\n") == 1 and "please report it" in said.err
    (log,) = tmp_path.iterdir()
    assert str(log) in said.err and "what nobody expected" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_what_is_written_outside_is_seen(tmp_path):
    """In a process of its own: an audit hook stays."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
    (inside / "link").symlink_to(outside / "target")
    (outside / "secret").write_text("")
    tries = (
        (inside / "mine").touch, (outside / "a").touch, (inside / "link").touch,
        (outside / "b").mkdir, lambda: os.rename(inside / "mine", outside / "c"),
        (outside / "secret").read_text, (outside / "a").unlink, lambda: os.system("true"),
    )  # fmt: skip
    read, write = os.pipe()
    if not (child := os.fork()):
        watch = guard.Watch([inside], outside)
        seen = []
        for attempt in tries:
            with watch.on():
                attempt()
            seen.append(str(len(watch.seen) > 0))
        os.write(write, " ".join(seen).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1000).decode().split() == ["False", *["True"] * 7]


def test_the_reader_of_pickles_is_the_only_process_that_may_start():
    reader = [sys.executable, "-P", unpickle_child.__file__, "a.pt", "1"]
    started = "subprocess.Popen"
    assert guard._is_own_child(started, (reader[0], reader, None, None))
    assert not guard._is_own_child(started, (reader[0], ["sh", "-c", "id"], None, None))
    assert not guard._is_own_child("os.system", (" ".join(reader),))


def test_what_changes_in_the_sentinel_is_seen(tmp_path):
    sentinel = guard.Sentinel(tmp_path / "sentinel")
    assert sentinel.change() is None
    (tmp_path / "sentinel" / "victim.txt").write_text("mine")
    assert "changed" in sentinel.change()
    assert sentinel.change() is None


@pytest.mark.parametrize(
    ("code", "verdict"),
    [("while True: pass", "hang"), ("os._exit(3)", "traceback"), ("raise KeyError", "traceback")],
)
def test_a_process_that_ends_is_followed_by_another(code, verdict, tmp_path, monkeypatch):
    """The case that ended it is told; the others are done."""
    script = (
        "import json, os, signal, sys\n"
        "root = sys.argv[-2]\n"
        "open(f'{root}/stack.txt', 'w').write('somewhere')\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    kind, index = line.split()\n"
        "    if index == '1':\n"
        "        signal.setitimer(signal.ITIMER_PROF, 0.05)\n"
        f"        {code}\n"
        "    told = {'kind': kind, 'index': int(index), 'verdict': 'refused', 'notes': []}\n"
        "    print(json.dumps(told), flush=True)\n"
    )
    stand_in = tmp_path / "stand_in.py"
    stand_in.write_text(script)
    monkeypatch.setattr("tests.fuzz.loop.WORKER", [str(stand_in)])
    found = list(outcomes([("plan", k) for k in range(3)], tmp_path / "root", seed=0))
    assert [o.verdict for o in found] == ["refused", verdict, "refused"]
    assert "somewhere" in found[1].what
