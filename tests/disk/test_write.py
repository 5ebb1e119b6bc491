"""Files: whole or not at all, unfollowed, readable by whom the umask says, one message."""

import os
import resource
import shutil
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from entracte.disk import left
from entracte.disk.write import told, write_bytes, write_text, writing
from entracte.errors import WriteError


@contextmanager
def file_limit(size: int):
    """As on a full disk, for files of this process above so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def umask(value: int):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("value", [0o022, 0o027, 0o077, 0o002])
def test_the_umask_decides_who_reads(tmp_path, value):
    with umask(value):
        write_text(tmp_path / "ours", "x")
        (tmp_path / "plain").write_text("x")
    assert mode(tmp_path / "ours") == mode(tmp_path / "plain")


def test_also_where_a_library_makes_the_file_anew(tmp_path):
    with umask(0o022), writing(tmp_path / "f") as aside:
        aside.unlink()
        aside.write_text("x")
        aside.chmod(0o600)
    assert mode(tmp_path / "f") == 0o644


def test_a_link_at_the_final_name_is_replaced_and_its_victim_is_not(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    link = tmp_path / "plan.json"
    link.symlink_to(victim)
    write_text(link, "new")
    assert victim.read_text() == "mine"
    assert not link.is_symlink() and link.read_text() == "new"


def test_a_link_that_the_user_names_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "clip.npy"
    link.symlink_to(tmp_path / "disk" / "real.npy")  # also before the file is there
    for text in ("one", "two"):
        write_text(link, text, follow=True)
        assert link.is_symlink() and (tmp_path / "disk" / "real.npy").read_text() == text
    assert os.listdir(tmp_path / "disk") == ["real.npy"]


def test_no_name_can_be_prepared(tmp_path, monkeypatch):
    """Even one who guesses the name gets nothing: the file is made exclusively."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    monkeypatch.setattr(left, "new_name", lambda name: f".{name}.guessed")
    (tmp_path / ".f.guessed").symlink_to(victim)
    with pytest.raises(WriteError, match="File exists"):
        write_text(tmp_path / "f", "x")
    assert victim.read_text() == "mine" and not (tmp_path / "f").exists()


def test_what_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "f"
    file.write_text("old")
    with pytest.raises(RuntimeError), writing(file) as aside:
        aside.write_text("half")
        raise RuntimeError
    with pytest.raises(WriteError, match=r"f: cannot be written \(File too large\)"), file_limit(9):
        write_bytes(file, bytes(100))
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_folders_devices_and_pipes_are_not_replaced(tmp_path, make):
    make(tmp_path / "x")
    for follow in (False, True):
        with pytest.raises(WriteError, match="name another file"):
            write_text(tmp_path / "x", "x", follow=follow)
    with pytest.raises(WriteError, match="a device"):
        write_text(Path("/dev/null"), "x", follow=True)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert os.listdir(tmp_path) == ["x"]


def test_a_missing_folder_is_one_message(tmp_path):
    with pytest.raises(WriteError, match="no/f: cannot be written .No such file"):
        write_text(tmp_path / "no" / "f", "x")


def test_of_two_files_the_one_that_is_written_is_named(tmp_path):
    """As the system says it, on a disk without room."""
    source, place = tmp_path / "source", tmp_path / "place"
    source.write_text("x")
    full = Path("/dev/full")
    for copy in (shutil.copyfile, os.replace):
        with pytest.raises(WriteError) as caught, told(place):
            copy(source, full if copy is shutil.copyfile else place / "there")
        assert str(source) not in str(caught.value)


def test_a_tree_that_cannot_be_copied_is_one_message(tmp_path):
    source, place = tmp_path / "source", tmp_path / "place"
    for folder in (source, place):
        (folder / "a").mkdir(parents=True)
        (folder / "a" / "b").symlink_to("/dev/full")
    (source / "a" / "b").unlink()
    (source / "a" / "b").write_text("x")
    with pytest.raises(WriteError) as caught, told(place):
        shutil.copytree(source, place, dirs_exist_ok=True)
    assert str(caught.value).startswith(f"{place}: cannot be written (No space left on device);")


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from entracte.disk.write import writing\n"
        "with writing(Path(sys.argv[1])) as aside:\n"
        " aside.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "clip.mp4"])
    (half,) = os.listdir(tmp_path)
    assert half.startswith(".clip.mp4.") and half.endswith(".mp4")
    other = tmp_path / f".other.{os.getppid()}.00000000.partial"
    other.touch()
    write_text(tmp_path / "clip.mp4", "whole")
    assert sorted(os.listdir(tmp_path)) == [other.name, "clip.mp4"]


def test_a_link_to_a_pipe_is_a_pipe(tmp_path):
    """As /dev/stdout is, whose pipe has no path of its own."""
    reading, there = os.pipe()
    link = tmp_path / "out"
    link.symlink_to(f"/proc/self/fd/{there}")
    with pytest.raises(WriteError, match=r"out: cannot be written \(there is a device or a pipe\)"):
        write_text(link, "x", follow=True)
    os.close(reading)
    os.close(there)
