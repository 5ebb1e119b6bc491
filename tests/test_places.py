"""Where a build goes: what may be replaced, how, and what happens where nothing can be written."""

import multiprocessing
import os
import stat
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from entracte.compile.folder import check_out
from entracte.compile.job import compile_job
from entracte.declare.compose import compose
from entracte.declare.read import Job, read
from entracte.disk import left
from entracte.errors import ConfigError, EntracteError, PlanError, RunError, WriteError
from entracte.ir import Run
from entracte.plan.file import CONSTANTS, check_files, read_plan, write_plan
from entracte.run.execute import run_build
from entracte.run.record import read_run, write_run
from entracte.store.cache import Cache
from entracte.store.seal import file_sha256
from entracte.verify.folder import verify_build
from tests.disk.test_write import file_limit
from tests.noise import conf
from tests.writing import write_output

VIDEO = np.random.default_rng(0).random((1, 3, 4, 64, 64))
FILE_LIMIT = 100


def noise(folder: Path, out: Path) -> None:
    """Compile noise into a folder."""
    compile_job(job(folder, out))


def job(folder: Path, out: Path) -> Job:
    words = ["+target=host", "pipeline=noise", f"cache={folder / 'cache'}"]
    config = compose(words, conf(folder / "conf", (1, 3, 4, 16, 16)))
    return replace(read(config), out=str(out))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    noise(folder, folder / "build")
    return folder / "build"


def names(folder: Path) -> list[str]:
    return sorted(n for n in os.listdir(folder) if n not in ("cache", "conf"))


# ---------------------------------------------------------------- exchange


def test_a_linked_place_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "build"
    link.symlink_to(tmp_path / "disk" / "real")  # to nothing yet
    inodes = set()
    for _ in range(2):
        noise(tmp_path, link)
        assert link.is_symlink() and read_plan(link).built
        inodes.add((tmp_path / "disk" / "real").stat().st_ino)
        assert names(tmp_path / "disk") == ["real"]
    assert len(inodes) == 2 and names(tmp_path) == ["build", "disk"]


def test_a_reader_always_finds_a_whole_build(tmp_path):
    """While others compile into the place, two at once."""
    out = tmp_path / "build"
    noise(tmp_path, out)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_often, args=(tmp_path, out)) for _ in range(2)]
    for worker in workers:
        worker.start()
    looks = 0
    while any(w.is_alive() for w in workers) or not looks:
        assert read_plan(out).built
        looks += 1
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers] == [0, 0]
    assert names(tmp_path) == ["build"] and looks > 3


def _often(folder: Path, out: Path) -> None:
    for _ in range(5):
        noise(folder, out)


def test_what_dead_compiles_left_is_swept(tmp_path):
    for name in (".build.4194303.partial", ".build.4194303.old", ".build.4194303.0badcafe.partial"):
        (tmp_path / name).mkdir()
    noise(tmp_path, tmp_path / "build")
    assert names(tmp_path) == ["build"]


def test_what_is_put_there_meanwhile_stays(tmp_path, monkeypatch):
    out = tmp_path / "build"

    def intrude(*arguments, **options):
        (out / "mine").mkdir(parents=True)
        return write_plan(*arguments, **options)

    monkeypatch.setattr("entracte.compile.job.write_plan", intrude)
    with pytest.raises(ConfigError, match="no build folder"):
        noise(tmp_path, out)
    assert names(out) == ["mine"] and names(tmp_path) == ["build"]


def test_a_name_with_brackets_is_no_pattern(tmp_path):
    (tmp_path / ".b1.4194303.partial").mkdir()
    noise(tmp_path, tmp_path / "b[1]")
    assert names(tmp_path) == [".b1.4194303.partial", "b[1]"]


# ---------------------------------------------------------------- places that cannot be


