"""A line of `--progress json` -> how far a job is. See docs/progress.md."""

import math
from dataclasses import fields

from entracte.codec import parse_json
from entracte.progress.values import LoopPlace, Progress

_LONGEST = 100_000
_NUMBERS = ("done", "of", "phase_s", "seconds", "share")


def progress_of(text: str) -> Progress | None:
    """None for lines that tell something else."""
    if not text.startswith("{") or len(text) > _LONGEST:
        return None
    try:
        told = parse_json(text.encode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or not _is_progress(told):
        return None
    loop = told.get("loop")
    values = {f.name: told[f.name] for f in fields(Progress) if f.name != "loop"}
    place = {f.name: loop[f.name] for f in fields(LoopPlace)} if isinstance(loop, dict) else None
    return Progress(**values, loop=LoopPlace(**place) if place else None)


def _is_progress(told: dict[str, object]) -> bool:
    names = {f.name for f in fields(Progress)} - {"loop"}
    if not names <= told.keys() or not all(_is_number(told[n]) for n in _NUMBERS):
        return False
    loop = told.get("loop")
    if isinstance(loop, dict) and not {f.name for f in fields(LoopPlace)} <= loop.keys():
        return False
    return told["left_s"] is None or _is_number(told["left_s"])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
