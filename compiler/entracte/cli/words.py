"""The words after `compile`, before Hydra reads them: options first, each in the form it takes."""

import io
import os
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import fields
from difflib import get_close_matches

from hydra._internal.utils import get_args_parser

from entracte.declare.overrides import with_plus
from entracte.declare.settings import CompileSettings
from entracte.errors import ConfigError

_SETTING = re.compile(r"[+~]{0,2}[A-Za-z_][\w/.@:]*=.*", re.DOTALL)
_OF_ITS_OWN = ("--config-name", "-cn", "--config-path", "-cp")
"""With these Hydra composes from another file, in which the target may have a default."""
_MAY_TAKE = ("--info", "-i")
_LINE = "COMP_LINE"
"""Where a shell that completes says what is typed so far."""
_OPTIONS = (
    "--multirun (-m), --config-dir, --config-name, --cfg, --info, --quiet, --verbose, --progress, "
    "--version, --help (-h)"
)


def hydra_words(words: Sequence[str]) -> list[str]:
    """What Hydra gets. Raises `ConfigError` for options that there are not."""
    options, others = options_of(words)
    if not any(w.partition("=")[0] in _OF_ITS_OWN for w in options):
        others = with_plus(others)
    if options and options[-1] in _with_value():
        raise ConfigError(f"{options[-1]}: a value is missing; see `compile --help`")
    if options and options[-1] in _MAY_TAKE:
        options.append("all")  # else it would take the first setting
    _check_options(words, [*options, *others])
    if _LINE in os.environ:
        os.environ[_LINE] = completed_line(os.environ[_LINE])
    # Hydra takes settings in one row only.
    return [*options, *others]


def asks_search(words: Sequence[str]) -> bool:
    """Whether a search is wanted, and no single compile."""
    return any(w.lstrip("+").startswith(("search=", "search.")) for w in words)


def bare_words(words: Sequence[str]) -> list[str]:
    """Those that are no option, no option's value, and no setting."""
    return [word for word in options_of(words)[1] if not _SETTING.fullmatch(word)]


def options_of(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options with their values; all other words."""
    options: list[str] = []
    others: list[str] = []
    takes = _with_value()
    for before, word in zip(["", *words], words, strict=False):
        is_value = before in takes or (before in _MAY_TAKE and not _SETTING.fullmatch(word))
        (options if is_value or word.startswith("-") else others).append(word)
    return options, others


def _with_value() -> set[str]:
    """Hydra's options that take the next word."""
    actions = get_args_parser()._actions  # noqa: SLF001
    return {o for a in actions for o in a.option_strings if a.nargs is None}


def _check_options(typed: Sequence[str], words: Sequence[str]) -> None:
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            get_args_parser().parse_args(words)
    except SystemExit:
        told = said.getvalue().strip().rpartition("error: ")[2]
        for word, after in zip(typed, [*typed[1:], ""], strict=True):
            if word.startswith("-") and word in told:
                raise ConfigError(_no_option(word, after, told)) from None
        raise ConfigError(f"compile: {told}; see `compile --help`") from None


def _no_option(word: str, after: str, told: str) -> str:
    """`--dry-run` and the like are settings here."""
    bare, equals, value = word.lstrip("-").partition("=")
    key = bare.replace("-", "_")
    types = {f.name: f.type for f in fields(CompileSettings)}
    near = get_close_matches(key.partition(".")[0], types, n=1, cutoff=0.8)
    if "unrecognized" not in told:
        return f"{word}: {told.rpartition(': ')[2]}; see `compile --help`"
    if not near:
        known = [o for a in get_args_parser()._actions for o in a.option_strings]  # noqa: SLF001
        known += ["--quiet", "--verbose", "--progress"]
        close = get_close_matches(f"--{bare}", known, n=1)
        mean = f" (did you mean {close[0]}?)" if close else ""
        return (
            f"{word}: compile has no such option{mean}; there are {_OPTIONS}; all else is KEY=VALUE"
        )
    if not equals:
        next_one = after and not after.startswith("-") and "=" not in after
        value = "true" if types[near[0]] is bool else after if next_one else "VALUE"
    key = near[0] + key[len(key.partition(".")[0]) :]
    return f"{word}: compile has no such option; settings are KEY=VALUE: write {key}={value}"


def completed_line(line: str) -> str:
    """What is typed so far, every whole word as Hydra wants it; the last may be a beginning."""
    parts = re.split(r"(\s+)", line)
    return "".join([*with_plus(parts[:-1]), parts[-1]])


def take_words() -> None:
    """Of this process."""
    sys.argv = [sys.argv[0], *hydra_words(sys.argv[1:])]
