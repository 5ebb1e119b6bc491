"""Names and choices in a configuration, and its lists and mappings as plain values."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from entracte.errors import ConfigError
from entracte.graphs.checks import similar
from entracte.ir import Params

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def is_name(name: str) -> bool:
    """Letters, digits and _, a letter first."""
    return _NAME.fullmatch(name) is not None


def check_own_name(where: str, what: str, name: str) -> None:
    """Raises `ConfigError` for a name that is none."""
    if not is_name(name):
        raise ConfigError(f"{where}: {what}'s name is letters, digits and _, a letter first")


def check_file_name(where: str, name: str) -> None:
    """Such names become names of folders. Raises `ConfigError`."""
    if not _FILE_NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: {name[:60]!r}: a name is letters, digits, _, - and ., a letter or digit "
            "first"
        )


def check_allowed(where: str, given: str, allowed: Sequence[str]) -> None:
    """Raises `ConfigError` for what is not one of them."""
    if given not in allowed:
        raise ConfigError(
            f"{where}: {given!r} is not one of {', '.join(allowed)}{similar(given, allowed)}"
        )


def is_whole(value: object) -> TypeGuard[int]:
    """An int, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """An int or a float, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def freeze(params: Mapping[str, object]) -> Params:
    """A mapping from YAML as nested tuples, in a fixed order."""
    return tuple((str(k), _frozen(v)) for k, v in sorted(params.items()))


def _frozen(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(_frozen(v) for v in value)
    if isinstance(value, Mapping):
        return freeze(value)
    return value


def an(word: str) -> str:
    """A word with its article."""
    return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"
