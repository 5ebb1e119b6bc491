"""One word per thing in what users see (docs/glossary.md): retired words are refused.

Looked at: string literals of the commands and of what they show, the report's templates and
scripts, and the prose of docs/ and README. Not looked at: docstrings and comments, code in docs
(blocks and `inline`), and the few literals in `PERMITTED`, which are names in files.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "compiler" / "entracte"

RETIRED = {
    r"(?i:makespans?)": "predicted time",
    r"(?i:stall(s|ed|ing)?)": "wait, waiting",
    r"(?i:resident)": "loaded (in memory now) or kept (over a loop)",
    r"exec": "call",
    r"(?i:slots?)": "slice",
    r"gate (of )?\d+ dB": "floor",
    r"(?i:steps? \d+ (of|to) \d+)": "iteration",
    r"(?i:bytes loaded|loaded bytes)": "read",
    r"(?i:kept for)": "kept (over a loop)",
    r"(?i:claimed/observed|times? claimed)": "planned; predicted time",
    r"\d[\d.,]* ?(kB|KB|MB|GB)": "B, KiB, MiB, GiB",
}
"""Regular expression of a retired word -> the word to use."""

PERMITTED = {
    # Figures by their names in `plan compare --json`.
    ("cli/compare.py", "makespan"),
    ("cli/plan.py", "makespan"),
    ("inspect/compare.py", "makespan"),
    ("inspect/compare.py", "stall"),
    ("inspect/compare.py", "exec"),
    ("report/pair.py", "makespan"),
    # Kinds of memory, in `plan show --json` and the report's data.
    ("cli/held.py", "resident"),
    ("inspect/residency.py", "resident"),
    ("report/track.py", "resident"),
    ("report/assets/controls.js", "resident"),
    ("report/assets/memory.js", "resident"),
    # A state in the online rule's specification; the system's measure of a process's memory.
    ("docs/online-rule.md", "resident"),
    ("docs/overlap.md", "resident"),
    # Limits and a target's figures as they were typed.
    ("docs/glossary.md", "3.3 GB"),
    ("docs/inspect.md", "1500 MB"),
    ("docs/inspect.md", "8 GB"),
    ("docs/planner.md", "1.5 GB"),
    ("docs/planner.md", "3.3 GB"),
    ("docs/cost-model.md", "3.3 GB"),
    ("docs/on-device-sora.md", "3.3 GB"),
    ("docs/reproduction.md", "3.3 GB"),
    ("docs/reproduction.md", "650 MB"),
    ("docs/reproduction.md", "118 MB"),
    ("docs/studies-fitting.md", "3.3 GB"),
    # What others published.
    ("docs/reproduction.md", "170 MB"),
    ("docs/on-device-sora.md", "23 GB"),
    ("docs/on-device-sora.md", "4.76 GB"),
    ("docs/techniques.md", "4.76 GB"),
}
"""(file, words): where a retired word is a name in a file, or another's word."""

SHOWN = sorted(
    [
        *(PACKAGE / "cli").glob("*.py"),
        *(PACKAGE / "inspect").glob("*.py"),
        *(PACKAGE / "report").glob("*.py"),
        *(PACKAGE / "ui").glob("*.py"),
        PACKAGE / "advise.py",
    ]
)
PAGES = sorted((PACKAGE / "report").glob("templates/*.html"))
SCRIPTS = sorted(p for p in (PACKAGE / "report" / "assets").glob("*.js") if p.name != "vendor.js")
PROSE = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]


def python_texts(source: str) -> Iterator[str]:
    """All string literals but docstrings and keys of look-ups."""
    tree = ast.parse(source)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            for inner in block if isinstance(block, list) else []:
                if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant):
                    skipped.add(id(inner.value))
    for node in ast.walk(tree):
        value = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and id(node) not in skipped:
            yield value


_ID = re.compile(r"[a-z]+(-[a-z]+)+|[#.$-][\w#.-]+|[a-z]+(_[a-z]+)+")
"""An id, a class, a selector, a field: nothing that is read by people."""


def page_texts(source: str) -> Iterator[str]:
    """Text between tags, attributes that are read out, and strings in expressions."""
    plain = re.sub(r"\{#.*?#\}", "", source, flags=re.S)
    for expression in re.findall(r"\{[{%](.*?)[%}]\}", plain, flags=re.S):
        yield from re.findall(r'"([^"]*)"', expression)
    plain = re.sub(r"\{[{%].*?[%}]\}", " ", plain, flags=re.S)
    yield from re.findall(r'(?:aria-label|title|placeholder|alt)="([^"]*)"', plain)
    yield re.sub(r"<[^>]*>", " ", plain)


def script_texts(source: str) -> Iterator[str]:
    """String literals of a script, and the text of its templates without what is filled in."""
    plain = re.sub(r"//[^\n]*|/\*.*?\*/", "", source, flags=re.S)
    for text in re.findall(r"'((?:[^'\\\n]|\\.)*)'", plain):
        yield text
    for text in re.findall(r"`([^`]*)`", plain):
        yield re.sub(r"\$\{[^{}]*\}", " ", text)


def prose_texts(source: str) -> Iterator[str]:
    """Paragraphs and tables without code and without addresses."""
    plain = re.sub(r"^```.*?^```", "", source, flags=re.S | re.M)
    plain = re.sub(r"^( {4}).*$", "", plain, flags=re.M)
    plain = re.sub(r"`[^`]*`", "CODE", plain)
    yield re.sub(r"\]\([^)]*\)", "]", plain)


def faults(path: Path, texts: Iterator[str]) -> list[str]:
    name = str(path.relative_to(PACKAGE if PACKAGE in path.parents else ROOT))
    allowed = {word for file, word in PERMITTED if file == name}
    found = []
    for text in texts:
        if _ID.fullmatch(text) or text in allowed:
            continue
        for pattern, use in RETIRED.items():
            matches = re.finditer(rf"\b(?:{pattern})\b", text)
            found += [
                f"{name}: {match[0]!r} in {_around(text, match)!r}: say {use}"
                for match in matches
                if match[0] not in allowed
            ]
    return found


def _around(text: str, match: re.Match[str]) -> str:
    return " ".join(text[max(0, match.start() - 30) : match.end() + 30].split())


@pytest.mark.parametrize(
    ("files", "texts"),
    [
        (SHOWN, python_texts),
        (PAGES, page_texts),
        (SCRIPTS, script_texts),
        (PROSE, prose_texts),
    ],
    ids=["python", "pages", "scripts", "prose"],
)
def test_no_retired_word_is_shown(files, texts):
    assert files
    found = [f for p in files for f in faults(p, texts(p.read_text()))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("texts", "source"),
    [
        (python_texts, 'def f():\n    """The makespan."""\n    say(f"a stall of {x}")\n'),
        (page_texts, '<b id="stall" title="a stall">ok</b>{{ m.num(f.stall_s, 1) }}'),
        (page_texts, '{{ m.head("makespan") }}'),
        (script_texts, "const a = `step ${n + 1} 3 of 4`; say('step 3 of 4');"),
        (prose_texts, "Fine: `stall_s`.\n\n```\nmakespan\n```\n\nIt takes 3.5 MB.\n"),
    ],
)
def test_the_walk_finds_what_is_shown_and_only_that(texts, source):
    assert len(faults(ROOT / "docs" / "made-up.md", texts(source))) == 1


def test_permitted_places_are_used():
    """A name that has gone is no exception any more."""
    for file, word in PERMITTED:
        path = next(p for p in (PACKAGE / file, ROOT / file) if p.exists())
        assert word in path.read_text(), f"{file} has no {word!r}"
