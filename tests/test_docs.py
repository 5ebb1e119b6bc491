"""What pages name is there: paths, modules, headings, pictures; commands of the README and of the
readers' pages can be typed."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tools.docs_pictures import commands as commands_of_pictures
from tools.docs_site import opened
from tools.gallery import SHOWN
from tools.page_links import faults, markdown_faults, site_faults

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "compiler" / "entracte"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SOURCES = sorted(p for room in PACKAGE.iterdir() if room.name not in ("graphs", "conf")
                 for p in ([room] if room.suffix == ".py" else room.rglob("*.py")))  # fmt: skip
ROOMS = "|".join(sorted(p.name for p in PACKAGE.iterdir() if p.is_dir()))
PATH = re.compile(rf"`(?:compiler/)?(?:entracte/)?((?:(?:{ROOMS})/)[\w/]+\.py)`")
MODULE = re.compile(r"`entracte((?:\.[a-z_]+)+)\b(?!\()")

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


def test_links_lead_somewhere():
    """To a file, and to a heading of it."""
    assert markdown_faults() == []


def test_a_link_that_leads_nowhere_is_told(tmp_path):
    """Anchors as GitHub makes them: https://docs.github.com, *Section links*."""
    (tmp_path / "other.md").write_text("# Title\n\n## A `b` & c\n\n## Title\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](other.md#title) [b](other.md#a-b--c) [c](other.md#title-1) [d](#here)\n"
        "[e](https://example.org/x#y) ![f](gone.png) [g](other.md#titles) `[h](no.md)` [i](#her)\n"
        "| [j](none.md) |\n|---|\n| [k](../../out.md) |\n"
    )
    assert faults([page], tmp_path) == [
        "page.md: gone.png (there is no such file)",
        "page.md: other.md#titles (other.md has no such heading)",
        "page.md: #her (page.md has no such heading)",
        "page.md: none.md (there is no such file)",
        "page.md: ../../out.md (leads out)",
    ]


def test_links_of_the_built_site_are_followed_too(tmp_path):
    (tmp_path / "404.html").write_text("<a href='/entracte/index.html'>start</a>")
    (tmp_path / "a.html").write_text(
        "<h1 id='x'>A</h1><a href='b.html#y'>b</a><a href='b.html#z'>b</a><a href='#x'>x</a>"
        "<img src='no.png'><script src='https://example.org/s.js'></script><a href='b.html?q'>b</a>"
    )
    (tmp_path / "b.html").write_text("<h2 id='y'>B</h2>")
    assert site_faults(tmp_path) == [
        "a.html: b.html#z (b.html has no such heading)",
        "a.html: no.png (there is no such file)",
    ]


# ---------------------------------------------------------------- pictures, the gallery, the site


def test_every_picture_has_a_maker_and_a_page():
    """One command for each; what a page shows is there (links), and what is there is shown."""
    there = {p.name for p in (ROOT / "docs" / "pictures").iterdir()}
    makers = commands_of_pictures()
    assert not there - set(makers)
    for command in {makers[name] for name in there}:
        module = re.search(r"python -m tools\.(\w+)", command)[1]
        assert (ROOT / "tools" / f"{module}.py").is_file(), command
    shown = " ".join(page.read_text() for page in PAGES)
    assert not {name for name in there if f"pictures/{name}" not in shown}


def test_the_gallery_tells_the_commands_that_make_it():
    """A block and a picture for each report."""
    text = (ROOT / "docs" / "gallery.md").read_text()
    blocks = re.findall(r"^```\n(.*?)\n```$", text, flags=re.S | re.M)
    assert [tuple(b.splitlines()) for b in blocks] == [s.commands for s in SHOWN]
    pictures = re.findall(r"\(pictures/gallery_(\w+)\.png\)", text)
    assert pictures == [s.name for s in SHOWN]


def test_the_sites_gallery_leads_to_the_reports_that_are_made():
    text = "![A](pictures/gallery_demo.png)\n![B](pictures/gallery_flux.png)"
    assert opened(text, {"demo"}) == (
        "[![A](pictures/gallery_demo.png)](reports/demo.html)\n![B](pictures/gallery_flux.png)"
    )


def test_the_sites_workflow_makes_the_gallery_and_builds_strictly():
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text())
    runs = [s["run"] for s in steps["jobs"]["site"]["steps"] if "run" in s]
    told = (ROOT / "CONTRIBUTING.md").read_text()
    last = [line.strip() for line in runs[-1].splitlines()]
    assert last == [".venv/bin/python -m tools.gallery", ".venv/bin/mkdocs build --strict"]
    assert all(line in told for line in last)


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


def test_pages_choose_a_target_without_a_plus():
    """Both work; pages, messages and plans show one. The README's first command stays as it is."""
    found = [
        (page.name, line)
        for page in [*PAGES, *sorted((ROOT / "conf").rglob("*.yaml"))]
        for line in page.read_text().splitlines()
        if "+target=" in line
    ]
    assert [name for name, _ in found] == ["CHANGELOG.md", "README.md", "command-line.md"]
    assert found[1][1].startswith("python3.11 -m venv .venv && ")
