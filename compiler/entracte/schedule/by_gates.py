"""Schedules by gates: when each chunk is loaded and freed, whatever the clock says.

Every load has a *gate*: the step whose end lets it start. A copy is in memory while step t
runs iff gate < t <= last use, so the peak is bounded for **any** durations once

    for all t:  need_t + sum of w_k over {k : gate_k < t <= free_k}  <=  budget

holds (shared reference scheduling.md, section 1: gates lose nothing). Predicted times choose
among safe schedules and nothing else.

What the policies do is in docs/planner.md; `Policy.keep` names how kept chunks are chosen.
"""

from collections.abc import Callable

from entracte.errors import DoesNotFit
from entracte.ir import Policy, Schedule
from entracte.program.workload import Workload
from entracte.schedule.ci_dl import kept_blocks
from entracte.schedule.given import Conflict, Given
from entracte.schedule.search import Found, Searcher
from entracte.units import format_bytes


def schedule_by_gates(
    workload: Workload, policy: Policy, *, effort: float = 1.0, given: Given | None = None
) -> Schedule:
    """The best that this policy's own search finds, by simulated time, then by bytes loaded.

    `effort` is the share of its work that the search may do. `given`: of this workload, if it was
    made before, perhaps with other times. Raises `DoesNotFit` naming the chunk
    when even the leanest schedule exceeds the budget.
    """
    searcher = Searcher(workload, policy, effort, given)
    return _schedule(searcher, _found(searcher, searcher.best))


def quick_by_gates(workload: Workload, policy: Policy, given: Given | None = None) -> Schedule:
    """For comparing many programs: few kept sets are tried. `given`: of this workload, if made."""
    searcher = Searcher(workload, policy, given=given)
    return _schedule(searcher, _found(searcher, searcher.first_look))


def _found(searcher: Searcher, search: Callable[[Found], Found]) -> Found:
    if searcher.policy.keep == "published":
        return _published(searcher)
    base = searcher.attempt(_alone(searcher))
    if isinstance(base, Conflict):
        base = searcher.attempt({})
    if isinstance(base, Conflict):
        raise _does_not_fit(base, searcher.workload)
    return search(base) if searcher.policy.retain else base


def _alone(searcher: Searcher) -> dict[int, list[str]]:
    """Loops of one chunk, which every policy keeps where it fits: no other takes its place, and to
    load it again for each iteration (each slice of a map) is what nobody means."""
    return {x.segment: x.chunks for x in searcher.loops if len(x.chunks) == 1}


def _schedule(searcher: Searcher, found: Found) -> Schedule:
    return Schedule(
        policy=searcher.policy,
        budget_bytes=searcher.workload.budget_bytes,
        loads=found.loads,
        resident=tuple(sorted({c for kept in found.kept.values() for c in kept})),
    )


def _published(searcher: Searcher) -> Found:
    """CI-DL's kept blocks, fewer where they would break the budget: its margin is a guess."""
    workload, policy = searcher.workload, searcher.policy
    kept = _alone(searcher)
    if policy.retain:
        kept |= kept_blocks(workload, policy, searcher.given.unrolled)
    while True:
        attempt = searcher.attempt(kept)
        if isinstance(attempt, Found):
            return attempt
        segment = attempt.at.segment
        if not kept.get(segment):
            raise _does_not_fit(attempt, workload)
        kept[segment] = kept[segment][:-1]


def _does_not_fit(conflict: Conflict, workload: Workload) -> DoesNotFit:
    at = conflict.at
    assert at.chunk is not None
    f = workload.facts[at.chunk]
    total = at.need_bytes + conflict.present_bytes
    stage = at.chunk.split(".")[0]
    return DoesNotFit(
        f"does not fit: stage `{stage}`, chunk {at.chunk}, needs {format_bytes(total)} at its "
        f"peak (weights {format_bytes(f.weight_bytes)}, activations "
        f"{format_bytes(f.activation_bytes)}, live tensors "
        f"{format_bytes(at.need_bytes - f.activation_bytes)}), budget "
        f"{format_bytes(workload.budget_bytes)}",
        chunk=at.chunk,
        need_bytes=total,
    )
