"""How far a job is, in words."""

from entracte.progress.values import LoopPlace, Progress
from entracte.units import format_bytes, format_seconds


def amount(p: Progress) -> str:
    """What of the phase is done: `112 MiB of 230 MiB`, `3 of 9`."""
    if p.unit_bytes:
        return f"{format_bytes(p.done)} of {format_bytes(p.of)}" if p.of else "all in the cache"
    return f"{p.done} of {p.of}"


def left(p: Progress) -> str:
    """The time left, as far as there is one: `about 45 s left`, `longer than last time`."""
    if p.late:
        return "longer than last time"
    if p.left_s is None or p.left_s < 0.5:
        return ""
    seconds = round(p.left_s)
    if seconds < 120:
        return f"about {seconds} s left"
    minutes = round(p.left_s / 60)
    return f"about {minutes} min left" if minutes < 120 else f"about {p.left_s / 3600:.1f} h left"


def turn(r: LoopPlace | None) -> str:
    """Where in a loop it is: `iteration 12 of 30, 1.80 s/iteration`."""
    if r is None:
        return ""
    one = "slice" if r.sliced else "iteration"
    pace = "" if r.each_s is None else f", {format_seconds(r.each_s)}/{one}"
    return f"{one} {r.iteration} of {r.count}{pace}"
