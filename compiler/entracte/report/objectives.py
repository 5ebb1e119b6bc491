"""What the plans of a sweep may be good at: one row for each."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Objective:
    """What a plan may be good at."""

    name: str
    """As `search.objectives` has it."""
    field: str
    """Of `SweepRow`."""
    words: str
    maximized: bool = False


OBJECTIVES = {
    o.name: o
    for o in (
        Objective("time", "makespan_s", "predicted time"),
        Objective("memory", "peak_bytes", "peak memory"),
        Objective("weights", "weight_bytes", "bytes of weights"),
        Objective("db", "psnr_db", "dB", maximized=True),
    )
}
"""By name."""
USUAL = ("time", "memory")


def words_of(names: Sequence[str]) -> str:
    """Objectives as a sentence has them."""
    words = [OBJECTIVES[name].words for name in names]
    return " and ".join(([", ".join(words[:-1])] if words[1:] else []) + words[-1:])
