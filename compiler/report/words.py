"""Sentences about a plan: its bottleneck, its stalls, how its chunks are kept."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from compiler.ir import Event, Plan
from compiler.report.lanes import Stall
from compiler.units import format_seconds

CAUSES = {
    "start": "before the first step",
    "straight": "outside loops",
    "first": "in a loop's first iteration",
    "steady": "in a loop's later iterations",
}
"""`Forecast.stalls` in words."""


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


def kept(plan: Plan, bars: Sequence[Event]) -> dict[str, str]:
    """How each chunk is kept: loaded once for all uses, in some iterations, or for each."""
    loads = Counter(e.label for e in bars if e.queue == "load")
    uses = Counter(e.label for e in bars if e.queue == "compute")
    words = {}
    for f in plan.facts:
        made, used = loads[f.id], uses[f.id]
        if used <= 1:
            words[f.id] = "single use"
        elif made <= 1:
            words[f.id] = "whole loop"
        else:
            words[f.id] = "each use" if made >= used else "some uses"
    return words
