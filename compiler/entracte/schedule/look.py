"""Times of schedules for comparing them: whole runs, and a short look in which long loops are run
for a few iterations and then go on."""

from dataclasses import replace

from entracte.clock.predict import simulated
from entracte.clock.quick import end_and_bytes, step_ends
from entracte.ir import Schedule
from entracte.program.steps import bases, pace_of, shortened
from entracte.program.workload import Workload
from entracte.schedule.pace import Cost


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


def cost_of(workload: Workload, schedule: Schedule) -> Cost:
    """Seconds of the whole run on the clock, and the bytes it loads."""
    if schedule.driver == "gates":
        ns, loaded = end_and_bytes(workload, schedule)
        return ns / 1e9, loaded
    made = simulated(workload, schedule)
    return made.makespan_ns / 1e9, made.loaded_bytes


def _step_ends(workload: Workload, schedule: Schedule) -> list[int]:
    """Nanoseconds at which each step ends."""
    if schedule.driver == "gates":
        return step_ends(workload, schedule)
    made = simulated(workload, schedule)
    return [x.end_ns for x in made.intervals if x.queue == "compute"]
