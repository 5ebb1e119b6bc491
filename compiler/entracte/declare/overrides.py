"""A word of `compile`: GROUP=NAME or KEY=VALUE, as Hydra takes it; and what is said of one that it
cannot read."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from antlr4 import CommonTokenStream, InputStream
from antlr4.error.ErrorListener import ErrorListener
from hydra.grammar.gen.OverrideLexer import OverrideLexer
from hydra.grammar.gen.OverrideParser import OverrideParser

from entracte.declare.settings import CompileSettings
from entracte.errors import ConfigError

APPENDED = "target"
"""The group that is in no list of defaults: Hydra wants a plus before it."""
_FAMILY = ("target", "pipeline", "policy", "sampler", "guidance", "compression",
           "partition")  # fmt: skip
"""Groups of `conf/`, in the order of what they say."""
_CHOICE = re.compile(rf"\+{{0,2}}(?P<group>{'|'.join(_FAMILY)})=(?P<rest>[^{{].*)", re.DOTALL)
"""GROUP=NAME; a value in braces is one of keys."""
_TRIALS = re.compile(r"search=([^{].*)", re.DOTALL)
"""The same as `search.trials=`."""
_FROM = re.compile(r"(\+{0,2})target\.from=(.*)", re.DOTALL)
"""The same as `target.from_run=`: a field cannot have a word of Python's as its name."""
_PAIRS = {"[": "]", "{": "}", "(": ")"}


def choices(folders: Iterable[Path] = ()) -> dict[str, list[str]]:
    """Group -> the names that may be chosen: files that Entracte brings, and those of `folders`."""
    found = {}
    for group in _FAMILY:
        names = {Path(f.name) for f in (files("entracte.conf") / group).iterdir()}
        for folder in folders:
            if (folder / group).is_dir():
                names |= {Path(f.name) for f in (folder / group).iterdir()}
        found[group] = sorted(n.stem for n in names if n.suffix == ".yaml")
    return found


def with_plus(words: Sequence[str]) -> list[str]:
    """The words as Hydra wants them: a plus before the target, none before other groups. A user
    need not know which group is in the list of defaults.

    Raises `ConfigError` for a value without a key, which Hydra takes for a group's.
    """
    for word in words:
        if word.lstrip("+~").startswith("="):
            raise ConfigError(f"configuration: {unreadable(word)}")
    return [_spelled(word) for word in words]


def as_typed(words: Sequence[str]) -> str:
    """Words of Hydra as one line that a user would type: groups without a plus, quotes for the
    shell."""
    chosen = (_CHOICE.fullmatch(word) for word in words)
    return shlex.join(
        f"{found['group']}={found['rest']}" if found else word
        for found, word in zip(chosen, words, strict=True)
    )


def _spelled(word: str) -> str:
    if (trials := _TRIALS.fullmatch(word)) is not None:
        return f"search.trials={trials[1]}"
    if (runs := _FROM.fullmatch(word)) is not None:
        return f"{runs[1]}target.from_run={runs[2]}"
    found = _CHOICE.fullmatch(word)
    if found is None:
        return word
    plus = "+" if found["group"] == APPENDED else ""
    return f"{plus}{found['group']}={found['rest']}"


# ---------------------------------------------------------------- what cannot be read


def unreadable(word: str) -> str:
    """What is wrong with a word that Hydra's grammar refuses, and what to write."""
    key, equals, value = word.partition("=")
    if not equals:
        return f"{word!r} is no KEY=VALUE{_meant(word)}"
    if not key.strip("+~"):
        return f"{word!r} has no key; write KEY=VALUE, without spaces around the `=`"
    place = f"{word!r} cannot be read{_at(word)}"
    if (missing := _open(value)) is not None:
        return f"{place}: {missing}"
    if "'" in value or '"' in value:
        return f"{place}: for the shell, quote the whole word too: '{key}=\"VALUE\"'"
    return f"{place}: quote the value, and for the shell the whole word: '{key}=\"{value}\"'"


def _meant(word: str) -> str:
    """What somebody may mean who gives a name alone."""
    bare = word.lstrip("+~-")
    offered = {name: f"{group}={name}" for group, names in choices().items() for name in names}
    for field in fields(CompileSettings):
        value = "true" if field.type is bool else "NAME" if field.name in _FAMILY else "VALUE"
        offered.setdefault(field.name, f"{field.name}={value}")
    near = get_close_matches(bare, offered, n=1, cutoff=0.75)
    if near:
        return f"; did you mean {offered[near[0]]}?"
    return "; see `compile --help` for what there is"


def _at(word: str) -> str:
    """Where: at the end, or from which letters on; nothing for a function that there is not."""
    column = _fault_column(word)
    if column is None:
        return ""
    return " at its end" if column >= len(word) else f" from {word[column:][:40]!r} on"


class _First(ErrorListener):  # type: ignore[misc]
    """Notes where the first fault is."""

    def __init__(self) -> None:
        super().__init__()
        self.column: int | None = None

    def syntaxError(self, *told: Any) -> None:  # noqa: N802
        """`told`: the parser, the letters there, their line and column, and more."""
        if self.column is None:
            self.column = told[3]


def _fault_column(word: str) -> int | None:
    """Letters before the first that Hydra's grammar does not expect; None where all are."""
    first = _First()
    lexer = OverrideLexer(InputStream(word))
    lexer.removeErrorListeners()
    lexer.addErrorListener(first)
    parser = OverrideParser(CommonTokenStream(lexer))
    parser.removeErrorListeners()
    parser.addErrorListener(first)
    parser.override()  # type: ignore[no-untyped-call]
    return first.column


def _open(value: str) -> str | None:
    """The bracket or quote that is not closed."""
    wanted: list[str] = []
    quote = ""
    for letter in value:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in _PAIRS:
            wanted.append(_PAIRS[letter])
        elif wanted and letter == wanted[-1]:
            wanted.pop()
    if quote:
        return f"a quote is open: close it with {quote}"
    return f"a bracket is open: close it with {wanted[-1]}" if wanted else None
