"""The whole predicted run of a plan, every event of every iteration: what pictures are made from.

`plan.json` keeps a few iterations only; the rest follows from the plan, so it is worked out again,
without torch and in milliseconds.
"""

from dataclasses import dataclass

from entracte.clock.replay import replay
from entracte.clock.simulate import Simulation, Wait
from entracte.ir import Event, Plan


@dataclass(frozen=True, slots=True)
class Timeline:
    """Events by start, frees before loads before calls; `waits` are the stalls, each with what
    it waits for."""

    events: tuple[Event, ...]
    waits: tuple[Wait, ...]
    makespan_s: float


_ORDER = {"free": 0, "load": 1, "compute": 2}


def predicted(plan: Plan) -> Timeline:
    """The plan under its nominal times, no loop ending early: what `plan.forecast` sums up."""
    made = simulated(plan)
    events = sorted(made.events, key=lambda e: (e.start_s, _ORDER[e.queue], e.end_s))
    return Timeline(tuple(events), made.waits, made.makespan_s)


def simulated(plan: Plan) -> Simulation:
    """By the rule that the plan's runner follows, in the device's pages."""
    return replay(
        plan.program,
        {f.id: f for f in plan.facts},
        plan.schedule,
        contention=plan.target.contention,
        page_bytes=plan.target.page_bytes,
    )
