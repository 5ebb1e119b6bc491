"""A short look at a schedule's time: long loops are run for a few iterations, then go on."""

from dataclasses import replace

from entracte.clock.predict import predict
from entracte.ir import Schedule
from entracte.program.steps import PACE, shortened
from entracte.program.workload import Workload


def paced_s(workload: Workload, schedule: Schedule) -> float:
    """The makespan, nearly: loops that were cut short go on at their last pace.

    For comparing many programs: whole runs of them cost several times more.
    """
    program = workload.program
    short = shortened(program)
    made = predict(replace(workload, program=short), schedule)
    ends = {(b.segment, b.iteration): b.end_s for b in made.bars if b.queue == "compute"}
    seconds = made.makespan_s
    for s, (whole, run) in enumerate(zip(program.segments, short.segments, strict=True)):
        if run.count < whole.count and (s, run.count - 1) in ends:
            pace = (ends[s, run.count - 1] - ends[s, run.count - 1 - PACE]) / PACE
            seconds += (whole.count - run.count) * pace
    return seconds
