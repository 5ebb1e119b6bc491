"""Mutations of JSON: of its structure, and of its bytes."""

import json
import random
from collections.abc import Iterator
from typing import Any

Path = tuple[Any, ...]

NUMBERS = (
    0, 1, -1, 2, 3, -2, 255, 256, 4095, 4096, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63,
    2**64, 10**18, 10**30, 10**400, -(2**63), 0.0, -0.0, 0.5, 1.5, -1.5, 1e-300, 5e-324, 1e15, 1e18,
    1e300, 1.7976931348623157e308, float("nan"), float("inf"), float("-inf"), 0.1, 100, 1000,
)  # fmt: skip
TEXTS = (
    "", " ", ".", "..", "../..", "../../sentinel/victim.txt", "/", "/etc/passwd", "a/b",
    "a\\b", "~",
    "\x00", "a\x00b", "\n", "\x1b[31m", "\u202e", "\u2028", "\ud800", "\udfff\ud800", "é", "日本語",
    "\U0001f3ad", "[red]", "[/red]", "[bold", "{}", "%s", "${oc.env:HOME}", "$(id)", "'; --",
    "None",
    "null", "true", "nan", "inf", "-1", "1e400", "0x10", "1_000", "main", "whole", "map",
    "iteration",
    "fp16", "fp32", "int32", "bool", "gates", "online", "a" * 300, "x" * 70_000, "a." * 50,
    "random:0", "package:os/path", "package:..", "package:", "<script>alert(1)</script>", "\ufeff",
)  # fmt: skip
OTHERS: tuple[Any, ...] = (
    None, True, False, [], {}, [[]], [None], {"type": "Call"}, {"": ""}, [1, 2], ["a", "b"],
    [0, 0, 0], [[0]], {"a": {"b": {}}}, [{}], 0, "",
)  # fmt: skip


def places(data: Any) -> list[Path]:
    """Where every value of a JSON document is."""
    return list(_places(data, ()))


def _places(data: Any, here: Path) -> Iterator[Path]:
    yield here
    if isinstance(data, dict):
        for key, item in data.items():
            yield from _places(item, (*here, key))
    elif isinstance(data, list):
        for i, item in enumerate(data):
            yield from _places(item, (*here, i))


def at(data: Any, path: Path) -> Any:
    """The value at a place."""
    for key in path:
        data = data[key]
    return data


def put(data: Any, path: Path, value: Any) -> Any:
    """Set the value at a place; returns the document, which is another one at its root."""
    if not path:
        return value
    at(data, path[:-1])[path[-1]] = value
    return data


def mutated(data: Any, rng: random.Random, notes: list[str]) -> Any:
    """A document with one to three things changed; it is changed in place."""
    for _ in range(1 + min(int(rng.expovariate(1.4)), 4)):
        data = _once(data, rng, notes)
    return data


def _once(data: Any, rng: random.Random, notes: list[str]) -> Any:
    path = _some_place(data, rng)
    value = at(data, path)
    change = rng.choices(
        (_alike, _swapped, _lost, _repeated, _renamed, _other, _stray, _deep),
        (40, 20, 8, 8, 6, 10, 4, 1),
    )[0]
    made = change(data, path, value, rng)
    notes.append(f"{change.__name__} {'.'.join(map(str, path))}: {_short(value)}")
    return made


def _some_place(data: Any, rng: random.Random) -> Path:
    """Down from the root by steps: shallow fields as often as those of long lists."""
    path: Path = ()
    while True:
        here = at(data, path)
        below = list(here) if isinstance(here, dict) else list(range(len(here))) if (
            isinstance(here, list)
        ) else []  # fmt: skip
        if not below or (path and rng.random() < 0.12):
            return path
        # What holds more is more often looked into: the root has many plain fields.
        weights = [4 if isinstance(here[k], dict | list) else 1 for k in below]
        path = (*path, rng.choices(below, weights)[0])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


# ---------------------------------------------------------------- changes


def _alike(data: Any, path: Path, value: Any, rng: random.Random) -> Any:
    """Another value of the same type."""
    return put(data, path, alike(value, rng))


