"""A Swift toolchain for the runner in `compiler/swift`: the system's own, or one in a folder.

    python -m tools.swift_toolchain make            # the folder, once: a minute, 3 GB, as root
    python -m tools.swift_toolchain swift test      # `swift ARGS` in compiler/swift
    python -m tools.swift_toolchain exec COMMAND    # anything else with the toolchain

Where `swift` is on the PATH (a Mac, a Linux with Swift) that one is taken and nothing is made.
Elsewhere Debian 13 has Swift 6.0.3; it is unpacked into a folder and entered by chroot, with this
clone, /tmp, /proc and /dev at the same places as outside, in a mount namespace of its own that is
gone with the process. Standard library only: it runs before anything is installed.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
PACKAGE = CLONE / "compiler" / "swift"
BUILD = PACKAGE / ".build"
ROOT_VARIABLE = "ENTRACTE_SWIFT_ROOT"
USUAL_ROOT = Path("/var/cache/entracte/swift-debian13")
WHOLE = ".entracte-whole"
"""Written last into the root: without it the root is half made."""
OPTIMIZED = ("-c", "release", "-Xswiftc", "-enable-testing")
"""One build for the tests, the command and what is measured."""
_PACKAGES = ("swiftlang", "libc6-dev", "libstdc++-14-dev", "git", "zlib1g-dev")

_ENTER = """
set -e
root="$1"; place="$2"; clone="$3"; shift 3
for bound in /proc /dev /tmp "$clone"; do
  mkdir -p "$root$bound"
  mount --rbind "$bound" "$root$bound"
done
exec chroot "$root" /usr/bin/env -C "$place" "$@"
"""


@dataclass(frozen=True)
class Toolchain:
    """Where Swift is: `root` is the folder to enter, None where it is on the PATH."""

    root: Path | None

    def command(self, *words: str | Path, place: Path = PACKAGE) -> list[str]:
        """A command line that runs `words` with the toolchain, in a folder of this clone or of
        /tmp."""
        given = [str(w) for w in words]
        if self.root is None:
            return ["env", "-C", str(place), *given]
        enter = ["unshare", "--mount", "--propagation", "private", "bash", "-c", _ENTER, "enter"]
        return [*enter, str(self.root), str(place), str(CLONE), *given]

    def swift(self, verb: str, *words: str | Path) -> list[str]:
        """`swift VERB` on the runner's package, optimized, into the clone's build folder."""
        return self.command("swift", verb, *OPTIMIZED, "--scratch-path", BUILD, *words)

    @property
    def products(self) -> Path:
        """The folder with what `swift build` made."""
        return BUILD / "release"


def root_folder() -> Path:
    """Where the root is, or would be."""
    return Path(os.environ.get(ROOT_VARIABLE, USUAL_ROOT)).absolute()


def find() -> Toolchain | None:
    """The toolchain of this machine; None where there is none."""
    if shutil.which("swift"):
        return Toolchain(None)
    root = root_folder()
    if (root / WHOLE).is_file() and os.geteuid() == 0 and shutil.which("unshare"):
        return Toolchain(root)
    return None


@contextmanager
def one_at_a_time(file: Path) -> Iterator[None]:
    """Of several processes that name this file, the others wait."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_root() -> Path:
    """Debian 13 with Swift, made once. Raises `RuntimeError` where that cannot be."""
    root = root_folder()
    if os.geteuid() != 0:
        raise RuntimeError("a root folder is made and entered by root only; install Swift instead")
    with one_at_a_time(root.parent / ".lock"):
        if not (root / WHOLE).is_file():
            _unpack(root)
    return root


def _unpack(root: Path) -> None:
    if shutil.which("debootstrap") is None:
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", "debootstrap")
    shutil.rmtree(root, ignore_errors=True)
    _run("debootstrap", "--variant=minbase", "--include=ca-certificates", "trixie", str(root))
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *_PACKAGES]
    _run("chroot", str(root), *install)
    _run("chroot", str(root), "apt-get", "clean")
    (root / WHOLE).touch()


def _run(*words: str) -> None:
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-5:])
        raise RuntimeError(f"{' '.join(words[:2])} failed with {done.returncode}:\n{tail}")


def main(words: Sequence[str]) -> int:
    """The command; the exit status."""
    verb, rest = (words[0], words[1:]) if words else ("", ())
    if verb == "make":
        try:
            print(make_root() if find() is None else "there is a toolchain")
        except (OSError, RuntimeError) as error:
            print(f"no Swift toolchain: {error}", file=sys.stderr)
            return 1
        return 0
    found = find()
    if found is None:
        print("no Swift toolchain: `python -m tools.swift_toolchain make`", file=sys.stderr)
        return 1
    if verb == "swift" and rest:
        return subprocess.run(found.swift(*rest)).returncode
    if verb == "exec" and rest:
        return subprocess.run(found.command(*rest, place=Path.cwd())).returncode
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
