"""What a case is, and what came of it."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BAD = ("traceback", "hang", "memory", "outside", "silent", "unsafe")
"""Verdicts that a case must not have, and `refused` and `accepted` beside them."""


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    status: int
    out: str
    err: str
    trace: str = ""
    """Of an exception that left the command."""

    @property
    def text(self) -> str:
        """All of it."""
        return f"{self.out}{self.err}{self.trace}"


def _nothing(_: Said) -> None:
    return None


@dataclass(frozen=True)
class Door:
    """One command to try."""

    words: tuple[str, ...]
    accepted: Callable[[Said], str | None] = _nothing
    """Called when it ends well; says what is wrong with that, or None."""


@dataclass
class Case:
    """A folder with hostile files, and the commands that meet them."""

    folder: Path
    rng: random.Random
    base: Path
    """Sound things, made once for all cases: `tests/fuzz/base.py`."""
    notes: list[str] = field(default_factory=list)
    """What was done to them, for whoever reads a failure."""


@dataclass(frozen=True)
class Kind:
    """One kind of input."""

    name: str
    share: int
    """Of all cases, in hundredths."""
    ci_share: int
    """The same in the short run: what costs more gets less."""
    doors: Callable[[Case], Sequence[Door]]
    """Write the case's files; the commands to try on them, in order."""
    cpu_s: float = 10.0
    """What takes more of the processor hangs."""
    follows_links: bool = True
    """Whether a link may lead out of the folder: a user's own may, a stranger's must not."""


@dataclass(frozen=True)
class Outcome:
    """One line of results."""

    kind: str
    index: int
    verdict: str
    what: str = ""
    """What was wrong, or the last message."""
    cpu_s: float = 0.0
    memory_bytes: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_bad(self) -> bool:
        """Whether it breaks a bound."""
        return self.verdict in BAD


def rng_of(kind: str, seed: int, index: int) -> random.Random:
    """A case's own numbers, whichever cases ran before it."""
    return random.Random(f"{kind} {seed} {index}")
