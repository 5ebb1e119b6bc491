"""Frozen dataclasses <-> JSON, strictly: a file from a stranger becomes a value or an error.

The types are the schema. Unknown or missing fields, wrong types, numbers that are not finite
and nesting that is too deep are refused with the place where they stand.
"""

import json
import math
import types
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from entracte.errors import PlanError

_TAG = "type"
_MAX_DEPTH = 40
MOST = 2**63 - 1
"""No whole number is larger: readers in other languages count in 64 bits."""


def parse_json(raw: bytes | str) -> Any:
    """JSON that every reader reads alike: UTF-8, no key twice in an object, no NaN or infinity.

    Raises `ValueError` for anything else, nesting without end included.
    """
    try:
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_depth(found)
    if "\\ud" in text.lower():
        _check_pairs(found)
    return found


def _check_pairs(value: Any) -> None:
    """Half of a surrogate pair, escaped, is no text: no file could hold it."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair stands in it") from None


def _check_depth(value: Any) -> None:
    """So that whoever follows it down needs not look."""
    level = [value]
    for _ in range(2 * _MAX_DEPTH):
        level = [v for item in level for v in _inside(item)]
        if not level:
            return
    raise ValueError("nested too deeply")


def _inside(value: Any) -> Iterable[Any]:
    """The lists and objects in a list or object."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (v for v in items if isinstance(v, dict | list))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{_short(next(k for k in keys if keys.count(k) > 1))} stands in it twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not finite, and JSON has no such number")


def encode(value: Any) -> Any:
    """A frozen value as what `json.dumps` takes. Members of unions carry their type's name."""
    if is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        assert hints.keys() == {f.name for f in fields(value)}
        made = {f.name: encode(getattr(value, f.name)) for f in fields(value) if _told(f, value)}
        return {_TAG: type(value).__name__} | made
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [encode(v) for v in value]
    return value


def _told(f: Field[Any], value: Any) -> bool:
    """Whether a field is written: one that few plans need is not, where it is its default."""
    return not f.metadata.get("rare") or getattr(value, f.name) != f.default


def decode(kind: Any, data: Any, where: str = "plan", depth: int = 0) -> Any:
    """The value of type `kind` that `data` describes. Raises `PlanError` with the place."""
    if depth > _MAX_DEPTH:
        raise PlanError(f"{where}: nested deeper than {_MAX_DEPTH}")
    if kind is object:
        return _plain(data, where, depth)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union(get_args(kind), data, where, depth)
    if origin is tuple:
        return _tuple(get_args(kind), data, where, depth)
    if is_dataclass(kind):
        return _dataclass(kind, data, where, depth)
    return _scalar(kind, data, where)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _dataclass(kind: Any, data: Any, where: str, depth: int) -> Any:
    if not isinstance(data, dict):
        raise PlanError(f"{where}: wants a {kind.__name__}, finds {_short(data)}")
    if data.get(_TAG, kind.__name__) != kind.__name__:
        raise PlanError(f"{where}: wants a {kind.__name__}, finds a {_short(data[_TAG])}")
    known = {f.name: f for f in fields(kind)}
    stray = sorted(set(data) - set(known) - {_TAG})
    if stray:
        raise PlanError(f"{where}: {kind.__name__} has no field {stray[0]!r}")
    hints = _hints(kind)
    made = {}
    for name, f in known.items():
        if name in data:
            made[name] = decode(hints[name], data[name], f"{where}.{name}", depth + 1)
        elif f.default is MISSING and f.default_factory is MISSING:
            raise PlanError(f"{where}: {kind.__name__} lacks {name!r}")
    return kind(**made)


def _union(kinds: tuple[Any, ...], data: Any, where: str, depth: int) -> Any:
    if data is None and type(None) in kinds:
        return None
    rest = [k for k in kinds if k is not type(None)]
    if all(is_dataclass(k) for k in rest) and len(rest) > 1:
        tag = data.get(_TAG) if isinstance(data, dict) else None
        for kind in rest:
            if kind.__name__ == tag:
                return decode(kind, data, where, depth + 1)
        names = ", ".join(k.__name__ for k in rest)
        raise PlanError(f"{where}: the type {tag!r} is none of {names}")
    exact = [k for k in rest if type(data) is k]
    for kind in exact or rest:
        try:
            return decode(kind, data, where, depth + 1)
        except PlanError:
            if len(rest) == 1:
                raise
    raise PlanError(f"{where}: {_short(data)} is of no allowed type")


def _tuple(kinds: tuple[Any, ...], data: Any, where: str, depth: int) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise PlanError(f"{where}: wants a list, finds {_short(data)}")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(decode(kinds[0], v, f"{where}[{i}]", depth + 1) for i, v in enumerate(data))
    if len(kinds) != len(data):
        raise PlanError(f"{where}: wants {len(kinds)} items, finds {len(data)}")
    pairs = zip(kinds, data, strict=True)
    return tuple(decode(k, v, f"{where}[{i}]", depth + 1) for i, (k, v) in enumerate(pairs))


def _scalar(kind: Any, data: Any, where: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        values = [m.value for m in kind]
        if data not in values:
            raise PlanError(f"{where}: {_short(data)} is not one of {', '.join(values)}")
        return kind(data)
    if isinstance(data, int | float) and not isinstance(data, bool):
        _check_number(data, where)
        if kind is float:
            return float(data)
    if kind is int and (not isinstance(data, int) or isinstance(data, bool)):
        raise PlanError(f"{where}: wants a whole number, finds {_short(data)}")
    if not isinstance(data, kind):
        raise PlanError(f"{where}: wants {kind.__name__}, finds {_short(data)}")
    return data


def _plain(data: Any, where: str, depth: int) -> Any:
    if isinstance(data, list):
        return tuple(decode(object, v, where, depth + 1) for v in data)
    if isinstance(data, int | float):
        _check_number(data, where)
    if data is None or isinstance(data, str | int | float | bool):
        return data
    raise PlanError(f"{where}: {_short(data)} is no parameter")


def _check_number(data: int | float, where: str) -> None:
    if isinstance(data, float) and not math.isfinite(data):
        raise PlanError(f"{where}: {data} is not finite")
    if isinstance(data, int) and not -MOST - 1 <= data <= MOST:
        raise PlanError(f"{where}: {_short(data)} does not fit into 64 bits")


def _short(data: Any) -> str:
    try:
        text = repr(data)
    except ValueError:  # of a number with thousands of digits
        text = "a very long number"
    return text if len(text) <= 40 else text[:37] + "..."
