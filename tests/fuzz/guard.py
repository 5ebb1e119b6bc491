"""The process that meets hostile input, watched: what it may take, and where it may write."""

import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MEMORY_BYTES = 2 * 10**9
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "os.utime", "os.mkfifo", "shutil.rmtree", "shutil.move",
}  # fmt: skip
_STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect"}
_FREE = ("/dev/null", "/dev/shm/", "/proc/self/")
_PATHS = 2
"""At most so many of an event's arguments are paths."""


class Watch:
    """Notes what is opened for writing, changed or started outside of `roots`, and whatever
    touches `secret`. An audit hook stays for the life of its process."""

    def __init__(self, roots: Sequence[Path], secret: Path) -> None:
        self.roots = [os.path.realpath(r) + os.sep for r in roots]
        self.secret = os.path.realpath(secret) + os.sep
        self.seen: list[str] = []
        self.links = False
        """Whether `secret` may be read, by a link that a user has made."""
        self._on = False
        sys.addaudithook(self._hook)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch what happens inside."""
        self.seen.clear()
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            self._opened(arguments)
        elif event in _CHANGES:
            for path in [a for a in arguments[:_PATHS] if isinstance(a, str | bytes | os.PathLike)]:
                self._look(event, path, follow=False)
        elif event in _STARTS and not _is_own_child(event, arguments):
            self.seen.append(f"{event} {arguments[:2]!r}")

    def _opened(self, arguments: tuple[object, ...]) -> None:
        path, mode, flags = arguments
        if not isinstance(path, str | bytes | os.PathLike):
            return
        writes = (isinstance(mode, str) and bool(set(mode) & set("wax+"))) or (
            isinstance(flags, int) and bool(flags & _WRITES)
        )
        if writes:
            self._look("open", path, follow=True)
        elif not self.links and self._place(path, follow=True).startswith(self.secret):
            self.seen.append(f"read {path!r}")

    def _look(self, event: str, path: object, *, follow: bool) -> None:
        place = self._place(path, follow=follow)
        if not place.startswith((*self.roots, *_FREE)):
            self.seen.append(f"{event} {place}")

    @staticmethod
    def _place(path: object, *, follow: bool) -> str:
        try:
            text = os.fsdecode(path)
            if follow:
                return os.path.realpath(text)
            folder, name = os.path.split(os.path.abspath(text))
            return os.path.join(os.path.realpath(folder), name)
        except (ValueError, OSError):
            return "?"


def _is_own_child(event: str, arguments: tuple[object, ...]) -> bool:
    """The one process that is started on purpose: it reads pickles, behind walls of its own."""
    from entracte.store import unpickle_child

    words = arguments[1] if event == "subprocess.Popen" else None
    return isinstance(words, list) and words[:3] == [sys.executable, "-P", unpickle_child.__file__]


class Sentinel:
    """A folder that nobody has any business with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("victim.txt", "plan.json", "tokenizer.json", "text.safetensors"):
            (folder / name).write_text("nothing of yours\n")
        self._before = self._state()

    def _state(self) -> list[tuple[str, int, int, int]]:
        found = [(e.name, e.stat(follow_symlinks=False)) for e in os.scandir(self.folder)]
        return sorted((n, s.st_size, s.st_mtime_ns, s.st_ino) for n, s in found)

    def change(self) -> str | None:
        """What happened to it, once."""
        now = self._state()
        if now == self._before:
            return None
        self._before, before = now, self._before
        return f"the sentinel's folder changed: {sorted(set(before) ^ set(now))[:3]}"


def limit() -> None:
    """For the whole process: memory well above the bound, so that what breaks it is seen."""
    most = MEMORY_BYTES * 3 // 2
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextmanager
def clocked(cpu_s: float) -> Iterator[None]:
    """SIGPROF after so much of this process's processor time, whatever runs then."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def forget_peak() -> None:
    """Start measuring `peak_bytes` anew, where the system can."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return


def peak_bytes() -> int:
    """The most resident memory since `forget_peak`, or since the process began."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def own_places(scratch: Path) -> None:
    """Home, temporary files and caches of this process below one folder."""
    for name in ("home", "tmp"):
        (scratch / name).mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "HOME": str(scratch / "home"),
        "TMPDIR": str(scratch / "tmp"),
        "XDG_CACHE_HOME": str(scratch / "home" / "cache"),
    }
    tempfile.tempdir = None
    sys.dont_write_bytecode = True
