"""Sentences about a plan: its bottleneck, its waits, how its chunks are kept."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from entracte.inspect.overview import CAUSES, ChunkRow
from entracte.ir import Plan
from entracte.report.lanes import Stall
from entracte.units import format_seconds


@dataclass(frozen=True, slots=True)
class StallGroup:
    """Waits for the same chunk, in the same part of the run, for the same reason."""

    chunk: str
    segment: str
    cause: str
    why: str
    times: int
    total_s: float


def bottleneck(plan: Plan) -> str:
    """What the time is spent on, in one or two sentences."""
    f = plan.forecast
    whole = max(f.makespan_s, 1e-12)
    stage, seconds = max(f.stage_s, key=lambda s: s[1], default=("nothing", 0.0))
    share = f"{100 * f.stall_s / whole:.0f} %"
    if f.stall_s <= 0:
        return f"Computing is the bottleneck, {stage} most of all; no call ever waits for a load."
    cause, most = max(f.stalls, key=lambda s: s[1], default=("start", f.stall_s))
    waits = f"{format_seconds(f.stall_s)} of {format_seconds(f.makespan_s)} ({share})"
    where = f"most of it {CAUSES[cause]} ({format_seconds(most)})" if len(f.stalls) > 1 else (
        f"all of it {CAUSES[cause]}")  # fmt: skip
    if f.stall_s > f.compute_s:
        return f"Loading is the bottleneck: the compute unit waits {waits}, {where}."
    return (
        f"Computing is the bottleneck: {stage} alone takes {100 * seconds / whole:.0f} % of the "
        f"time. Waiting for loads is {waits}, {where}."
    )


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
