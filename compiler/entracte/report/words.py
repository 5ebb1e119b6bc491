"""Sentences about a plan: its waits, how its chunks are kept."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from entracte.inspect.causes import CAUSES
from entracte.inspect.overview import ChunkRow
from entracte.ir import Plan
from entracte.report.lanes import Stall


@dataclass(frozen=True, slots=True)
class StallGroup:
    """Waits for the same chunk, in the same part of the run, for the same reason."""

    chunk: str
    segment: str
    cause: str
    why: str
    times: int
    total_s: float


def stall_groups(plan: Plan, stalls: Sequence[Stall]) -> tuple[StallGroup, ...]:
    """Longest first."""
    seconds: Counter[tuple[str, str, str, str]] = Counter()
    times: Counter[tuple[str, str, str, str]] = Counter()
    for s in stalls:
        segment = plan.program.segments[s.wait.segment].name
        key = (s.wait.chunk, segment, CAUSES.get(s.wait.cause, s.wait.cause), s.why)
        seconds[key] += s.wait.end_s - s.wait.start_s  # type: ignore[assignment]
        times[key] += 1
    order = sorted(seconds, key=lambda key: (-seconds[key], key))
    return tuple(StallGroup(*key, times[key], seconds[key]) for key in order)


def kept(c: ChunkRow) -> str:
    """How a chunk is kept in the predicted run: for all its calls, for some of them, or for none.

    A map's slices are one use: it is loaded once for all of them.
    """
    if c.uses <= 1:
        return "single use"
    made = c.loaded_bytes / c.weight_bytes if c.weight_bytes else c.loads
    if c.kept or made <= 1:
        return "whole loop"
    there = (c.uses - made) / c.uses
    return f"{100 * there:.0f} % of uses" if there > 0.005 else "no"
