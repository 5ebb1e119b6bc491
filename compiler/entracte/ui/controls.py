"""What can be chosen, by groups: read from `conf/` and from the schema, as `compile --help` is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from entracte.declare.keys import CHOICES, GROUPS, Key, keys
from entracte.declare.overrides import choices
from entracte.declare.settings import LOCAL

FIRST = ("target.memory", "sampler.steps", "pipeline.weights", "pipeline.precision",
         "partition.chunk_bytes", "policy.driver", "verify")  # fmt: skip
"""Keys that stand open, in this order; all others are behind `More of GROUP`."""
_NOT_HERE = ("name", "title")
"""Keys that a group's own file decides."""
_FLAGS = ("", "true", "false")
_KINDS = {"true or false": "flag", "number": "number", "whole number": "number", "text": "text",
          "bytes": "text"}  # fmt: skip
"""Types that are one value, as `declare/keys.py` tells them."""


@dataclass(frozen=True, slots=True)
class Control:
    """A key that takes one value."""

    place: str
    """As it is typed: `target.memory`."""
    kind: str
    """choice, flag, number or text."""
    choices: tuple[str, ...]
    """Of a choice and a flag; the first, empty, leaves it as it is."""
    means: str
    example: str


@dataclass(frozen=True, slots=True)
class Group:
    """A group of `conf/`: its files, and its keys of one value."""

    name: str
    about: str
    choices: tuple[str, ...]
    chosen: str
    """Where nothing is said; empty where it has to be."""
    controls: tuple[Control, ...]


def groups(folders: Iterable[Path] = ()) -> tuple[Group, ...]:
    """All groups, in the order in which they are typed; `folders` as of `--config-dir`."""
    offered, chosen = choices(folders), defaults()
    classes = dict(GROUPS)
    return tuple(
        Group(
            name,
            _plain(classes[name].__doc__ or "").partition(" Files:")[0],
            tuple(names),
            chosen.get(name, ""),
            tuple(_controls(name, classes[name])),
        )
        for name, names in offered.items()
    )


def others() -> tuple[Control, ...]:
    """Keys of no group: of what is made, not of how this machine works."""
    return tuple(c for c in _controls("", dict(GROUPS)[""]) if c.place not in LOCAL)


@cache
def defaults() -> Mapping[str, str]:
    """Group -> the file that is taken where none is named."""
    from omegaconf import OmegaConf

    text = (files("entracte.conf") / "compile.yaml").read_text("utf-8")
    listed = OmegaConf.create(text).defaults
    pairs = [(str(k), str(v)) for item in listed if not isinstance(item, str) for k, v in
             item.items()]  # fmt: skip
    return {k: v for k, v in pairs if k.isidentifier()}


def _controls(place: str, group: type) -> Iterable[Control]:
    for key in keys(place, group):
        full = f"{place}.{key.place}" if place else key.place
        kind = _kind(full, key)
        if kind and key.place not in _NOT_HERE:
            yield Control(full, kind, _options(full, kind), _plain(key.means), key.example)


def _kind(place: str, key: Key) -> str:
    """Empty for keys of several values, which are typed as further words."""
    if place in CHOICES:
        return "choice"
    return _KINDS.get(key.type.partition(",")[0], "")


def _options(place: str, kind: str) -> tuple[str, ...]:
    if kind == "flag":
        return _FLAGS
    return ("", *CHOICES[place]) if kind == "choice" else ()


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("`", "")
