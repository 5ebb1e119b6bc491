"""Which models the installed diffusers has, read from its source: nothing of it is imported."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FOLDERS", "models_of"]

FOLDERS = ("autoencoders", "transformers", "unets")
"""Of `diffusers.models`. ControlNets and adapters are elsewhere."""
_MIXINS = {"ModelMixin", "LegacyModelMixin"}


def models_of(folder: str) -> list[str]:
    """Names of the model classes in a folder of `diffusers.models`, sorted; empty without it."""
    found = importlib.util.find_spec("diffusers")
    if found is None or not found.submodule_search_locations:
        return []
    where = Path(found.submodule_search_locations[0]) / "models" / folder
    classes = [node for path in sorted(where.glob("*.py")) for node in _classes(path)]
    models = set(_MIXINS)
    while more := {n for n, bases in classes if n not in models and bases & models}:
        models |= more
    return sorted(models - _MIXINS)


def _classes(path: Path) -> Iterator[tuple[str, set[str]]]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            yield node.name, {base.id for base in node.bases if isinstance(base, ast.Name)}
