"""A short look at a schedule's time: long loops are run for a few iterations, then go on."""

from dataclasses import replace

from entracte.clock.predict import simulated
from entracte.clock.quick import step_ends
from entracte.ir import Schedule
from entracte.program.steps import bases, pace_of, shortened
from entracte.program.workload import Workload


def paced_s(workload: Workload, schedule: Schedule) -> float:
    """The makespan, nearly: loops that were cut short go on at their last pace.

    For comparing many programs: whole runs of them cost several times more.
    """
    program = workload.program
    short = shortened(program)
    ends = _step_ends(replace(workload, program=short), schedule)
    ns = float(ends[-1]) if ends else 0.0
    for base, whole, run in zip(bases(short), program.segments, short.segments, strict=True):
        if run.count < whole.count:
            length = len(run.steps)
            last = base + run.count * length - 1
            over = pace_of(whole)
            pace = (ends[last] - ends[last - over * length]) / over
            ns += (whole.count - run.count) * pace
    return ns / 1e9


def _step_ends(workload: Workload, schedule: Schedule) -> list[int]:
    """Nanoseconds at which each step ends."""
    if schedule.driver == "gates":
        return step_ends(workload, schedule)
    made = simulated(workload, schedule)
    return [x.end_ns for x in made.intervals if x.queue == "compute"]
