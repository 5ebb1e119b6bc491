"""Folders change places in one step, for several at once, and what stops halfway is undone."""

import errno
import multiprocessing
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from entracte.disk import folder as folders
from entracte.disk import left
from entracte.disk.folder import exchange, fresh, open_to_readers, put
from entracte.errors import WriteError


def make(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "text").write_text(text)
    return path


def text(path: Path) -> str:
    return (path / "text").read_text()


@pytest.fixture(params=["at once", "by steps"])
def way(request, monkeypatch):
    """Both ways in which folders change places."""
    if request.param == "by steps":
        monkeypatch.setattr(folders, "_exchange_at_once", lambda *_: False)
    return request.param


def test_two_folders_change_places(tmp_path, way):
    one, two = make(tmp_path / "one", "1"), make(tmp_path / "two", "2")
    exchange(one, two)
    assert (text(one), text(two)) == ("2", "1")
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


def test_linux_does_it_at_once(tmp_path):
    one, two = make(tmp_path / "one", "1"), make(tmp_path / "two", "2")
    if sys.platform == "linux":
        assert folders._exchange_at_once(one, two) and text(one) == "2"


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_is_put_into_place(tmp_path, way, there):
    final = tmp_path / "final"
    if there:
        make(final, "old")
    with fresh(tmp_path, "final") as aside:
        (aside / "text").write_text("new")
        put(aside, final)
    assert text(final) == "new" and os.listdir(tmp_path) == ["final"]


class Stopped(BaseException):
    """As a signal raises."""


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), Stopped()])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_rename_that_fails_leaves_the_old_one_in_place(tmp_path, monkeypatch, step, error):
    final, new = make(tmp_path / "final", "old"), make(tmp_path / "new", "new")
    monkeypatch.setattr(folders, "_exchange_at_once", lambda *_: False)
    real, calls = os.rename, []

    def rename(a, b):
        calls.append(a)
        if len(calls) == step + 1:
            raise error
        real(a, b)

    monkeypatch.setattr(folders.os, "rename", rename)
    with pytest.raises(type(error)):
        exchange(new, final)
    # The third only gives the old one its new name: by then all is done.
    assert text(final) == ("new" if step == 2 else "old")


def test_killed_between_the_renames_the_next_one_puts_the_old_one_back(tmp_path):
    code = """if True:
        import os, sys
        from pathlib import Path
        from entracte.disk import folder
        folder._exchange_at_once = lambda *_: False
        real = os.rename
        def rename(a, b):
            if Path(b).name == "final":
                os.kill(os.getpid(), 9)
            real(a, b)
        folder.os.rename = rename
        root = Path(sys.argv[1])
        with folder.fresh(root, "final") as aside:
            folder.put(aside, root / "final")
    """
    make(tmp_path / "final", "old")
    subprocess.run([sys.executable, "-c", code, tmp_path])
    assert not (tmp_path / "final").exists()
    left.sweep(tmp_path, tmp_path / "final")
    assert text(tmp_path / "final") == "old" and os.listdir(tmp_path) == ["final"]


def _put_often(root: Path, number: int) -> None:
    for _ in range(60):
        with fresh(root, "final") as aside:
            for name in ("a", "b"):
                (aside / name).write_text(str(number))
            put(aside, root / "final")


def test_several_at_once_leave_one_whole_folder(tmp_path, way):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_put_often, args=(tmp_path, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers] == [0, 0, 0]
    assert os.listdir(tmp_path) == ["final"]
    assert len({(tmp_path / "final" / name).read_text() for name in ("a", "b")}) == 1


def test_what_lives_is_not_swept_and_what_is_dead_is(tmp_path):
    dead = tmp_path / ".final.4194303.partial"
    dead.mkdir()
    (tmp_path / ".finally.4194303.partial").mkdir()
    trap = tmp_path / ".final.4194303.old"
    victim = make(tmp_path / "victim", "mine")
    trap.symlink_to(victim)
    make(tmp_path / "final", "old")
    with fresh(tmp_path, "final") as aside:
        left.sweep(tmp_path, tmp_path / "final")
        assert aside.is_dir() and not dead.exists() and not trap.is_symlink()
    assert text(victim) == "mine"
    assert sorted(os.listdir(tmp_path)) == [".finally.4194303.partial", "final", "victim"]


def test_one_that_is_locked_lives_though_its_process_cannot_be_seen(tmp_path):
    """As in another container; and one whose number another process has by now is dead."""
    hidden, stale = tmp_path / ".f.4194303.partial", tmp_path / f".f.{os.getppid()}.partial"
    hidden.mkdir()
    stale.mkdir()
    os.utime(stale, (time.time() - 3600,) * 2)
    handle = left.lock(hidden)
    left.sweep(tmp_path)
    assert hidden.is_dir() and not stale.exists()
    left.unlock(handle)
    left.sweep(tmp_path)
    assert not hidden.exists()


def test_all_may_read_what_a_library_made_for_itself(tmp_path):
    before = os.umask(0o022)
    try:
        with fresh(tmp_path, "x") as aside:
            inner = aside / "inner"
            inner.mkdir(mode=0o700)
            (inner / "file").write_text("x")
            (inner / "file").chmod(0o600)
            open_to_readers(aside)
            assert stat.S_IMODE(inner.stat().st_mode) == 0o755
            assert stat.S_IMODE((inner / "file").stat().st_mode) == 0o644
            open_to_readers(aside, frozen=True)
            assert stat.S_IMODE((inner / "file").stat().st_mode) == 0o444
    finally:
        os.umask(before)


def test_a_place_that_cannot_be_is_one_message(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot be written"), fresh(tmp_path / "file", "x"):
        pass
