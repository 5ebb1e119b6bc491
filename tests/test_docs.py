"""Paths and modules that pages and docstrings name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "compiler" / "entracte"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SOURCES = sorted(p for room in PACKAGE.iterdir() if room.name not in ("graphs", "conf")
                 for p in ([room] if room.suffix == ".py" else room.rglob("*.py")))  # fmt: skip
ROOMS = "|".join(sorted(p.name for p in PACKAGE.iterdir() if p.is_dir()))
PATH = re.compile(rf"`(?:compiler/)?(?:entracte/)?((?:(?:{ROOMS})/)[\w/]+\.py)`")
MODULE = re.compile(r"`entracte((?:\.[a-z_]+)+)\b(?!\()")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(?:#[\w-]+)?\)")


def modules(text: str) -> list[str]:
    return [name.replace(".", "/").strip("/") for name in MODULE.findall(text)]


@pytest.mark.parametrize("page", [*PAGES, *SOURCES], ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_named_is_there(page):
    text = page.read_text()
    for path in PATH.findall(text):
        assert (PACKAGE / path).is_file(), path
    for name in modules(text):
        # Its last word may be a name in the module; two are names of groups too.
        place = PACKAGE / name
        inside = place.parent.with_suffix(".py").is_file()
        module = place.is_dir() or place.with_suffix(".py").is_file()
        is_group = name == "recipes"
        assert inside or module or is_group or _is_door(name), name


def _is_door(name: str) -> bool:
    import entracte

    return hasattr(entracte, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target
