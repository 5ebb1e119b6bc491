"""Digests of the source that results depend on: other code, other cache entries."""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PARTS = ("frontend", "lower", "trace", "form.py", "make.py")
"""What of the compiler decides what a trace or a package is."""


@cache
def code_digest(package: str) -> str:
    """SHA-256 over the Python files of a top-level package; of the compiler, of `PARTS` only."""
    spec = find_spec(package)
    digest = hashlib.sha256()
    if spec is None or spec.origin is None:
        return digest.hexdigest()
    root = Path(spec.origin).parent
    # A module of its own is only its file.
    files = sorted(root.rglob("*.py")) if spec.submodule_search_locations else [Path(spec.origin)]
    for file in files:
        place = file.relative_to(root)
        if package == "compiler" and place.parts[0] not in PARTS:
            continue
        digest.update(f"{place.as_posix()} ".encode() + file.read_bytes())
    return digest.hexdigest()
