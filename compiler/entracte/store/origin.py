"""Digests of the source that results depend on: other code, other cache entries."""

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PARTS = ("declare/scheme.py", "frontend", "lower", "trace", "store/form.py", "emit/make.py")
"""What of the compiler decides what a trace or a package is."""


@cache
def compiler_digest() -> str:
    """SHA-256 over the compiler's own files that are in `PARTS`."""
    root = Path(__file__).parent.parent
    return _digest(root, [file for part in PARTS for file in _files(root / part)])


@cache
def code_digest(package: str) -> str:
    """SHA-256 over the Python files of a package, or of a module's only file."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return _digest(Path(), ())
    root = Path(spec.origin).parent
    return _digest(root, _under(root) if spec.submodule_search_locations else [Path(spec.origin)])


def _files(part: Path) -> list[Path]:
    return [part] if part.suffix == ".py" else _under(part)


def _under(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _digest(root: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(root).as_posix()} ".encode() + file.read_bytes())
    return digest.hexdigest()
