"""HTML's named character references as a Swift file: what Python's `html.entities` has.

    python -m tools.make_reference_table [FILE]

One text, read once by the Swift side: each name without its `;`, `:`, its characters in
hexadecimal, `+` between two; `!` before the names that also stand without a `;`.
"""

from html.entities import html5
from pathlib import Path
from textwrap import wrap

from tools.one_word import place

FILE = (
    Path(__file__).parents[1] / "compiler" / "swift" / "Sources" / "EntracteText" / "Clean"
    / "ReferenceTable.swift"
)  # fmt: skip
_HEAD = """\
// HTML's named character references. Made by tools/make_reference_table.py; not written by hand.

/// Each name without its `;`, `:`, its characters in hexadecimal, `+` between two; `!` before the
/// names that also stand without a `;`.
let referenceTable = \"\"\"
"""


def table() -> str:
    """The file's text."""
    names = sorted(name[:-1] for name in html5 if name.endswith(";"))
    if bare := {name for name in html5 if not name.endswith(";")} - set(names):
        raise ValueError(f"names that never stand with a semicolon: {sorted(bare)}")
    entries = [
        f"{'!' if name in html5 else ''}{name}:{'+'.join(f'{ord(c):x}' for c in html5[name + ';'])}"
        for name in names
    ]
    lines = wrap(" ".join(entries), 106, break_long_words=False, break_on_hyphens=False)
    return _HEAD + "".join(f"    {line}\n" for line in lines) + '    """\n'


if __name__ == "__main__":
    place(__doc__, FILE).write_text(table(), encoding="ascii")
