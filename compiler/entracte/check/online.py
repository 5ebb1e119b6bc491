"""The checker's half about the online rule: what it can ever hold, from the plan alone.

The rule (docs/online-rule.md) keeps two promises for every timing. It starts nothing before bytes
loaded and loading, with all that the steps up to the load's use need, are within the budget; and
it holds no chunk that no step calls any more, a load in flight when its loop ended early excepted.
So while step t runs, memory is at most the budget, and at most what t itself needs with all chunks
that t or a later step calls, and those of loops before t that may end early. The smaller of the
two is the claim. It needs that each step fits alone, which is proven here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from entracte.check.life import At, name_of
from entracte.check.names import once
from entracte.errors import PlanError
from entracte.ir import Call, ChunkFacts, Program, Schedule

DRIVERS = ("gates", "online")


def check_driver(facts: Mapping[str, ChunkFacts], schedule: Schedule) -> None:
    """The driver is one that runners know, and what is kept are chunks of the plan."""
    if schedule.driver not in DRIVERS:
        raise PlanError(f"plan: the driver {schedule.driver!r} is not one of {', '.join(DRIVERS)}")
    _check_kept("schedule.resident keeps", schedule.resident, facts)
    before = -1.0
    for kept in schedule.kept:
        if not before < kept.slower:
            raise PlanError("plan: what the online rule keeps is not sorted by `slower`")
        before = kept.slower
        _check_kept("the online rule keeps", kept.chunks, facts)


def _check_kept(what: str, chunks: Sequence[str], facts: Mapping[str, ChunkFacts]) -> None:
    stray = sorted(set(chunks) - set(facts))
    if stray:
        raise PlanError(f"plan: {what} {stray[0]!r}, which is no chunk")
    once(f"plan: {what} two chunks called", chunks)


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
    ended = _ended_before(program)
    later: set[str] = set()
    there_bytes, segment = 0, -1
    at, total_bytes = 0, 0
    for n in reversed(range(len(timeline))):
        step, need = timeline[n], needs[n]
        own = step.what.chunk if isinstance(step.what, Call) else None
        if own is not None and need + facts[own].weight_bytes > budget:
            raise PlanError(
                f"plan: {name_of(step)} needs {need + facts[own].weight_bytes} bytes alone, the "
                f"budget is {budget} bytes"
            )
        if step.segment != segment or (own is not None and own not in later):
            segment = step.segment
            later.update(() if own is None else (own,))
            there_bytes = sum(facts[c].weight_bytes for c in later | ended[segment])
        most = min(budget, need + there_bytes)
        if most >= total_bytes:
            at, total_bytes = n, most
    return OnlinePeak(total_bytes, at, _there(timeline, at, ended))


def _there(timeline: Sequence[At], at: int, ended: Sequence[frozenset[str]]) -> frozenset[str]:
    """What may be there during a step: all that is called from it on, and what early ends leave."""
    if not timeline:
        return frozenset()
    called = {x.what.chunk for x in timeline[at:] if isinstance(x.what, Call)}
    return ended[timeline[at].segment] | called


def _ended_before(program: Program) -> list[frozenset[str]]:
    """For each segment the chunks of loops before it that may end early."""
    before, found = frozenset[str](), []
    for s, segment in enumerate(program.segments):
        found.append(before)
        if segment.until is not None:
            before |= _called(program, s)
    return found


def _called(program: Program, segment: int) -> set[str]:
    return {x.chunk for x in program.segments[segment].steps if isinstance(x, Call)}
