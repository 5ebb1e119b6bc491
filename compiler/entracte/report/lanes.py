"""A timeline as bars: pages of one load joined, waits explained, the windows worth looking at."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from entracte.clock.predict import Wait
from entracte.ir import Bar, Program

_NEAR = 1e-9
"""Two moments so near, as a share of the whole time, are one."""


@dataclass(frozen=True, slots=True)
class Stall:
    """A wait of the compute unit and why it was: one sentence."""

    wait: Wait
    why: str


@dataclass(frozen=True, slots=True)
class View:
    """A stretch of time with a name."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class LoopTimes:
    """When the iterations of a loop end; the first one begins at `start_s`."""

    segment: int
    name: str
    start_s: float
    ends_s: tuple[float, ...]


def bars(events: Sequence[Bar]) -> tuple[Bar, ...]:
    """Loads and calls by start. Pages of one load without a pause between them are one bar."""
    made: list[Bar] = []
    last: dict[str, int] = {}
    for e in events:
        if e.queue == "free":
            continue
        before = made[last[e.queue]] if e.queue in last else None
        if before is not None and _continues(before, e):
            made[last[e.queue]] = _joined(before, e)
            continue
        last[e.queue] = len(made)
        made.append(e)
    return tuple(made)


def _continues(before: Bar, e: Bar) -> bool:
    same = (before.label, before.segment, before.iteration) == (e.label, e.segment, e.iteration)
    return e.queue == "load" and same and abs(e.start_s - before.end_s) <= _NEAR * e.end_s


def _joined(a: Bar, b: Bar) -> Bar:
    size = a.size_bytes + b.size_bytes
    return Bar(a.queue, a.label, a.segment, a.iteration, a.step, a.start_s, b.end_s, size)


# ---------------------------------------------------------------- waits


def stalls(events: Sequence[Bar], waits: Sequence[Wait], makespan_s: float) -> tuple[Stall, ...]:
    """Each wait with what held up the load that it waits for."""
    near = _NEAR * makespan_s
    loads = sorted((e for e in bars(events) if e.queue == "load"), key=lambda e: e.start_s)
    starts = [e.start_s for e in loads]
    by_end = defaultdict(list)
    for e in events:
        if e.queue != "load":
            by_end[round(e.end_s / max(near, 1e-12))].append(e)

    def ended(at: float) -> list[Bar]:
        slot = round(at / max(near, 1e-12))
        return [e for k in (slot - 1, slot, slot + 1) for e in by_end.get(k, ())]

    found = []
    for wait in waits:
        # The last load of the chunk that began before the wait was over.
        i = bisect_right(starts, wait.end_s) - 1
        while i >= 0 and loads[i].label != wait.chunk:
            i -= 1
        before = loads[i - 1] if i > 0 else None
        why = _why(loads[i], before, ended(loads[i].start_s), near) if i >= 0 else _UNKNOWN
        found.append(Stall(wait, why))
    return tuple(found)


_UNKNOWN = "its load is not among the events"


def _why(load: Bar, before: Bar | None, ended: Sequence[Bar], near: float) -> str:
    """What held up a load: the load before it, memory that came free, or its gate."""
    if load.start_s <= near:
        return "nothing can run before it is loaded"
    if before is not None and load.start_s - before.end_s <= near:
        return f"the loader was busy before, with {before.label}"
    freed = sorted({e.label for e in ended if e.queue == "free"})
    if freed:
        named = ", ".join(freed[:3]) + (" and others" if len(freed) > 3 else "")
        return f"its load began when {named} gave back memory"
    called = [e.label for e in ended if e.queue == "compute"]
    if called:
        return f"its load began when {called[0]} had run"
    return "its load began late"


def with_first_loads(found: Sequence[Stall], cold: Sequence[Bar]) -> tuple[Stall, ...]:
    """The same, told where the load that is waited for is a package's first, which is cold.

    Args:
        cold: `entracte.inspect.bottleneck.cold_loads` of the run.
    """
    until_s: dict[str, float] = {}
    for load in cold:
        until_s[load.label] = max(until_s.get(load.label, 0.0), load.end_s)
    first = (s.wait.end_s <= until_s.get(s.wait.chunk, -1.0) + 1e-9 for s in found)
    return tuple(
        replace(s, why=f"{s.why}; its first load, which is cold") if is_first else s
        for s, is_first in zip(found, first, strict=True)
    )


# ---------------------------------------------------------------- windows


def loops(program: Program, events: Sequence[Bar]) -> tuple[LoopTimes, ...]:
    """The loops that were run, with the end of each iteration's last call."""
    ends: dict[int, dict[int, float]] = defaultdict(dict)
    for e in events:
        if e.queue == "compute":
            done = ends[e.segment]
            done[e.iteration] = max(done.get(e.iteration, 0.0), e.end_s)
    result = []
    for s, segment in enumerate(program.segments):
        if not segment.is_loop or s not in ends:
            continue
        before = max((max(ends[b].values()) for b in ends if b < s), default=0.0)
        times = tuple(ends[s][i] for i in sorted(ends[s]))
        result.append(LoopTimes(s, segment.name, before, times))
    return tuple(result)


def windows(found: Sequence[LoopTimes], makespan_s: float) -> tuple[View, ...]:
    """The whole run; around the longest loop its prologue, a steady iteration, the epilogue."""
    whole = View("Whole run", 0.0, makespan_s)
    if not found:
        return (whole,)
    main = max(found, key=lambda p: p.ends_s[-1] - p.start_s)
    steady = min(2, len(main.ends_s) - 1)
    start = main.ends_s[steady - 1] if steady else main.start_s
    parts = [
        View("Prologue", 0.0, main.start_s),
        View("Steady iteration", start, main.ends_s[steady]),
        View("Epilogue", main.ends_s[-1], makespan_s),
    ]
    return (whole, *(w for w in parts if w.end_s - w.start_s > _NEAR * makespan_s))
