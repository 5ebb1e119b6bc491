"""A command that is told to end does it at once: no process, no file left, one line, its status."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from entracte.store.cache import LAYOUT, VARIABLE

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
LINE = {
    signal.SIGINT: "interrupted; nothing half-written was left behind\n",
    signal.SIGTERM: "ended by SIGTERM; nothing half-written was left behind\n",
    signal.SIGHUP: "ended by SIGHUP; nothing half-written was left behind\n",
}


def heard() -> None:
    """In the child: as a terminal starts commands, whatever started the tests."""
    for number in STATUS:
        signal.signal(number, signal.SIG_DFL)


def start(folder: Path, *words: str) -> subprocess.Popen:
    """A command in a session of its own, whose temporary files are `folder/tmp`."""
    (folder / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heard,
        cwd=folder,
        env=os.environ | {"TMPDIR": str(folder / "tmp")},
    )


def compiling(folder: Path) -> subprocess.Popen:
    # Quiet: of what is printed only the message is left.
    words = ("--quiet", "+target=iphone15pro", "sampler.steps=3", f"out={folder / 'build'}")
    return start(folder, "entracte.cli.compile", *words, f"cache={folder / 'cache'}")


def session_of(pid: int) -> list[int]:
    """The processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_for(what, process: subprocess.Popen, most_s: float = 300) -> None:
    end = time.monotonic() + most_s
    while not what() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert what() and process.poll() is None, "nothing to interrupt"


