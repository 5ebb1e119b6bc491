"""The phase that runs: what is done, where in a loop it is, what is expected of the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

from entracte.progress.values import LoopPlace, LoopSpan

_PACE_FROM = 0.05
"""Of a phase's expected seconds: from here on its own pace is believed."""
_NEARLY = 0.99
"""A share that only time says, not work, ends here."""


@dataclass
class Phase:
    """Working state of one phase."""

    name: str
    total: int
    unit_bytes: bool
    begun_s: float
    ends: tuple[float, ...]
    """Expected seconds until each unit's end, where units are known to differ."""
    loops: tuple[LoopSpan, ...]
    names: tuple[str, ...]
    done: int = 0
    done_s: float = 0.0
    """When the last unit ended, since the phase began."""
    seen_s: float = 0.0
    """Expected seconds of the units that were seen to end."""
    boundaries: list[float] | None = None
    """When the iterations of the loop that runs began, since the phase began."""
    loop: LoopSpan | None = None
    entered: int = 0
    """Iteration of the loop with which it was entered: not 0 where a run goes on in its middle."""

    def move(self, done: int, now_s: float) -> None:
        """So many units are done."""
        if self.ends and 0 < done <= len(self.ends):
            before = self.ends[done - 2] if done > 1 else 0.0
            self.seen_s += self.ends[done - 1] - before
        self.done, self.done_s = done, now_s - self.begun_s
        self._enter()

    def _enter(self) -> None:
        loop = _loop_at(self.loops, self.done)
        if loop is not self.loop:
            self.loop, self.boundaries = loop, []
            self.entered = 0 if loop is None else (self.done - loop.first) // loop.length
        if loop is None or self.boundaries is None:
            return
        begun = (self.done - loop.first) // loop.length - self.entered
        if len(self.boundaries) <= begun:
            self.boundaries.append(self.done_s)

    def place(self) -> LoopPlace | None:
        """Where in a loop it is."""
        if self.loop is None or not self.boundaries:
            return None
        iteration = (self.done - self.loop.first) // self.loop.length + 1
        times = self.boundaries[1:] if len(self.boundaries) > 2 else self.boundaries
        each_s = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None
        return LoopPlace(self.loop.name, iteration, self.loop.count, each_s, self.loop.sliced)


def _loop_at(loops: Sequence[LoopSpan], unit: int) -> LoopSpan | None:
    for loop in loops:
        if loop.first <= unit < loop.first + loop.length * loop.count:
            return loop
    return None


@dataclass(frozen=True, slots=True)
class Outlook:
    """Of the phase that runs: expected seconds of all and of what is done, seconds left."""

    whole_s: float
    done_s: float
    left_s: float
    over_s: float
    """How far it is over what was expected by now."""


def by_time(
    expected_s: float, part: float, phase: Phase, spent_s: float, grounded: bool
) -> Outlook:
    """Units of one phase may take very different times: what counts is the phase's, last time."""
    done = part
    if grounded and expected_s > 0 and phase.total:
        # Smooth between the ends of units, but not beyond the unit that runs.
        most = min(_NEARLY, (phase.done + 1) / phase.total)
        part = max(part, min(most, spent_s / expected_s))
    # Less where work is done faster than it was.
    left_s = max(0.0, min(expected_s - spent_s, expected_s * (1 - done)))
    over_s = spent_s - expected_s if phase.done < phase.total else 0.0
    return Outlook(expected_s, part * expected_s, left_s, over_s)


def by_units(phase: Phase, spent_s: float) -> Outlook:
    """Each unit has its own expected seconds; a machine may be slower than it was by a factor."""
    whole_s, done_s = phase.ends[-1], phase.ends[min(phase.done, len(phase.ends)) - 1]
    done_s = done_s if phase.done else 0.0
    pace = phase.done_s / phase.seen_s if phase.seen_s > _PACE_FROM * whole_s else 1.0
    next_s = 0.0
    if phase.done < len(phase.ends):
        next_s = (phase.ends[phase.done] - done_s) * pace
    since_s = spent_s - phase.done_s
    left_s = (whole_s - done_s) * pace - min(since_s, next_s)
    return Outlook(whole_s, done_s, left_s, since_s - next_s)
