"""What a setting's value may be, whatever it is a setting of: readers of plans must take it."""

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin

from entracte.errors import ConfigError

_MOST = 2**63 - 1
_PROSE = ("default", "sources", "prefix", "suffix")
"""Keys whose texts may have lines."""
_INVISIBLE = {"Cc", "Zl", "Zp", "Cs"}
_REORDERING = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SHOWN = 60
_DEEPEST = 30
_SINGLE = {str: "one text", int: "a whole number"}
"""Types of values of mappings that are single ones, in words."""


def check_values(value: object, where: str = "", depth: int = 0) -> None:
    """Every number is finite and fits 64 bits, every text can be shown. Raises `ConfigError`."""
    if depth > _DEEPEST:
        raise ConfigError(f"{where[:_SHOWN]}: nested deeper than {_DEEPEST}")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_text(str(key), f"{where}: the key", lines=False)
            check_values(item, f"{where}.{key}" if where else str(key), depth + 1)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            check_values(item, f"{where}[{i}]", depth + 1)
    elif isinstance(value, str):
        lines = any(part.partition("[")[0] in _PROSE for part in where.split("."))
        _check_text(value, where, lines=lines)
    else:
        _check_number(value, where)


def check_kinds(settings: Any, where: str = "") -> None:
    """A group of settings stands only where its kind belongs: an interpolation may name one
    anywhere. A mapping or a list stands for no text and no number. Raises `ConfigError`."""
    for f in fields(settings):
        value, allowed = getattr(settings, f.name), {f.type, *get_args(f.type)}
        place = f"{where}.{f.name}" if where else f.name
        inside = value.items() if isinstance(value, dict) else [("", value)]
        one = _SINGLE.get(get_args(f.type)[1]) if get_origin(f.type) is dict else None
        for key, item in inside:
            if one is not None and isinstance(item, dict | list):
                raise ConfigError(f"{place}.{key}: {item!r:.{_SHOWN}}: give {one}")
            if is_dataclass(item) and type(item) not in allowed:
                raise ConfigError(f"{place}: a group of settings can be no value; write what it is")
            if is_dataclass(item):
                check_kinds(item, f"{place}.{key}".rstrip("."))


def _check_number(value: object, where: str) -> None:
    if value is None or isinstance(value, bool):
        return
    if not isinstance(value, int | float):
        raise ConfigError(f"{where}: a {type(value).__name__} is no setting; give a text or number")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: {value} is not finite; give a number")
    if isinstance(value, int) and not -_MOST <= value <= _MOST:
        raise ConfigError(f"{where}: a whole number beyond 64 bits; give a smaller one")


def _check_text(text: str, where: str, *, lines: bool) -> None:
    allowed = "\n\t" if lines else ""
    for c in hidden(text):
        if c not in allowed:
            raise ConfigError(f"{where}: {text[:_SHOWN]!r} holds the control character {c!r}")


def hidden(text: str) -> list[str]:
    """Its characters that move a terminal's cursor or turn text around: they could show what is
    not so."""
    return [c for c in text if unicodedata.category(c) in _INVISIBLE or c in _REORDERING]


def positive(where: str, value: float) -> float:
    """The value. Raises `ConfigError` if it is not above 0."""
    if not value > 0:
        raise ConfigError(f"{where}: {value} is not above 0; give more")
    return value


def not_negative(where: str, value: float) -> float:
    """The value. Raises `ConfigError` if it is below 0."""
    if not value >= 0:
        raise ConfigError(f"{where}: {value} is negative; give 0 or more")
    return value
