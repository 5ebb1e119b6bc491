"""How progress is told: the words of a `Progress`, and what was chosen by flags."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from textwrap import fill

from rich.text import Text

from entracte.errors import ConfigError
from entracte.progress.values import PhaseTime, Progress
from entracte.progress.words import amount, left, turn
from entracte.units import format_seconds

FORMS = ("auto", "lines", "json", "none")
EVERY_S = 10.0
"""Lines, where nothing happens; `json` too."""
OFTEN_S = 0.5
"""Objects of `json`, at most, while units end."""
_BAR = 24
_BOUND = "\0"
"""A space at which no line is broken."""


@dataclass(frozen=True)
class How:
    """How progress is told."""

    form: str = "auto"
    """One of `FORMS`; `auto` is a bar in a terminal and lines elsewhere."""
    verbose: bool = False
    """Every unit is told as it is done."""


def how_of(form: str | None, *, quiet: bool, verbose: bool) -> How:
    """What the flags say. Raises `ConfigError` for flags that exclude each other."""
    if form is not None and form not in FORMS:
        raise ConfigError(f"--progress {form}: not one of {', '.join(FORMS)}")
    if quiet and (verbose or form not in (None, "none")):
        other = "--verbose" if verbose else f"--progress {form}"
        raise ConfigError(f"--quiet tells no progress and {other} asks for it; leave one out")
    if verbose and form not in (None, "auto", "lines"):
        raise ConfigError(f"--verbose tells progress in lines, not as {form}; leave one out")
    return How("none" if quiet else form or ("lines" if verbose else "auto"), verbose)


def taken(words: Sequence[str]) -> tuple[How, list[str]]:
    """The flags of `compile` among its words, and the words that are left for Hydra."""
    rest: list[str] = []
    form: str | None = None
    flags = {"--quiet": False, "--verbose": False}
    waiting = iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if word in flags:
            flags[word] = True
        elif name == "--progress":
            form = value if equals else next(waiting, "")
        else:
            rest.append(word)
    return how_of(form, quiet=flags["--quiet"], verbose=flags["--verbose"]), rest


# ---------------------------------------------------------------- words


def _clock(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def bar_text(p: Progress, width: int) -> Text:
    """Two lines for a terminal of so many columns: the whole job, then what runs now."""
    full = int(p.share * _BAR)
    first = Text("━" * full, style="green").append("─" * (_BAR - full), style="dim")
    first.append(f"  {int(100 * p.share)} %  {_clock(p.seconds)}")
    if told := left(p):
        first.append(f", {told}")
    second = Text("  ".join(t for t in (p.phase, turn(p.loop) or amount(p), p.name) if t))
    for line in (first, second):
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join((first, second))


def line_text(p: Progress) -> str:
    """One line, where there is no terminal."""
    parts = (turn(p.loop) or amount(p), p.name)
    what = ", ".join(t for t in parts if t)
    whole = f"{int(100 * p.share)} % of all in {_clock(p.seconds)}"
    told = left(p)
    return f"{p.phase}: {what}; {whole}{f', {told}' if told else ''}"


def json_text(event: str, p: Progress) -> str:
    """One object: see docs/progress.md."""
    return json.dumps({"event": event, **asdict(p)})


def json_end(phases: Sequence[PhaseTime], seconds: float, *, ok: bool) -> str:
    """The last object."""
    told = [{"phase": t.phase, "seconds": t.seconds, "work": t.work} for t in phases]
    return json.dumps({"event": "end", "ok": ok, "seconds": seconds, "phases": told})


def times_text(phases: Sequence[PhaseTime], width: int) -> str:
    """What phases took: `phases  trace 12.1 s, plan 410 ms`; a name stays with its seconds."""
    told = [f"{t.phase} {format_seconds(t.seconds)}".replace(" ", _BOUND) for t in phases]
    lines = fill(f"phases  {', '.join(told)}", width, subsequent_indent=" " * 8)
    return lines.replace(_BOUND, " ")
