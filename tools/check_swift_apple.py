"""Type-check the Swift runner's Core ML side where there is no Core ML.

    python -m tools.check_swift_apple [--modules FOLDER] [--scratch FOLDER] [FILE...]
    python -m tools.check_swift_apple compiler/swift/App/*.swift    # the example app too

Stub modules (`compiler/swift/Stubs`, what we use of Apple's frameworks, in our own words) and the
package's own modules are built, then the sources of `EntracteCoreML` are checked against them, all
with language mode 6. It finds wrong names, labels, types, `async` and `throws`, as far as the stubs
say what Apple's pages say. What is available since when is `lint_swift_availability.py`'s matter.
FILE: other sources that import `EntracteCoreML`, such as an app's, checked after it.

Exit status: 0 if all is well, 1 if not, 2 without a toolchain (`tools/swift_toolchain.py`).
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.swift_toolchain import PACKAGE, Toolchain, find

STUBS = (
    "CoreGraphics",
    "CoreVideo",
    "CoreMedia",
    "CoreML",
    "Darwin",
    "ImageIO",
    "Metal",
    "UIKit",
    "os",
    "AVFoundation",
    "UniformTypeIdentifiers",
    "SwiftUI",
    "AVKit",
)
"""In the order in which they may import each other."""

OWN = ("EntractePlan", "EntracteText", "EntracteRuntime", "EntracteMedia")
"""Modules of the package that the Core ML side imports, in that order too."""

MODE = ("-swift-version", "6", "-package-name", PACKAGE.name)
"""As SwiftPM builds it: a package is called like its folder."""


class Refused(Exception):
    """What the compiler says of something that it does not take."""


class Compiler:
    """The Swift compiler of a toolchain."""

    def __init__(self, chain: Toolchain) -> None:
        self._chain = chain

    def run(self, *arguments: str) -> str:
        """Compile; gives the warnings. Raises `Refused`."""
        command = self._chain.command("swiftc", *arguments)
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise Refused(made.stdout + made.stderr)
        return made.stdout + made.stderr


def build_stubs(swift: Compiler, scratch: Path, package: Path) -> None:
    """Modules of the stubs into `scratch`; like Apple's they know nothing of language mode 6."""
    strays = {f.stem for f in sources(package / "Stubs")} ^ set(STUBS)
    assert not strays, f"stubs without a row in STUBS, or rows without one: {sorted(strays)}"
    for name in STUBS:
        emit(swift, scratch, name, [package / "Stubs" / f"{name}.swift"], ["-swift-version", "5"])


def build_own(swift: Compiler, own: Path, package: Path) -> None:
    """Modules of the package that the Core ML side imports. They see what Linux has: no stubs."""
    own.mkdir(exist_ok=True)
    for name in OWN:
        emit(swift, own, name, sources(package / "Sources" / name), [*MODE, "-I", str(own)])


def emit(swift: Compiler, folder: Path, name: str, files: list[Path], flags: list[str]) -> str:
    kind = [] if any(f.name == "main.swift" for f in files) else ["-parse-as-library"]
    return swift.run(
        "-emit-module", *kind, "-module-name", name, *flags, "-I", str(folder),
        "-o", str(folder / f"{name}.swiftmodule"), *map(str, files),
    )  # fmt: skip


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.swift"))


def check(swift: Compiler, scratch: Path, own: Path, core: list[Path], more: list[Path]) -> str:
    """Type-check the sources of the Core ML side, and `more` with it as a module.

    Gives the warnings; raises `Refused`.
    """
    ways = ["-I", str(scratch), "-I", str(own)]
    # Not `-typecheck`: who may use what from which task is looked at behind it.
    said = emit(swift, scratch, "EntracteCoreML", core, [*MODE, *ways])
    if more:
        said += emit(swift, scratch, "More", more, [*MODE, *ways])
    return said


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scratch", type=Path, help="where modules go; a new folder without it")
    parser.add_argument("--modules", type=Path, help="where the package's modules are built")
    parser.add_argument("--package", type=Path, default=PACKAGE, help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*", type=Path)
    given = parser.parse_args(arguments)
    chain = find()
    if chain is None:
        print("no Swift toolchain: `python -m tools.swift_toolchain make`")
        return 2
    swift = Compiler(chain)
    with tempfile.TemporaryDirectory() as made:
        scratch = given.scratch or Path(made)
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            build_stubs(swift, scratch, given.package)
            own = given.modules or scratch / "own"
            if not given.modules:
                build_own(swift, own, given.package)
            core = sources(given.package / "Sources" / "EntracteCoreML")
            said = check(swift, scratch, own, core, [f.absolute() for f in given.files])
        except Refused as refused:
            sys.stdout.write(str(refused))
            return 1
    sys.stdout.write(said)
    print("the Core ML side type-checks against the stubs; it was not run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
