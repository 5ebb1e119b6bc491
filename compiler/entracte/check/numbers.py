"""The checker's half about numbers: each is finite, in its range, and none is absurd.

One walk looks at every number of a value, whatever type holds it: a field added to the data model
is checked without a line here. `_RANGES` has what is narrower than "0 or more".
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from math import isfinite, prod

from entracte.errors import PlanError
from entracte.ir import MIN_PAGE_BYTES, Port

MOST = 2**63 - 1
"""No number is larger: runners in other languages count in 64 bits."""
MOST_SECONDS = 1e9
"""Thirty years. In nanoseconds it still fits into 64 bits."""
MOST_AXES = 16

_SIGNED = {
    *(("Input", field) for field in ("default", "least", "most", "low", "high")),
    ("HostStep", "params"),
    ("Output", "low"),
    ("Output", "high"),
    ("Package", "psnr_db"),
}
"""What may be below 0."""
_SECONDS = {"exec_by", "stage_s", "stalls"}
"""Pairs of a name and seconds, beside all fields that end in `_s`."""

Range = tuple[str, Callable[[float], bool]]
_POSITIVE: Range = ("above 0", lambda x: x > 0)
_COUNT: Range = ("1 or more", lambda x: x >= 1)
_RANGES: dict[tuple[str, str], Range] = {
    ("Target", "memory_bytes"): _POSITIVE,
    ("Target", "settle_fraction"): ("at least 0 and below 1", lambda x: 0 <= x < 1),
    ("Target", "chunk_limit_bytes"): _POSITIVE,
    ("Target", "load_bandwidth"): _POSITIVE,
    ("Target", "compute_flops"): _POSITIVE,
    ("Target", "memory_bandwidth"): _POSITIVE,
    ("Target", "cold_bandwidth"): _POSITIVE,
    ("Target", "efficiency"): ("above 0 and at most 1", lambda x: 0 < x <= 1),
    ("Target", "contention"): ("from 1 to 1000", lambda x: 1 <= x <= 1000),
    ("Target", "page_bytes"): (
        f"0 or at least {MIN_PAGE_BYTES}",
        lambda x: x == 0 or x >= MIN_PAGE_BYTES,
    ),
    ("Output", "rate"): ("between 0 and 1000000", lambda x: 0 <= x <= 1_000_000),
    ("Port", "shape"): _COUNT,
    ("TensorDecl", "slots"): _COUNT,
    ("Window", "size"): _COUNT,
    ("Window", "count"): _COUNT,
    ("Window", "stride"): _COUNT,
    ("Call", "repeat"): _COUNT,
    ("Segment", "count"): _COUNT,
}


def check_numbers(value: object, where: str = "plan") -> None:
    """Every number of a value and of all that it holds. Raises `PlanError` with the place."""
    _walk(value, where, ("", ""))


def _walk(value: object, where: str, field: tuple[str, str]) -> None:
    """`field`: of which type and by which name the value is held."""
    if isinstance(value, tuple):
        for i, item in enumerate(value):
            if not isinstance(item, str):
                _walk(item, f"{where}[{i}]", field)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if fault := _fault(field, value):
            raise PlanError(f"{where}: {value} is {fault}")
    elif is_dataclass(value):
        kind: type = type(value)
        for name in _names(kind):
            inner = getattr(value, name)
            if not isinstance(inner, str):
                _walk(inner, f"{where}.{name}", (kind.__name__, name))
        if isinstance(value, Port):
            _check_port(value, where)


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))


def _fault(field: tuple[str, str], value: float) -> str | None:
    """What is wrong with it, and what is allowed; None where nothing is."""
    if isinstance(value, float) and not isfinite(value):
        return "not finite"
    if abs(value) > MOST and isinstance(value, int):
        return f"not between -{MOST} and {MOST}"
    if field in _SIGNED:
        return None
    if value < 0:
        return "negative; give 0 or more"
    if (field[1].endswith("_s") or field[1] in _SECONDS) and value > MOST_SECONDS:
        return f"more than {MOST_SECONDS:.0f} seconds"
    words, holds = _RANGES.get(field, ("", _any))
    return None if holds(value) else f"not {words}"


def _any(_: float) -> bool:
    return True


def _check_port(port: Port, where: str) -> None:
    if len(port.shape) > MOST_AXES:
        raise PlanError(f"{where}.shape: {len(port.shape)} axes, at most {MOST_AXES} are possible")
    if prod(port.shape) > MOST // 4:
        raise PlanError(f"{where}.shape: {list(port.shape)} has more elements than any memory")
