"""Tables and lines that show names as they are: no markup in them is obeyed."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from textwrap import fill, wrap

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_EDGE, _GAP = 2, 2
"""What the box below takes at both ends together, and between two columns."""
_BOUND = "\0"
"""A space at which no line is broken."""
_BEFORE_UNIT = re.compile(
    r"(?<=\d) (?=(?:h|min|s|ms|us|B|[KMGT]iB|[kMGT]?B|dB)\b|%)|(?<=\d min) (?=\d)"
)
_SHORTEST = 12
"""Letters, at least, that are left of a name."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `fitted`. Where room is short, the highest `rank` goes first; 0 stays."""

    name: str
    cells: Sequence[str]
    rank: int = 0
    left: bool = False

    @property
    def width(self) -> int:
        """Letters of the name or of the longest cell."""
        return max([len(self.name), *(len(c) for c in self.cells)])


def fitted(title: str, columns: Iterable[Column], width: int, *, total: bool = False) -> Table:
    """A table of the columns that fit into `width`. `total`: the last row is a sum.

    Where even those of rank 0 do not fit, the longest names are cut: numbers keep their digits.
    """
    shown = list(columns)
    while taken(shown) > width and any(c.rank for c in shown):
        shown.remove(max(shown, key=lambda c: c.rank))
    shown = _cut(shown, taken(shown) - width)
    table = grid(title, (), ())
    for c in shown:
        table.add_column(c.name, justify="left" if c.left else "right", no_wrap=True)
    rows = list(zip(*(c.cells for c in shown), strict=True))
    for i, cells in enumerate(rows):
        if total and i + 1 == len(rows):
            table.add_section()
        row(table, *cells)
    return table


def _cut(columns: list[Column], excess: int) -> list[Column]:
    """The column with the longest names, shorter by `excess`, but not below `_SHORTEST`."""
    longest = max((c for c in columns if c.left), key=lambda c: c.width, default=None)
    if excess <= 0 or longest is None:
        return columns
    room = max(_SHORTEST, longest.width - excess)
    cells = [c if len(c) <= room else c[: room - 1] + "…" for c in longest.cells]
    return [replace(c, cells=cells) if c is longest else c for c in columns]


def taken(columns: Sequence[Column]) -> int:
    """Columns of the terminal that a table of these takes."""
    return _EDGE + sum(c.width for c in columns) + _GAP * (len(columns) - 1)


def grid(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    """An empty table: columns with text, then columns with numbers."""
    table = Table(
        title=Text(title),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        collapse_padding=True,
        padding=(0, 1),
    )
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def row(table: Table, *cells: str) -> None:
    """Add cells literally."""
    table.add_row(*(Text(cell) for cell in cells))


def say(console: Console, *lines: str, style: str = "") -> None:
    """Print lines literally, wrapped at the console's width, but never within a word: what is
    longer is a path or a command that somebody will copy."""
    for line in (one for given in lines for one in given.split("\n")):
        for part in _wrapped(line, console.width):
            alone = len(part.split()) == 1
            console.print(Text(part, style=style), soft_wrap=alone and len(part) > console.width)


def _wrapped(line: str, width: int) -> list[str]:
    """The line, or lines of it where it is longer than `width`; a number stays with its unit."""
    if len(line) <= width:
        return [line]
    bound = _BEFORE_UNIT.sub(_BOUND, line)
    parts = wrap(bound, width, break_long_words=False, break_on_hyphens=False)
    return [part.replace(_BOUND, " ") for part in parts]


def listed(names: Sequence[str], room: int) -> str:
    """`a, b, c and 4 more`: as many as fit into `room` columns, at least one."""
    shown = list(names)
    while len(shown) > 1 and len(_sentence(shown, len(names))) > room:
        shown.pop()
    return _sentence(shown, len(names))


def _sentence(shown: Sequence[str], count: int) -> str:
    left = count - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left else "")


def hanging(label: str, text: str) -> str:
    """Wrapped at 80 columns, behind a label of eight letters; a number stays with its unit."""
    bound = _BEFORE_UNIT.sub(_BOUND, text)
    lines = fill(bound, 80, initial_indent=label, subsequent_indent=" " * 8,
                 break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return lines.replace(_BOUND, " ")
