"""What each step of a run takes, and the loops among them: what a run's progress is weighed by."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from entracte.clock.timeline import predicted
from entracte.errors import EntracteError
from entracte.ir import Bar, Plan, Program, Run
from entracte.program.steps import bases
from entracte.progress.values import LoopSpan
from entracte.run.record import run_of


@dataclass(frozen=True, slots=True)
class Pace:
    """Of the steps of a run, in order."""

    steps_s: tuple[float, ...]
    """Expected seconds of each."""
    names: tuple[str, ...]
    """Their stages."""
    loops: tuple[LoopSpan, ...]
    same: bool
    """The seconds were observed, in an earlier run of the plan on the same device."""

    def twice(self, before: str) -> "Pace":
        """All steps, and all once more: how packages and their source are run. Until the first
        step ends `before` runs, which takes longer than that step."""
        count = len(self.names)
        again = tuple(replace(loop, first=loop.first + count) for loop in self.loops)
        return Pace(
            2 * self.steps_s, (before, *self.names[1:], *self.names), self.loops + again, same=False
        )


def pace_of(plan: Plan, folder: Path, device: str) -> Pace:
    """What to expect of a run of a build folder's plan, by its last record if there is one."""
    run = None
    # A record of another plan is no fault of the run that is to replace it.
    with suppress(EntracteError, OSError):
        run = run_of(plan, folder)
    seconds, same = expected_steps_s(plan, run, device)
    names = [[step.stage for step in s.steps] * s.count for s in plan.program.segments]
    return Pace(seconds, tuple(n for part in names for n in part), loops_of(plan.program), same)


def loops_of(program: Program) -> tuple[LoopSpan, ...]:
    """Segments of several iterations, by the numbers of their steps."""
    return tuple(
        LoopSpan(segment.name, base, len(segment.steps), segment.count, segment.sliced)
        for base, segment in zip(bases(program), program.segments, strict=True)
        if segment.count > 1
    )


def steps_s(program: Program, bars: Sequence[Bar], whole_s: float) -> tuple[float, ...]:
    """Seconds from the end of each step to the end of the next, waits among them.

    Args:
        bars: of a run's calls; steps without one (host steps) fall to the next that has one.
        whole_s: the run's seconds; what is left of them after its last call is its last step's.
    """
    base, ends = bases(program), [0.0] * program.step_count
    for bar in bars:
        if bar.queue == "compute":
            length = len(program.segments[bar.segment].steps)
            ends[base[bar.segment] + bar.iteration * length + bar.step] = bar.end_s
    before, result = 0.0, []
    for end in ends:
        result.append(max(0.0, end - before))
        before = max(before, end)
    result[-1] += max(0.0, whole_s - before)
    return tuple(result)


def expected_steps_s(plan: Plan, run: Run | None, device: str) -> tuple[tuple[float, ...], bool]:
    """Seconds of each step, and whether they were observed: by an earlier run on the same device.
    Else they are the plan's, which are of its target and only weigh steps against each other."""
    # Of a run that went on from a snapshot only the rest is told.
    if run is not None and run.device == device and run.bars and run.resumed is None:
        return steps_s(plan.program, run.bars, run.wall_s), True
    made = predicted(plan)
    return steps_s(plan.program, made.bars, made.makespan_s), False
