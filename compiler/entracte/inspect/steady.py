"""Steady iterations of loops: what a predicted run does in one of them, and what it waits for."""

from dataclasses import dataclass

from entracte.clock.predict import Wait
from entracte.clock.timeline import Timeline
from entracte.ir import Bar, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyIteration:
    """A steady iteration of a loop: from the end of the call before it to its last call's end."""

    segment: int
    name: str
    iteration: int
    count: int
    start_s: float
    end_s: float
    bars: tuple[Bar, ...]
    """Loads and calls that overlap it."""
    waits: tuple[Wait, ...]


def steady_iterations(plan: Plan, run: Timeline) -> tuple[SteadyIteration, ...]:
    """One steady iteration of each loop: from the middle, where loads have settled and functions
    are those of the later half."""
    made = []
    for s, segment in enumerate(plan.program.segments):
        if not segment.is_loop:
            continue
        iteration = min(max(2, segment.count // 2), segment.count - 1)
        found = _steady(run, s, segment.name, iteration, segment.count)
        made += [found] if found is not None else []
    return tuple(made)


def _steady(
    run: Timeline, segment: int, name: str, iteration: int, count: int
) -> SteadyIteration | None:
    calls = [e for e in run.bars if e.queue == "compute"]
    own = [e for e in calls if (e.segment, e.iteration) == (segment, iteration)]
    if not own:
        return None
    before = [e.end_s for e in calls if (e.segment, e.iteration) < (segment, iteration)]
    start, end = max(before, default=0.0), own[-1].end_s
    overlapping = [e for e in run.bars if e.end_s > start and e.start_s < end]
    return SteadyIteration(
        segment=segment,
        name=name,
        iteration=iteration,
        count=count,
        start_s=start,
        end_s=end,
        bars=tuple(e for e in overlapping if e.queue == "load" or e in own),
        waits=tuple(w for w in run.waits if w.end_s > start and w.start_s < end),
    )
