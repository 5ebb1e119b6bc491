"""Keys that no setting has: told by their place, with those that there are."""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from entracte.declare import settings
from entracte.errors import ConfigError
from entracte.graphs.checks import similar

_LIBRARY = "hydra"
"""A group of Hydra's own, which it checks itself."""
_MERGED = re.compile(r"Key '(?P<key>[^']*)' not in '(?P<kind>\w+)'")
"""In OmegaConf's message where a file or a word names such a key; below: where, and which file."""
_PLACE = re.compile(r"full_key: (\S+?);|Could not override '([^']+)'")
_FILE = re.compile(r"In '([^']+)'")


def check_keys(raw: Mapping[Any, Any]) -> None:
    """Of a composed configuration as plain values. Raises `ConfigError` for the first stray key."""
    _check(raw, settings.CompileSettings, "")


def _check(value: object, kind: Any, where: str) -> None:
    """`kind`: the type that a setting is declared with."""
    if is_dataclass(kind):
        if isinstance(value, Mapping):  # else it refers to a group elsewhere
            _check_group(value, kind, where)
        return
    inner = get_args(kind)
    if get_origin(kind) is dict and isinstance(value, Mapping):
        for key, item in value.items():
            _check(item, inner[1], f"{where}.{key}")
        return
    for one in inner:  # X | None
        _check(value, one, where)


def _check_group(group: Mapping[Any, Any], kind: Any, where: str) -> None:
    hints = get_type_hints(kind)
    for key, item in group.items():
        place = f"{where}.{key}" if where else str(key)
        if key in hints:
            _check(item, hints[key], place)
        elif place != _LIBRARY:
            raise ConfigError(f"configuration: {_told(place, str(key), kind)}")


def explained(message: str) -> str:
    """A library's message of a stray key in our words; any other as it is."""
    found = _MERGED.search(message)
    kind = getattr(settings, found["kind"], None) if found else None
    if found is None or kind is None:
        return message
    place, file = _PLACE.search(message), _FILE.search(message)
    spelled = (place[1] or place[2]) if place else found["key"]
    return (f"in {file[1]}.yaml: " if file else "") + _told(spelled, found["key"], kind)


def _told(place: str, key: str, kind: Any) -> str:
    known = [f.name for f in fields(kind) if f.name not in settings.WRITTEN]
    return f"{place}: there is no such key{similar(key, known)}; there are {', '.join(known)}"
