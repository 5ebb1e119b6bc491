"""The checker's half about what a plan is given and gives: names, defaults, shapes by kind.

A name becomes a file's where nobody says another, and is printed; a stranger may have written it.
"""

import re
from collections.abc import Callable

from entracte.errors import PlanError
from entracte.ir import Input, Output, Program

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_FITS = ("crop", "pad", "stretch")
_SHAPES: dict[str, Callable[[tuple[int, ...]], bool]] = {
    "image": lambda shape: len(shape) == 4 and shape[:2] == (1, 3),
    "video": lambda shape: len(shape) == 5 and shape[:2] == (1, 3),
    "audio": lambda shape: len(shape) == 2 and shape[0] == 1,
}
_DEFAULTS = {"text": (str,), "seed": (int,), "choice": (str, int)}
"""Types of them; of all others a number."""
_RANGED = ("image", "video", "audio")


def check_edges(program: Program) -> None:
    """Raises `PlanError` for an input that no run could be given, an output that none could write.

    What its parts are is looked at elsewhere (`check/pieces.py`, `check/outputs.py`).
    """
    for given in program.inputs:
        _check_input(given)
    for output in program.outputs:
        _check_name("output", output.name)
        _check_range(output)


def _check_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise PlanError(
            f"plan: an {what} is called {name[:60]!r}; a name is letters, digits and _, a letter "
            "first"
        )


def _check_range(output: Output) -> None:
    if output.kind in _RANGED and output.low == output.high:
        raise PlanError(f"plan: output {output.name}: black and white are both {output.low:g}")


def _check_input(given: Input) -> None:
    _check_name("input", given.name)
    where = f"plan: input {given.name}"
    types = _DEFAULTS.get(given.kind, (int, float))
    if given.default is not None and type(given.default) not in types:
        raise PlanError(f"{where}: its default {given.default!r:.60} is none of a {given.kind}")
    if given.fit not in _FITS:
        raise PlanError(f"{where}: its fit is {given.fit!r:.60}, not one of {', '.join(_FITS)}")
    if given.kind == "audio" and given.rate <= 0:
        raise PlanError(f"{where}: an audio of {given.rate:g} samples a second")
    shape = given.port.shape if given.port is not None else ()
    if given.kind in _SHAPES and not _SHAPES[given.kind](shape):
        raise PlanError(f"{where}: {shape} is the shape of no {given.kind}")