def test_a_place_that_cannot_be_replaced_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "build", tmp_path / "file" / "a" / "b"):
        with pytest.raises(ConfigError, match=r"file.* cannot be written"):
            check_out(out)
    with pytest.raises(ConfigError, match="no build folder"):
        check_out(tmp_path / "file")
    with pytest.raises(ConfigError, match=r"a disk is mounted there, or you are in it|no build"):
        check_out(Path("/proc"))
    (tmp_path / "here" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "inner")
    with pytest.raises(ConfigError, match="you are in it"):
        check_out(Path("."))
    with pytest.raises(ConfigError, match="no build folder"):
        check_out(Path(".."))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="read-only"):
        check_out(tmp_path / "new")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_a_mounted_place_and_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=64k tmpfs {disk} 2>/dev/null") != 0:
        pytest.skip("cannot mount")
    try:
        with pytest.raises(ConfigError, match="name a folder inside it"):
            check_out(disk)
        (disk / "filler").write_bytes(bytes(60 << 10))
        with pytest.raises(WriteError, match="x.npy: cannot be written"):
            write_output(VIDEO, disk / "x.npy")
        with pytest.raises(EntracteError, match="No space left on device"):
            noise(tmp_path, disk / "build")
        with pytest.raises(WriteError, match=r"No space left.*cache=FOLDER"):
            Cache(disk).keep("things", "aabb", ["x" * 50_000])
        assert names(disk) == ["filler", "v1"]
        os.system(f"mount -o remount,ro {disk}")
        for out in (disk / "build", disk / "a" / "b"):
            with pytest.raises(ConfigError, match="read-only"):
                check_out(out)
        with pytest.raises(WriteError, match="its folder is read-only"):
            write_output(VIDEO, disk / "x.npy")
        with pytest.raises(WriteError, match="Read-only file system"):
            write_run(RUN, disk / "run.json")
        with pytest.raises(WriteError, match="Read-only file system"):
            Cache(disk).keep("things", "aabb", 1)
    finally:
        os.system(f"umount {disk}")


RUN = Run(device="x" * FILE_LIMIT, wall_s=1, stall_s=0, loaded_bytes=0, peak_bytes=0, chunks=())

