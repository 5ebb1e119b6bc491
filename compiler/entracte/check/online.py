"""The checker's half about the online rule: what it can ever hold, from the plan alone.

The rule (docs/online-rule.md) keeps two promises for every timing. It starts nothing before bytes
loaded and loading, with all that the steps up to the load's use need, are within the budget; and
it holds no chunk that no step calls any more, a load in flight when its loop ended early excepted.
So while step t runs, memory is at most the budget, and at most what t itself needs with all chunks
that t or a later step calls, and those of loops before t that may end early. The smaller of the
two is the claim. It needs that each step fits alone, which is proven here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from entracte.check.life import At, name_of
from entracte.errors import PlanError
from entracte.ir import Call, ChunkFacts, Program, Schedule

DRIVERS = ("gates", "online")


def check_driver(facts: Mapping[str, ChunkFacts], schedule: Schedule) -> None:
    """The driver is one that runners know, and what it keeps are chunks of the plan."""
    if schedule.driver not in DRIVERS:
        raise PlanError(f"plan: the driver {schedule.driver!r} is not one of {', '.join(DRIVERS)}")
    before = -1.0
    for kept in schedule.kept:
        if not math.isfinite(kept.slower) or not before < kept.slower:
            raise PlanError("plan: what the online rule keeps is not sorted by `slower`")
        before = kept.slower
        stray = sorted(set(kept.chunks) - set(facts))
        if stray:
            raise PlanError(f"plan: the online rule keeps {stray[0]!r}, which is no chunk")


@dataclass(frozen=True, slots=True)
class OnlinePeak:
    """The most bytes that the rule can hold at once: at which step of the timeline, and which
    chunks, the step's own included, that may be of. They need not all fit."""

    total_bytes: int
    at: int
    chunks: frozenset[str]


def online_peak(
    program: Program,
    timeline: Sequence[At],
    needs: Sequence[int],
    facts: Mapping[str, ChunkFacts],
    budget: int,
) -> OnlinePeak:
    """The first of the fullest steps.

    Args:
        needs: of each step of the timeline, its activations and the tensors alive.

    Raises `PlanError` where a step exceeds the budget alone.
    """
    later: set[str] = set()
    ended = [_called(program, s) if g.until else set() for s, g in enumerate(program.segments)]
    peak = OnlinePeak(0, 0, frozenset())
    for n in reversed(range(len(timeline))):
        at, need = timeline[n], needs[n]
        own = at.what.chunk if isinstance(at.what, Call) else None
        if own is not None:
            later.add(own)
            alone = need + facts[own].weight_bytes
            if alone > budget:
                raise PlanError(
                    f"plan: {name_of(at)} needs {alone} bytes alone, the budget is {budget} bytes"
                )
        there = later.union(*ended[: at.segment])
        most = min(budget, need + sum(facts[c].weight_bytes for c in there))
        if most >= peak.total_bytes:
            peak = OnlinePeak(most, n, frozenset(there))
    return peak


def _called(program: Program, segment: int) -> set[str]:
    return {x.chunk for x in program.segments[segment].steps if isinstance(x, Call)}
