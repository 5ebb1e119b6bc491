"""Sizes and durations: text to numbers and back."""

import math
import re
from decimal import ROUND_HALF_UP, Decimal

from entracte.errors import ConfigError

MOST_BYTES = 2**60
"""More than any size that a plan names."""
_SHOWN = 60
"""Characters of a wrong value that a message repeats."""
_SIZE = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?i?B?)\s*$")
_SCALE = {
    "": 1,
    "B": 1,
    "k": 10**3,
    "kB": 10**3,
    "K": 10**3,
    "KB": 10**3,
    "KiB": 2**10,
    "Ki": 2**10,
    "kiB": 2**10,
    "M": 10**6,
    "MB": 10**6,
    "MiB": 2**20,
    "Mi": 2**20,
    "G": 10**9,
    "GB": 10**9,
    "GiB": 2**30,
    "Gi": 2**30,
    "T": 10**12,
    "TB": 10**12,
    "TiB": 2**40,
    "Ti": 2**40,
}
_UNITS = ("B", "KiB", "MiB", "GiB")
"""What sizes are told in."""
_SPELLED = ("kB", "KiB", "MB", "MiB", "GB", "GiB", "TB", "TiB")
"""What a size that was typed is told in."""


def parse_bytes(text: str | int | float, where: str) -> int:
    """`"3.3GiB"`, `"24MiB"`, `"170MB"` or a number of bytes, as an int.

    Raises `ConfigError` naming `where` for anything else, negative sizes and those above 1 EiB.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        count = float(text) if abs(text) <= MOST_BYTES else math.inf
        whole = int(text) if math.isfinite(count) else 0
    else:
        match = _SIZE.match(str(text))
        if match is None or match[2] not in _SCALE:
            shown = repr(text) if len(str(text)) <= _SHOWN else f"{str(text)[:_SHOWN]!r}..."
            raise ConfigError(
                f"{where}: {shown} is not a size; write a number with a unit: 24MiB, 3.3GiB or "
                "170MB"
            )
        count = float(match[1]) * _SCALE[match[2]]
        whole = int(count) if math.isfinite(count) else 0
    if not 0 <= count <= MOST_BYTES:
        raise ConfigError(f"{where}: {str(text)[:_SHOWN]} is not between 0 and 1 EiB")
    return whole


def format_bytes(count: int | float) -> str:
    """A size in three digits (four above 999), fewer where they say it exactly, and in at most
    eight characters: `812 B`, `1.23 MiB`, `24 MiB`, `1013 KiB`. Ties are rounded up, as in
    `report/assets/units.js`."""
    value = float(count)
    for unit in _UNITS:
        if abs(value) < 1023.5 or unit == _UNITS[-1]:
            break
        value /= 1024
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    text = str(Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))
    if "." in text and float(text) == value:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {unit}"


def typed_bytes(text: object, count: int | float) -> str:
    """A size as somebody typed it: `24MiB` is told as `24 MiB`, `3.3GB` as `3.3 GB`.

    `count` is what it came to. What was typed without a unit, or is another size, is told as
    other sizes are.
    """
    match = _SIZE.match(text) if isinstance(text, str) else None
    if match is None or match[2] in ("", "B") or match[2] not in _SCALE:
        return format_bytes(count)
    if parse_bytes(match[0], "") != int(count):
        return format_bytes(count)
    unit = next(u for u in _SPELLED if _SCALE[u] == _SCALE[match[2]])
    return f"{match[1]} {unit}"


def format_seconds(seconds: float) -> str:
    """A duration: `310 us`, `4.2 ms`, `1.35 s`, `12 min 30 s`."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    whole = int(seconds + 0.5)
    return f"{whole // 60} min {whole % 60} s"


def format_count(count: int | float) -> str:
    """A count of parameters or operations: `950`, `1.2 k`, `42.5 M`, `3.1 G`."""
    value = float(count)
    for unit in ("", "k", "M", "G", "T"):
        if abs(value) < 1000 or unit == "T":
            break
        value /= 1000
    return f"{value:.0f}" if unit == "" else f"{value:.1f} {unit}"


def compact_bytes(count: int | float) -> str:
    """A size for table cells: `812B`, `1.23MiB`, `24MiB`, `1013KiB`."""
    return format_bytes(count).replace(" ", "")


def compact_seconds(seconds: float) -> str:
    """A duration for table cells, at most six characters: `310us`, `4.2ms`, `1.35s`, `12m30s`."""
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f}us"
    if seconds < 0.9995:
        value = seconds * 1e3
        return f"{value:.0f}ms" if value >= 99.95 else f"{value:.1f}ms"
    if seconds < 60:
        return f"{seconds:.2f}s" if seconds < 10 else f"{seconds:.1f}s"
    return f"{int(seconds // 60)}m{int(seconds % 60):02d}s"


def compact_count(count: int | float) -> str:
    """A count for table cells: `950`, `1.2k`, `42.5M`, `3.1G`."""
    return format_count(count).replace(" ", "")