def alike(value: Any, rng: random.Random) -> Any:
    """Another value of the same type, near it or far from it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        near = (value + 1, value - 1, value * 2, -value, value // 2, value * 1000, float(value))
        return rng.choice(near) if rng.random() < 0.5 else rng.choice(NUMBERS)
    if isinstance(value, str):
        if value and rng.random() < 0.3:
            k = rng.randrange(len(value))
            return value[:k] + rng.choice(TEXTS)[:20] + value[k + rng.randrange(2) :]
        return rng.choice(TEXTS)
    if isinstance(value, list):
        return rng.choice(([], value[:1], value[1:], value[::-1], value * 2, value * 50))
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {k: value[k] for k in keys[: len(keys) * 2 // 3]}
    return rng.choice(OTHERS)


def _swapped(data: Any, path: Path, value: Any, rng: random.Random) -> Any:
    """The value that the same field has elsewhere: what exists, in a wrong place."""
    same = [p for p in places(data) if p and path and p[-1] == path[-1] and p != path]
    if not same:
        same = [p for p in places(data) if p and type(at(data, p)) is type(value)]
    if not same:
        return data
    return put(data, path, _copy(at(data, rng.choice(same))))


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def _lost(data: Any, path: Path, _: Any, rng: random.Random) -> Any:
    if path:
        del at(data, path[:-1])[path[-1]]
    return data


def _repeated(data: Any, path: Path, value: Any, rng: random.Random) -> Any:
    """An item of a list once more."""
    for cut in range(len(path), 0, -1):
        parent = at(data, path[: cut - 1])
        if isinstance(parent, list):
            k = rng.randrange(len(parent) + 1)
            parent.insert(k, _copy(parent[path[cut - 1]]))
            return data
    return data


def _renamed(data: Any, path: Path, value: Any, rng: random.Random) -> Any:
    """A text everywhere, keys included: consistent, so only its letters can be wrong."""
    if not isinstance(value, str) or not value:
        return _alike(data, path, value, rng)
    new = rng.choice(TEXTS)
    return _replaced(data, value, new)


def _replaced(data: Any, old: str, new: str) -> Any:
    if isinstance(data, dict):
        return {k: _replaced(v, old, new) for k, v in data.items()}
    if isinstance(data, list):
        return [_replaced(v, old, new) for v in data]
    return new if data == old else data


def _other(data: Any, path: Path, _: Any, rng: random.Random) -> Any:
    """A value of another type."""
    pool = (rng.choice(NUMBERS), rng.choice(TEXTS), _copy(rng.choice(OTHERS)))
    return put(data, path, rng.choice(pool))


def _stray(data: Any, path: Path, value: Any, rng: random.Random) -> Any:
    """A key that nobody knows, or an item of another kind."""
    target = value if isinstance(value, dict | list) else at(data, path[:-1]) if path else data
    if isinstance(target, dict):
        target[rng.choice(TEXTS)] = _copy(rng.choice(OTHERS))
    elif isinstance(target, list):
        target.append(_copy(rng.choice(OTHERS)))
    return data


def _deep(data: Any, path: Path, value: Any, rng: random.Random) -> Any:
    for _ in range(rng.choice((3, 45, 300))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return put(data, path, value)


# ---------------------------------------------------------------- bytes


def broken(raw: bytes, rng: random.Random, notes: list[str]) -> bytes:
    """A text file whose bytes are damaged, or that is JSON of a kind that readers differ on."""
    change = rng.choice(_BYTES)
    notes.append(f"bytes: {change.__name__}")
    return change(raw, rng)


def _cut(raw: bytes, rng: random.Random) -> bytes:
    return raw[: rng.randrange(len(raw) + 1)]


def _flipped(raw: bytes, rng: random.Random) -> bytes:
    made = bytearray(raw)
    for _ in range(rng.choice((1, 1, 3, 20))):
        if made:
            made[rng.randrange(len(made))] = rng.choice((0, 10, 34, 44, 45, 91, 123, 128, 255, 57))
    return bytes(made)


def _inserted(raw: bytes, rng: random.Random) -> bytes:
    k = rng.randrange(len(raw) + 1)
    return raw[:k] + rng.choice(_PIECES) + raw[k:]


_PIECES = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\\ud800", b"NaN", b"Infinity", b"-", b"1" * 5000,
    b"e999",
    b",", b"}", b"]", b'"', b"//", b"\xed\xa0\x80", b"[" * 200, b'"a":1,' * 2, b"\\u0000", b"\r",
)  # fmt: skip


def _nested(raw: bytes, rng: random.Random) -> bytes:
    depth = rng.choice((990, 100_000))
    mark = rng.choice((b"[", b'{"a":'))
    return raw[: len(raw) // 2] + mark * depth if rng.random() < 0.5 else mark * depth


def _encoded(raw: bytes, rng: random.Random) -> bytes:
    text = raw.decode("utf-8", "replace")
    return rng.choice((
        b"\xef\xbb\xbf" + raw, text.encode("utf-16", "replace"), text.encode("utf-32", "replace"),
        text.encode("latin-1", "replace"), b"\x1f\x8b" + raw, raw + b"\x00", raw + raw,
    ))  # fmt: skip


def _twice(raw: bytes, rng: random.Random) -> bytes:
    """A key that stands twice in one object, with another value."""
    text = raw.decode("utf-8", "replace")
    marks = [i for i, c in enumerate(text) if c == "{"]
    if not marks:
        return raw
    k = rng.choice(marks)
    end = text.find(":", k)
    key = text[k + 1 : end].strip() if end > 0 else '"a"'
    value = rng.choice(("null", "1", '"b"', "[]", "{}", "1e999", "-0"))
    return (text[: k + 1] + f"{key}: {value}, " + text[k + 1 :]).encode("utf-8", "surrogatepass")


def _literal(raw: bytes, rng: random.Random) -> bytes:
    """A number of the file as one that JSON has no word for, or that no machine holds."""
    text = raw.decode("utf-8", "replace")
    digits = [i for i, c in enumerate(text) if c.isdigit()]
    if not digits:
        return raw
    k = rng.choice(digits)
    new = rng.choice(
        ("NaN", "-Infinity", "9" * 5000, "1e999", "01", "-0", "0x1", "1_0", ".5", "+1")
    )
    return (text[:k] + new + text[k + 1 :]).encode("utf-8", "surrogatepass")


def _nothing(_: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"", b" ", b"null", b"[]", b"{}", b"0", b'""', b"\x00" * 100, b"nan", b'"'))


_BYTES = (_cut, _flipped, _inserted, _nested, _encoded, _twice, _literal, _nothing)


def as_text(data: Any) -> str:
    """JSON as Python writes it: with NaN, lone surrogates escaped, and what depth it can do."""
    return json.dumps(data)
