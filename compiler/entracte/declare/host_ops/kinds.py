"""What values the params of host operations may have."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import PurePosixPath

_MOST_SCORES, _LONGEST_SCORE = 16, 200
MOST_ELEMENTS, MOST_AXES = 2**26, 16
"""Of what a host operation makes: a stranger's plan must not fill the memory of whoever runs it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What values a param may have."""

    words: str
    holds: Callable[[object], bool]


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_size(value: object) -> bool:
    return _is_whole(value, 1, MOST_ELEMENTS)


def _is_shape(value: object) -> bool:
    if not isinstance(value, tuple) or not 0 < len(value) <= MOST_AXES:
        return False
    return all(map(_is_size, value)) and prod(value) <= MOST_ELEMENTS


def _is_file(value: object) -> bool:
    return isinstance(value, str) and value not in ("", ".", "..") and not set(value) & set("/\\")


def _is_path(value: object) -> bool:
    if not isinstance(value, str) or not value or "\\" in value:
        return False
    pure = PurePosixPath(value)
    return not pure.is_absolute() and ".." not in pure.parts


def _are_scores(value: object) -> bool:
    if not isinstance(value, tuple) or not 0 < len(value) <= _MOST_SCORES:
        return False
    return all(isinstance(v, str) and v.find(":") > 0 and len(v) <= _LONGEST_SCORE for v in value)


def one_of(*words: str) -> Kind:
    """One of a few words."""
    return Kind(f"one of {', '.join(words)}", lambda value: value in words)


def whole(least: int, most: int) -> Kind:
    """A whole number between two others."""
    return Kind(
        f"a whole number from {least} to {most}", lambda value: _is_whole(value, least, most)
    )


TEXT = Kind("a text", lambda value: isinstance(value, str))


def _are_ids(value: object) -> bool:
    return isinstance(value, tuple) and all(_is_whole(item, 0, MOST_ID) for item in value)


MOST_ID = 2**31 - 1
IDS = Kind(f"a list of whole numbers from 0 to {MOST_ID}", _are_ids)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
SIZE = Kind(f"a whole number above 0, at most {MOST_ELEMENTS}", _is_size)
SHAPE = Kind(f"a list of sizes, each above 0, together at most {MOST_ELEMENTS} elements", _is_shape)
SCORES = Kind(
    f"a list of 1 to {_MOST_SCORES} texts LABEL: VALUE, of {_LONGEST_SCORE} characters at most",
    _are_scores,
)
FILE = Kind("a file's name, without folders", _is_file)
PATH = Kind("the name of a file or a folder inside the folder of the weights", _is_path)
