"""The whole predicted run of a plan, every bar of every iteration: what pictures are made from.

`plan.json` keeps a few iterations only; the rest follows from the plan, so it is worked out again,
without torch and in milliseconds.
"""

from dataclasses import dataclass

from entracte.clock.predict import Wait, predict
from entracte.ir import Bar, Plan
from entracte.program.workload import Workload


@dataclass(frozen=True, slots=True)
class Timeline:
    """Bars by start, frees before loads before calls; `waits` are the stalls, each with what it
    waits for."""

    bars: tuple[Bar, ...]
    waits: tuple[Wait, ...]
    makespan_s: float


_ORDER = {"free": 0, "load": 1, "compute": 2}


def predicted(plan: Plan) -> Timeline:
    """The plan under its nominal times, no loop ending early: what `plan.forecast` sums up."""
    made = predict(Workload.of(plan), plan.schedule)
    bars = sorted(made.bars, key=lambda b: (b.start_s, _ORDER[b.queue], b.end_s))
    return Timeline(tuple(bars), made.waits, made.makespan_s)