def gone(process: subprocess.Popen) -> None:
    """All of it, in a moment: the system may take one to end what was killed."""
    end = time.monotonic() + 10
    while session_of(process.pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert session_of(process.pid) == []


def converting(folder: Path) -> bool:
    """A worker has begun: it keeps its temporary files beside its log."""
    return any((folder / "cache" / "v1" / "logs").glob("*/*.tmp")) and any(
        (folder / "cache" / "v1" / "unfinished").glob(".*")
    )


def left_in(folder: Path) -> list[str]:
    files = [str(p.relative_to(folder)) for p in folder.rglob("*")]
    return [f for f in files if "partial" in f or ".mlpackage" in f.partition("tmp/")[2]]


def interrupt(folder: Path, number: signal.Signals) -> None:
    """End a compile while its workers convert; see that it ends well."""
    process = compiling(folder)
    wait_for(lambda: converting(folder), process)
    begun = time.monotonic()
    # Ctrl-C and a closed terminal reach workers too.
    (os.kill if number == signal.SIGTERM else os.killpg)(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - begun < 10
    assert (process.returncode, said) == (STATUS[number], LINE[number])
    gone(process)
    assert not (folder / "build").exists() and left_in(folder) == []


@pytest.mark.parametrize("number", STATUS, ids=lambda n: n.name)
@pytest.mark.parametrize("module", ["entracte.cli.compile", "entracte"])
def test_in_the_first_moments_while_modules_are_imported(tmp_path, number, module):
    words = () if module != "entracte" else ("compile",)
    process = start(tmp_path, module, *words, "+target=host", "advise=true")
    maps = Path(f"/proc/{process.pid}/maps")
    # Python's own start is over where hashlib's library is there; torch comes long after.
    wait_for(lambda: "_hashlib" in maps.read_text() or "_ssl" in maps.read_text(), process, 20)
    time.sleep(0.1)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (STATUS[number], LINE[number])


@pytest.mark.slow
@pytest.mark.parametrize("number", STATUS, ids=lambda n: n.name)
def test_while_workers_convert(whole, tmp_path, number):
    """SIGTERM alone is tried in every run, by `test_resume.py`."""
    assert whole.is_dir()  # so its traces are kept: these compiles begin with the conversions
    for kind in ("traces", "inputs", "constants", "weights"):
        kept = Path(os.environ[VARIABLE]) / LAYOUT / kind
        if kept.is_dir():
            shutil.copytree(kept, tmp_path / "cache" / LAYOUT / kind)
    interrupt(tmp_path, number)


@pytest.mark.slow
@pytest.mark.parametrize("wait_s", [0.5, 1, 2, 4, 6, 8, 10, 12, 14, 16])
def test_at_any_moment(tmp_path, wait_s):
    process = compiling(tmp_path)
    time.sleep(wait_s)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    if process.returncode != 0:
        assert (process.returncode, said) == (130, LINE[signal.SIGINT])
    gone(process)
    assert left_in(tmp_path) == []


@pytest.mark.slow
def test_workers_end_with_a_killed_command_and_the_next_one_clears_up(tmp_path):
    process = compiling(tmp_path)
    wait_for(lambda: converting(tmp_path), process)
    process.kill()
    process.communicate()
    gone(process)
    assert left_in(tmp_path) != []
    again = compiling(tmp_path)
    assert again.communicate(timeout=600) and again.returncode == 0
    assert left_in(tmp_path) == [] and (tmp_path / "build" / "plan.json").is_file()


def test_what_is_ignored_stays_ignored(tmp_path):
    """nohup: the terminal may go."""
    code = (
        "import signal, os, time; from entracte.cli.start import guarded\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "guarded(lambda: os.kill(os.getpid(), signal.SIGHUP))\n"
        "print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "done\n")


@pytest.mark.parametrize(
    "body",
    [
        "try: os.kill(os.getpid(), 15); time.sleep(60)\nexcept BaseException: time.sleep(60)",
        "threading.Thread(target=time.sleep, args=(60,)).start(); os.kill(os.getpid(), 15)",
    ],
    ids=["swallowed", "another thread"],
)
def test_nothing_holds_it_up_for_long(tmp_path, body):
    code = (
        "import os, threading, time; from pathlib import Path\n"
        "from entracte.cli.start import guarded; from entracte.disk.folder import fresh\n"
        f"def call():\n with fresh(Path({str(tmp_path)!r}), 'x'):\n  exec({body!r})\n"
        "guarded(call)"
    )
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=heard
    )
    assert (done.returncode, done.stderr) == (143, LINE[signal.SIGTERM])
    assert time.monotonic() - begun < 20 and os.listdir(tmp_path) == []


def piped(words: str) -> tuple[int, str]:
    """A command whose output nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "entracte", *words.split()]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    return done.returncode, done.stderr


def test_an_output_that_nobody_reads(tmp_path):
    from entracte.plan.file import write_plan
    from tests.planner.plans import make_plan

    write_plan(make_plan(), tmp_path)
    for words in (f"plan show {tmp_path}", f"plan graph {tmp_path}", "plan --help", "--help"):
        assert piped(words) == (128 + signal.SIGPIPE, ""), words


HUNG_UP = """
import socket, sys
from entracte.cli.start import guarded
def call():
    here, there = socket.socketpair()
    there.close()
    for _ in range(2):
        try:
            here.sendall(b"for a browser that has gone")
        except BrokenPipeError:
            print("goes on", flush=True)
guarded(call)
"""


def test_a_browser_that_hangs_up_ends_nothing():
    done = subprocess.run([sys.executable, "-c", HUNG_UP], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on\n" * 2, "")


def test_signals_are_given_back_whatever_a_command_ends_with():
    from entracte.cli.start import guarded

    before = [signal.getsignal(number) for number in (*STATUS, signal.SIGPIPE)]
    with pytest.raises(SystemExit):
        guarded(lambda: sys.exit(2))
    assert [signal.getsignal(number) for number in (*STATUS, signal.SIGPIPE)] == before


def test_an_output_on_a_full_disk(tmp_path):
    command = [sys.executable, "-m", "entracte", "--help"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: the output: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(tmp_path, closed):
    """What is opened first would get their numbers, and be written into."""
    from entracte.plan.file import write_plan
    from tests.planner.plans import make_plan

    write_plan(make_plan(), tmp_path)
    page = tmp_path / "page.html"
    words = f"{sys.executable} -m entracte plan report {tmp_path} --out {page} {closed}"
    done = subprocess.run(["/bin/sh", "-c", words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert page.read_text().rstrip().endswith("</html>")
