"""Whose work a result is: Entracte's version; digests of source, so that other code has other
cache entries."""

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

VERSION = "0.1.0"
"""Of Entracte, as pyproject.toml has it too; plans and pages name it."""

PARTS = ("declare/scheme.py", "frontend", "lower", "trace", "store/form.py", "emit/make.py",
         "emit/repair.py")  # fmt: skip
"""What of the compiler decides what a trace or a package is."""


@cache
def compiler_digest() -> str:
    """SHA-256 over the compiler's own files that are in `PARTS`."""
    root = Path(__file__).parent.parent
    return _digest(root, (f for part in PARTS for f in _files(root / part)))


@cache
def code_digest(package: str) -> str:
    """SHA-256 over the Python files of a package, or of a module's only file."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return _digest(Path(), ())
    root = Path(spec.origin).parent
    return _digest(root, _files(root if spec.submodule_search_locations else Path(spec.origin)))


def _files(place: Path) -> list[Path]:
    """A module's file, or all of a folder."""
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


def _digest(root: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(root).as_posix()} ".encode() + file.read_bytes())
    return digest.hexdigest()
