"""What a user gives to a run -> values of the plan's inputs."""

import math
from collections.abc import Mapping
from typing import Any

from entracte.errors import RunError
from entracte.ir import Plan


def given_inputs(plan: Plan, inputs: Mapping[str, object]) -> dict[str, Any]:
    """Every input of the plan: as given, or its default. Numbers are floats, seeds whole.

    Raises `RunError` for an input that the plan does not have, that is missing, or is no number.
    """
    known = {i.name: i for i in plan.program.inputs}
    stray = sorted(set(inputs) - set(known))
    if stray:
        raise RunError(f"input {stray[0]!r}: the plan's inputs are {', '.join(known)}")
    given = {name: inputs.get(name, i.default) for name, i in known.items()}
    for name, value in given.items():
        if value is None:
            raise RunError(f"input {name!r}: give it, e.g. `--input {name}=...`; it has no default")
        if known[name].kind == "number":
            given[name] = _number(name, value)
        elif known[name].kind == "seed":
            given[name] = _seed(name, value)
        else:
            _check_text(name, value)
    return given


def _check_text(name: str, value: object) -> None:
    """Bytes of a command line that are no UTF-8 arrive as halves of characters."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise RunError(f"input {name!r}: {value!r} is no text; give it in UTF-8") from None


def _number(name: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RunError(f"input {name!r}: {value!r} is not a number")
    return number


def _seed(name: str, value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise RunError(f"input {name!r}: {value!r} is not a whole number") from None
