"""Paths and modules that pages and docstrings name are there; the commands of the README and of the
readers' pages can be typed."""

import re
import shlex
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


READERS = [ROOT / "docs" / f"{name}.md" for name in
           ("ships-an-app", "brings-a-model", "studies-fitting", "writes-a-runner")]  # fmt: skip


def commands(name: str) -> list[str]:
    """Lines of code blocks that begin with `name`, without comments."""
    found = {}
    for page in [ROOT / "README.md", *READERS]:
        for block in re.findall(r"^```\n(.*?)^```", page.read_text(), flags=re.S | re.M):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith(f"{name} "):
                    found[" ".join(shlex.split(line, comments=True))] = line
    return list(found.values())


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


def test_the_readme_is_short_and_the_index_has_every_page():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {p.name for p in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert not {name for name in pages if f"({name})" not in index}
    # The site's navigation too (mkdocs.yml).
    site = (ROOT / "mkdocs.yml").read_text()
    assert not {name for name in pages if not re.search(rf"[-:] {re.escape(name)}$", site, re.M)}


@pytest.mark.parametrize("command", commands("compile"))
def test_what_readers_are_told_to_compile_can_be_composed(command):
    from entracte.declare.compose import compose

    words = shlex.split(command, comments=True)[1:]
    if words[0] == "--config-dir":
        pytest.skip("a folder of the reader's")
    if words[0] == "-m":
        words = [w.partition(",")[0] for w in words[1:]]
    if words[0].startswith("search="):
        words = [w.partition(",")[0] for w in words]
    compose(words)


@pytest.mark.parametrize("command", commands("plan"))
def test_what_readers_are_told_to_do_with_a_plan_can_be_read(command):
    from typer.main import get_command

    from entracte.cli.plan import app

    words = shlex.split(command, comments=True)[1:]
    get_command(app).commands[words[0]].make_context(words[0], words[1:])
