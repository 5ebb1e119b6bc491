"""Schedule x nominal times -> what happens when, by the rule that the schedule's runner follows."""

from collections.abc import Mapping

from entracte.clock.online_replay import replay_online
from entracte.clock.simulate import Simulation, simulate
from entracte.ir import ChunkFacts, Program, Schedule


def replay(
    program: Program,
    facts: Mapping[str, ChunkFacts],
    schedule: Schedule,
    *,
    contention: float = 1.0,
    page_bytes: int = 0,
    ends: Mapping[int, int] | None = None,
) -> Simulation:
    """Run the schedule under nominal times; `ends`: segment -> iterations it does, if fewer."""
    if schedule.rule == "online":
        return replay_online(
            program, facts, schedule, contention=contention, page_bytes=page_bytes, ends=ends
        )
    return simulate(program, facts, schedule, contention=contention, ends=ends)
