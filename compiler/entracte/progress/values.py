"""How far a long job is: values decided here, from what it tells and a clock; `cli` prints them.

A job is phases, a phase is units of work (bytes, packages, steps). What phases took last time
weighs them against each other. A time left is told only where the same job was done before, and not
once it takes longer than it did then: a wrong number is worse than none.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """What a phase took in the last job in which it had anything to do."""

    phase: str
    seconds: float
    work: int
    """Units that it did; 0 where it never had any: all was in the cache."""

    def expected_s(self, work: int) -> float:
        """Seconds of so much work."""
        return self.seconds * work / self.work if self.work else self.seconds


@dataclass(frozen=True, slots=True)
class Expected:
    """What a job's phases are expected to take, in order."""

    phases: tuple[PhaseTime, ...] = ()
    ground: str = ""
    """The phase from which on they are a ground for a time left: by then it is known what there is
    to do, and a job like this one did such work before. Empty: they only weigh phases."""
    follows: tuple[tuple[str, str], ...] = ()
    """(phase, the phase before it whose work tells how much it will have to do)."""


NOTHING = Expected()


@dataclass(frozen=True, slots=True)
class LoopSpan:
    """A loop among a phase's units: from unit `first`, `count` iterations of `length` units."""

    name: str
    first: int
    length: int
    count: int
    sliced: bool = False
    """Its iterations are the slices of a map."""


@dataclass(frozen=True, slots=True)
class LoopPlace:
    """Where in a loop a phase is."""

    name: str
    iteration: int
    """That runs now, from 1."""
    count: int
    each_s: float | None
    """Mean seconds of those done, without the first once there is another; None at the start."""
    sliced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is."""

    phase: str
    name: str
    """What runs now; several things are parted by commas."""
    done: int
    of: int
    """Units of the phase."""
    unit_bytes: bool
    """The units are bytes."""
    phase_s: float
    seconds: float
    """Since the phase began, and since the job began."""
    share: float
    """Of the whole job, by expected seconds; from 0 to 1."""
    left_s: float | None
    """Seconds left of the whole job; None where there is no ground for a number."""
    late: bool
    """It takes longer than last time."""
    loop: LoopPlace | None = None


def merged(last: Sequence[PhaseTime], now: Sequence[PhaseTime]) -> tuple[PhaseTime, ...]:
    """What to remember of a job: of phases that had nothing to do, what they took before."""
    before = {t.phase: t for t in last}
    told = {t.phase: t if t.work else before.get(t.phase, t) for t in now}
    # What was not needed this time, such as comparing, keeps its place behind what it followed.
    order = list(dict.fromkeys([*before, *told]) if set(told) <= set(before) else told)
    return tuple(told.get(name) or before[name] for name in order)
