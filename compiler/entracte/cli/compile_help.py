"""`compile --help`: what is typed, the groups with what may be chosen, and every key's meaning."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill, wrap

from entracte.cli.words import bare_words
from entracte.declare.keys import GROUPS, Key, keys
from entracte.declare.overrides import choices
from entracte.errors import ConfigError
from entracte.graphs.checks import similar

_WIDEST = 100
"""Columns; longer lines are hard to read."""
_TOP = """\
Usage: compile target=NAME [GROUP=NAME ...] [KEY=VALUE ...] [OPTION ...]

Compile a pipeline into Core ML packages and a plan that stay within a device's
memory.

  compile target=host dry_run=true      plan, and convert nothing
  compile target=host out=build/demo    compile into a folder
  compile -m target=host policy=optimal,sequential dry_run=true
                                        a sweep: each, then one table
  compile --help sampler                only what one group says
"""
_OPTIONS = """\
Options:
  -m, --multirun      values with commas between them make a sweep
  --config-dir DIR    yaml files of your own too: DIR/pipeline/NAME.yaml is
                      chosen by pipeline=NAME
  --config-name NAME  compose from NAME.yaml of that folder
  --cfg job           print the whole configuration, and do nothing
  --info defaults     print which files it is composed from
  -sc install=bash    print what completes words in bash and zsh:
                      eval "$(compile -sc install=bash)"
  --quiet             tell no progress; results, notes and errors are still told
  --verbose           tell progress in lines, one for each unit as it is done
  --progress FORM     auto (a bar in a terminal, else lines), lines, json, none
  --version           Entracte's version
  -h, --help [GROUP]  this page, or the part of one group
"""
_SAID = """\
Keys, as KEY=VALUE; `+KEY=VALUE` where a name is new, `~KEY` to remove one. In
brackets: what holds where nothing is given. Bytes are a number with B, kB, MB,
GB, KiB, MiB, GiB."""


def asks_help(words: Sequence[str]) -> bool:
    """Whether the page is wanted, and no compile."""
    return "-h" in words or "--help" in words


def compile_help(words: Sequence[str], width: int) -> str:
    """The page, or the part of the groups that `words` name. Raises `ConfigError`."""
    width = min(width, _WIDEST)
    parts = bare_words(words)
    if parts:
        return "\n".join(line for part in parts for line in _part(part, width)) + "\n"
    lines = [_TOP, "Groups, as GROUP=NAME:", *_groups(words, width), "", _OPTIONS, _SAID]
    for place, group in GROUPS:
        lines += _section(place, group, width)
    return "\n".join(lines) + "\n"


def _part(name: str, width: int) -> list[str]:
    """All sections of a group, and what may be chosen."""
    shown = [(p, g) for p, g in GROUPS if name in (p, p.partition(".")[0]) or p == ""]
    shown = [(p, g) for p, g in shown if p != "" or name == "compile"]
    if not shown:
        known = list(dict.fromkeys(["compile", *(p.partition(".")[0] for p, _ in GROUPS if p)]))
        raise ConfigError(
            f"--help {name}: there is no such group{similar(name, known)}; there are "
            f"{', '.join(known)}"
        )
    offered = choices().get(name)
    lines = [] if offered is None else _listed(name, offered, width)
    for place, group in shown:
        lines += _section(place, group, width)
    return lines


def _groups(words: Sequence[str], width: int) -> list[str]:
    folders = [Path(b).expanduser() for a, b in zip(words, words[1:], strict=False)
               if a in ("--config-dir", "-cd")]  # fmt: skip
    lines = []
    for group, names in choices(folders).items():
        lines += _listed(group, names, width)
    return lines


def _listed(group: str, names: Sequence[str], width: int) -> list[str]:
    # As in yaml, so that it can be searched for.
    text = f"{group}: {', '.join(names)}"
    return wrap(text, width - 2, initial_indent="  ", subsequent_indent=" " * 16)


def _section(place: str, group: type, width: int) -> list[str]:
    about = " ".join((group.__doc__ or "").split())
    lines = ["", place or "compile", fill(about, width), ""]
    for key in keys(place, group):
        lines += _key(f"{place}.{key.place}" if place else key.place, key, width)
    return lines


def _key(place: str, key: Key, width: int) -> list[str]:
    """Its place and type; below what it means, its default, an example."""
    plain = key.default.replace("`", "")
    held = "" if plain in ("none", "below", "") else f" [{plain}]"
    kind = key.type.replace("`", "")
    if kind.startswith("one of "):
        kind = kind.removeprefix("one of ").replace(", ", " | ")
    kind = kind if kind != "group" else "NAME"
    head = wrap(f"{place}  {kind}{held}", width - 2, initial_indent="  ",
                subsequent_indent=" " * 8, break_long_words=False)  # fmt: skip
    means = key.means.replace("`", "")
    says = wrap(
        f"{means}; e.g. {key.example}", width, initial_indent=" " * 6,
        subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return head + says
