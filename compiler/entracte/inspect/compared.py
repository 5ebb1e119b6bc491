"""What `compile` found when it ran packages beside their torch source, in words and figures."""

from dataclasses import dataclass

from entracte.ir import Compared, Plan

EQUAL_DB = 999.0
"""What is written where nothing differs."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The sentences of a plan: one that says all, and one for each chunk to be told of."""

    is_done: bool
    """False: conversions were not compared."""
    summary: str
    notes: tuple[str, ...]


def comparison(plan: Plan) -> Comparison | None:
    """None where nothing is built."""
    if not plan.built:
        return None
    if plan.verify != "on":
        text = "conversions were not compared with their torch source (verify=off)"
        return Comparison(False, text, ())
    ran = [c for c in plan.compared if c.db is not None]
    return Comparison(bool(ran) or not plan.packages, _summary(plan, ran), _notes(plan))


def _summary(plan: Plan, ran: list[Compared]) -> str:
    total = len(plan.packages)
    if not ran:
        return "conversions were not compared with their torch source" if total else ""
    # What is nearest to its own floor says most: floors differ by precision and compression.
    worst = min(ran, key=lambda c: (_db(c) - c.floor_db, c.chunk))
    return (
        f"{len(ran)} of {total} packages compared with their torch source; closest to its floor is "
        f"{worst.chunk} with {decibels(_db(worst))} (floor {worst.floor_db:.0f} dB), on "
        f"{worst.inputs} inputs"
    )


def _notes(plan: Plan) -> tuple[str, ...]:
    notes: dict[str, None] = {}
    for c in plan.compared:
        if c.repaired:
            notes[f"{c.chunk} repaired, {c.repaired}"] = None
    for c in plan.compared:
        if c.chunk == c.of and c.db is None:
            elsewhere = (
                f"; {100 * c.share:.0f} % of its operations ran in others" if c.share else ""
            )
            notes[f"{c.chunk} not compared: {c.why}{elsewhere}"] = None
        elif c.chunk == c.of and c.share < 1:
            notes[f"{c.chunk} compared in part: {100 * c.share:.0f} % of its operations"] = None
    return tuple(notes)


def _db(c: Compared) -> float:
    assert c.db is not None
    return c.db


def decibels(value: float, digits: int = 1) -> str:
    """A PSNR for people."""
    return "equal" if value >= EQUAL_DB else f"{value:.{digits}f} dB"