WRITERS = {
    "plan.json": lambda plan, folder: write_plan(plan, folder),
    "run.json": lambda _, folder: write_run(RUN, folder / "run.json"),
    "x.npy": lambda _, folder: write_output(VIDEO, folder / "x.npy"),
    "x.png": lambda _, folder: write_output(VIDEO, folder / "x.png", kind="video"),
    "x.gif": lambda _, folder: write_output(VIDEO, folder / "x.gif", kind="video"),
    "x.mp4": lambda _, folder: write_output(VIDEO, folder / "x.mp4", kind="video"),
    "entry.json": lambda _, folder: Cache(folder).keep("things", "entry", ["x" * FILE_LIMIT]),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_message_and_leaves_nothing(made, tmp_path, name):
    plan = read_plan(made)
    with file_limit(FILE_LIMIT), pytest.raises(WriteError, match=f"{name}: cannot be written"):
        WRITERS[name](plan, tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_full_disk_leaves_the_build_that_was_there(tmp_path):
    noise(tmp_path, tmp_path / "build")
    before = (tmp_path / "build" / "plan.json").read_bytes()
    again = job(tmp_path, tmp_path / "build")
    with file_limit(FILE_LIMIT), pytest.raises(WriteError, match="plan.json: cannot be written"):
        compile_job(again)
    assert (tmp_path / "build" / "plan.json").read_bytes() == before
    assert names(tmp_path) == ["build"]


def test_a_full_disk_leaves_no_entry_in_the_cache(tmp_path):
    cache = Cache(tmp_path)
    with file_limit(FILE_LIMIT), pytest.raises(WriteError, match="cache=FOLDER"):  # noqa: SIM117
        with cache.making("things", "aabb") as entry:
            (entry / "data").write_bytes(bytes(1000))
    assert cache.folder("things", "aabb") is None
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


# ---------------------------------------------------------------- folders of strangers


@pytest.fixture
def received(made, tmp_path) -> Path:
    """A build folder that came from elsewhere, beside what it is after."""
    (tmp_path / "build").mkdir()
    write_plan(read_plan(made), tmp_path / "build")
    (tmp_path / "victim").write_text("mine")
    return tmp_path / "build"


@pytest.mark.parametrize("name", ["plan.tmp", ".plan.json.tmp", ".plan.json.{}.tmp"])
def test_verify_follows_no_prepared_link(received, name):
    (received / name.format(os.getpid())).symlink_to(received.parent / "victim")
    verify_build(received)
    assert (received.parent / "victim").read_text() == "mine"


def test_verify_says_at_once_that_it_cannot_keep_anything(received, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(WriteError, match="--no-save"):
        verify_build(received)
    assert verify_build(received, save=False).passed
    with pytest.raises(WriteError, match="read-only"):
        run_build(received, device="reference", out=received.parent / "clip.gif")


def test_a_plan_or_run_behind_a_link_is_not_read(received):
    run = received / "run.json"
    run.symlink_to(received.parent / "victim")
    with pytest.raises(PlanError, match="a link out of the folder"):
        read_run(received)
    write_run(RUN, run)
    assert (received.parent / "victim").read_text() == "mine" and not run.is_symlink()
    elsewhere = (received / "plan.json").rename(received.parent / "elsewhere.json")
    (received / "plan.json").symlink_to(elsewhere)
    with pytest.raises(PlanError, match="there is no plan.json here"):
        read_plan(received)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_nothing_is_waited_for(received, kind):
    for name in ("run.json", "plan.json"):
        (received / name).unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(received / name)
        elif kind == "device":
            (received / name).symlink_to("/dev/zero")
        else:
            (received / name).mkdir()
    begun = time.monotonic()
    with pytest.raises(PlanError):
        read_plan(received)
    if kind != "folder":
        with pytest.raises(PlanError):
            read_run(received)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("what", ["link", "pipe"])
def test_packages_and_files_lie_inside(tmp_path, what):
    """Links inside packages too; the weights of a package are read by their true place."""
    from tests.planner.plans import make_plan

    plan = make_plan()
    for package in plan.packages:
        (tmp_path / "build" / package.path / "Data").mkdir(parents=True)
    (tmp_path / "build" / CONSTANTS).write_bytes(b"1")
    plan = replace(plan, files=((CONSTANTS, file_sha256(tmp_path / "build" / CONSTANTS)),))
    check_files(plan, tmp_path / "build")
    stray = tmp_path / "build" / plan.packages[0].path / "Data" / "weight.bin"
    (tmp_path / "victim").write_text("mine")
    os.mkfifo(stray) if what == "pipe" else stray.symlink_to(tmp_path / "victim")
    with pytest.raises(PlanError, match=r"weight.bin leads out of the build folder"):
        check_files(plan, tmp_path / "build")


def test_a_tokenizer_is_read_from_the_build_folder_only(tmp_path):
    from entracte.declare.host_ops import HOST_OPS, Place

    (tmp_path / "build").mkdir()
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "build" / "t.json").symlink_to(tmp_path / "secret")
    for name in ("t.json", "../secret", str(tmp_path / "secret"), "none.json"):
        params = {"tokenizer": name, "length": 4}
        with pytest.raises(RunError, match="no tokenizer file"):
            HOST_OPS["tokenize"].run(params, {"text": "a"}, Place(tmp_path / "build"))


def test_no_file_of_this_machine_is_copied_into_a_build(tmp_path):
    from entracte.emit.host_files import host_file

    stage = "pipeline.stages.text.params"
    weights, secret = tmp_path / "weights", tmp_path / "secret"
    weights.mkdir()
    secret.write_text("mine")
    (weights / "link.json").symlink_to(secret)
    os.mkfifo(weights / "pipe.json")
    for name in ("link.json", "pipe.json"):
        with pytest.raises(ConfigError, match="put the file itself there"):
            host_file(stage, weights, name)
    with pytest.raises(ConfigError, match="there is no file"):
        host_file(stage, weights, "none.json")
    # Hugging Face's hub keeps files beside the folders of links that name them.
    hub = tmp_path / "hub" / "snapshots" / "abc"
    hub.mkdir(parents=True)
    (tmp_path / "hub" / "blobs").mkdir()
    (tmp_path / "hub" / "blobs" / "1").write_text("ours")
    (hub / "t.json").symlink_to("../../blobs/1")
    (hub / "bad.json").symlink_to(secret)
    assert host_file(stage, hub, "t.json").read_bytes() == b"ours"
    with pytest.raises(ConfigError, match="put the file itself there"):
        host_file(stage, hub, "bad.json")


# ---------------------------------------------------------------- others


def test_a_shared_build_is_read_by_others(tmp_path):
    before = os.umask(0o022)
    try:
        noise(tmp_path, tmp_path / "build")
        run_build(tmp_path / "build", device="reference", out=tmp_path / "build" / "clip.npy")
    finally:
        os.umask(before)
    for path in (tmp_path / "build", *(tmp_path / "build").rglob("*")):
        wanted = 0o755 if path.is_dir() else 0o444
        assert stat.S_IMODE(path.stat().st_mode) & wanted == wanted, path


def test_an_entry_of_the_cache_is_read_by_others_and_written_by_nobody(tmp_path):
    before = os.umask(0o022)
    try:
        with Cache(tmp_path).making("things", "aabb") as entry:
            (entry / "inner").mkdir(mode=0o700)
            (entry / "inner" / "file").touch(mode=0o600)
    finally:
        os.umask(before)
    made = Cache(tmp_path).folder("things", "aabb")
    assert stat.S_IMODE((made / "inner").stat().st_mode) == 0o755
    assert stat.S_IMODE((made / "inner" / "file").stat().st_mode) == 0o444


def test_what_a_killed_worker_began_in_the_cache_is_removed(tmp_path):
    begun = tmp_path / "cache" / "v1" / "unfinished" / ".aabb.4194303.0badcafe.partial"
    begun.mkdir(parents=True)
    noise(tmp_path, tmp_path / "build")
    assert not begun.exists() and not left._own
