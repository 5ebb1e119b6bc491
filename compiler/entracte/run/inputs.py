"""What a user gives to a run -> values of the plan's inputs."""

import difflib
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entracte.declare.words import an
from entracte.errors import RunError
from entracte.ir import Input, Plan
from entracte.run.media import check_file, decode, given_array
from entracte.store.seal import file_sha256

_LARGEST = {"number": 3.4028234663852886e38, "seed": 2**63 - 1, "choice": 2**31 - 1}
"""Of fp32, of what a record holds, of int32: on either side of 0."""
_SHOWN = 12
"""Choices that are listed; of more, the nearest."""


def given_inputs(plan: Plan, inputs: Mapping[str, object]) -> dict[str, Any]:
    """Every input of the plan: as given, or its default. Numbers are floats, seeds and choices
    whole; images, videos, audios and tensors are arrays of their port, from files or as given.

    Raises `RunError` for an input that the plan does not have, that is missing, or is not what it
    should be.
    """
    known = {i.name: i for i in plan.program.inputs}
    given = _all_given(known, inputs)
    # What is read of files last: it takes longest.
    order = sorted(known.values(), key=lambda i: i.port is not None)
    made = {i.name: _value(i, given[i.name], i.name in inputs) for i in order}
    return {name: made[name] for name in known}


def _all_given(known: Mapping[str, Input], inputs: Mapping[str, object]) -> dict[str, object]:
    """What was given, or the default, of every input."""
    stray = sorted(set(inputs) - set(known))
    if stray:
        has = f"the plan's inputs are {', '.join(known)}" if known else "the plan has no inputs"
        raise RunError(f"input {stray[0]!r}: {has}")
    given = {name: inputs.get(name, i.default) for name, i in known.items()}
    for name, value in given.items():
        if value is None:
            raise RunError(f"input {name!r}: give it, e.g. `--input {name}=...`; it has no default")
    return given


def _value(i: Input, value: object, is_given: bool) -> Any:
    if i.kind == "text":
        return _text(i.name, value)
    if i.kind == "number":
        return _within(i, _number(i.name, value))
    if i.kind == "seed":
        return _within(i, _whole(i.name, value))
    if i.kind == "choice":
        return _choice(i, value)
    return _shaped(i, value, is_given)


def _text(name: str, value: object) -> object:
    """Bytes of a command line that are no UTF-8 arrive as halves of characters."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise RunError(f"input {name!r}: {value!r} is no text; give it in UTF-8") from None
    return value


def _number(name: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RunError(f"input {name!r}: {value!r:.60} is not a number")
    return number


def _whole(name: str, value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise RunError(f"input {name!r}: {value!r:.60} is not a whole number") from None


def _within(i: Input, value: Any) -> Any:
    """Between `least` and `most`, where they are said; and no larger than can be told."""
    if abs(value) > _LARGEST[i.kind]:
        raise RunError(
            f"input {i.name!r}: {value!r:.60} is too large for {an(i.kind)}: at most "
            f"{_LARGEST[i.kind]:g}"
        )
    if (i.least is None or value >= i.least) and (i.most is None or value <= i.most):
        return value
    ends = [f"{word} {end:g}" for word, end in (("least", i.least), ("most", i.most))
            if end is not None]  # fmt: skip
    raise RunError(f"input {i.name!r}: {value} is not allowed: {', '.join(ends)}")


def _choice(i: Input, value: object) -> int:
    """Its place: as given, or that of a name."""
    if not i.choices:
        return int(_within(i, _whole(i.name, value)))
    text = str(value)
    if text in i.choices:
        return i.choices.index(text)
    if text.isascii() and text.isdigit() and int(text) < len(i.choices):
        return int(text)
    shown = list(i.choices)
    if len(shown) > _SHOWN:
        near = difflib.get_close_matches(text, shown, 3, 0.0)
        last = len(shown) - 1
        raise RunError(
            f"input {i.name!r}: {text!r} is none of {len(shown)} choices; near it are "
            f"{', '.join(near)}; or give a number from 0 to {last}"
        )
    raise RunError(f"input {i.name!r}: {text!r} is not one of {', '.join(shown)}")


def _shaped(i: Input, value: object, is_given: bool) -> Any:
    """A file's name, an array, or the number that fills it."""
    import numpy as np

    assert i.port is not None
    if not is_given:
        dtype = np.int32 if i.port.dtype == "int32" else np.float32
        return np.full(i.port.shape, value, dtype)
    if isinstance(value, str | Path):
        return decode(i.name, i, Path(value))
    if hasattr(value, "__array__"):
        return given_array(i.name, i, value)
    raise RunError(
        f"input {i.name!r}: {type(value).__name__} is no {i.kind}; give a file's name, or an array "
        f"of {i.port.shape}"
    )


# ---------------------------------------------------------------- in a record


def told_inputs(plan: Plan, inputs: Mapping[str, object]) -> dict[str, str | int | float]:
    """The inputs as a record names them: a choice by its name, a file by its digest.

    Nothing is decoded. Raises `RunError` as `given_inputs` does, but for what decoding finds.
    """
    known = {i.name: i for i in plan.program.inputs}
    given = _all_given(known, inputs)
    order = sorted(known.values(), key=lambda i: i.port is not None)
    told = {i.name: _told(i, given[i.name], i.name in inputs) for i in order}
    return {name: told[name] for name in known}


def _told(i: Input, raw: object, is_given: bool) -> str | int | float:
    if i.port is not None and not is_given:
        assert isinstance(i.default, int | float)
        return i.default
    if i.port is not None and isinstance(raw, str | Path):
        check_file(i.name, i, Path(raw))
        return f"sha256:{file_sha256(Path(raw))}"
    value = _value(i, raw, is_given)
    if i.kind == "choice":
        return i.choices[value] if i.choices else int(value)
    if i.port is None:
        # Texts may come from Python as anything that has one.
        return value if isinstance(value, int | float) else str(value)
    return f"sha256:{hashlib.sha256(value.tobytes()).hexdigest()}"
