"""Schedules by gates: when each chunk is loaded and freed, whatever the clock says.

Every load has a *gate*: the step whose end lets it start. A copy is in memory while step t
runs iff gate < t <= last use, so the peak is bounded for **any** durations once

    for all t:  need_t + sum of w_k over {k : gate_k < t <= free_k}  <=  budget

holds (shared reference scheduling.md, section 1: gates lose nothing). Predicted times choose
among safe schedules and nothing else.

What the policies do is in docs/planner.md; `Policy.rule` names how kept chunks are chosen.
"""

from collections.abc import Mapping

from entracte.errors import DoesNotFit
from entracte.ir import ChunkFacts, Policy, Program, Schedule
from entracte.program.steps import expand
from entracte.schedule.ci_dl import kept_blocks
from entracte.schedule.place import Conflict
from entracte.schedule.search import Found, Searcher
from entracte.units import format_bytes


def schedule_by_gates(
    program: Program,
    facts: Mapping[str, ChunkFacts],
    policy: Policy,
    budget_bytes: int,
    *,
    contention: float = 1.0,
    quick: bool = False,
    effort: float = 1.0,
) -> Schedule:
    """The best that this policy's own search finds, by simulated time, then by bytes loaded.

    `quick` is for comparing many programs: `optimal` then tries the strided sets only. `effort` is
    the share of its work that the search may do. Raises `DoesNotFit` naming the chunk when even the
    leanest schedule exceeds the budget.
    """
    searcher = Searcher(program, facts, policy, budget_bytes, contention, effort)
    found = _find(searcher, quick)
    return _schedule(found, policy, budget_bytes)


def _find(searcher: Searcher, quick: bool) -> Found:
    if searcher.policy.rule == "ci_dl":
        return _published(searcher)
    base = searcher.attempt({})
    if isinstance(base, Conflict):
        raise _does_not_fit(base, searcher.facts, searcher.frame.budget)
    return searcher.run(base, quick) if searcher.policy.retain else base


def _schedule(found: Found, policy: Policy, budget: int) -> Schedule:
    resident = tuple(sorted({c for kept in found.kept.values() for c in kept}))
    return Schedule(policy=policy, budget_bytes=budget, loads=found.loads, resident=resident)


def _published(searcher: Searcher) -> Found:
    """CI-DL's kept blocks, fewer where they would break the budget: its margin is a guess."""
    program, facts, policy = searcher.program, searcher.facts, searcher.policy
    budget = searcher.frame.budget
    slots = expand(program, facts, 1)
    kept = kept_blocks(program, facts, policy, budget, slots) if policy.retain else {}
    while True:
        attempt = searcher.attempt(kept)
        if isinstance(attempt, Found):
            return attempt
        segment = attempt.slot.segment
        if not kept.get(segment):
            raise _does_not_fit(attempt, facts, budget)
        kept[segment] = kept[segment][:-1]


def _does_not_fit(conflict: Conflict, facts: Mapping[str, ChunkFacts], budget: int) -> DoesNotFit:
    slot = conflict.slot
    assert slot.chunk is not None
    f = facts[slot.chunk]
    total = slot.need_bytes + conflict.present_bytes
    stage = slot.chunk.split(".")[0]
    return DoesNotFit(
        f"does not fit: stage `{stage}`, chunk {slot.chunk}, needs {format_bytes(total)} at its "
        f"peak (weights {format_bytes(f.weight_bytes)}, activations "
        f"{format_bytes(f.activation_bytes)}, live tensors "
        f"{format_bytes(slot.need_bytes - f.activation_bytes)}), budget "
        f"{format_bytes(budget)}",
        chunk=slot.chunk,
        need_bytes=total,
    )
