"""Program x facts x policy -> Schedule: when each chunk is loaded and freed.

Every load has a *gate*: the step whose end lets it start. A copy is in memory while step t
runs iff gate < t <= last use, so the peak is bounded for **any** durations once

    for all t:  need_t + sum of w_k over {k : gate_k < t <= free_k}  <=  budget

holds (shared reference scheduling.md, section 1: gates lose nothing). Predicted times choose
among safe schedules and nothing else.

What the policies do is in docs/planner.md; `Policy.rule` names how kept chunks are chosen.
"""

from collections.abc import Mapping
from dataclasses import replace

from compiler.ci_dl import kept_blocks
from compiler.errors import DoesNotFit
from compiler.ir import ChunkFacts, Policy, Program, Schedule
from compiler.place import Conflict
from compiler.search import Found, Searcher
from compiler.slots import expand
from compiler.units import format_bytes

BASELINES = (
    Policy("sequential", 0, False),
    Policy("double_buffer", 1, True),
    Policy("ci_dl", 1, True, "ci_dl", 2),
    Policy("strided", 1_000_000, True, "strided"),
)
"""`conf/policy/`: what `optimal` is never worse than, because it tries them too."""


SLOWER = 2.0
"""The chunks that the online rule keeps are searched for loads so many times slower than planned:
that costs nothing where loads are hidden, and helps where they turn out slow (docs/online-rule.md).
"""


def make_schedule(
    program: Program,
    facts: Mapping[str, ChunkFacts],
    policy: Policy,
    budget_bytes: int,
    *,
    contention: float = 1.0,
    quick: bool = False,
) -> Schedule:
    """The best of the safe schedules of this policy by simulated time, then by bytes loaded.

    `contention` is how many times slower loads and calls are while they overlap. `quick` is for
    comparing many programs: `optimal` then tries the strided sets only.
    Raises `DoesNotFit` naming the chunk when even the leanest schedule exceeds the budget.
    """
    if policy.rule == "online":
        slower = {c: replace(f, load_s=f.load_s * SLOWER) for c, f in facts.items()}
        searched = replace(policy, rule="optimal")
        made = make_schedule(
            program, slower, searched, budget_bytes, contention=contention, quick=quick
        )
        return replace(made, policy=policy)

    def find(by: Policy) -> Found:
        return _find(Searcher(program, facts, by, budget_bytes, contention), quick)

    found = find(policy)
    if policy.rule == "optimal" and not quick:
        trials = [found, *map(find, BASELINES)]
        found = _fastest(program, facts, trials, contention)
    return _schedule(found, policy, budget_bytes)


def _find(searcher: Searcher, quick: bool) -> Found:
    if searcher.policy.rule == "ci_dl":
        return _published(searcher)
    base = searcher.attempt({})
    if isinstance(base, Conflict):
        raise _does_not_fit(base, searcher.facts, searcher.frame.budget)
    return searcher.run(base, quick) if searcher.policy.retain else base


def _fastest(
    program: Program, facts: Mapping[str, ChunkFacts], trials: list[Found], contention: float
) -> Found:
    """By the clock that makes the forecast: the baselines among them, `optimal` is never worse."""
    # Imported here: the simulator reads schedules, so it stands to the right of this module.
    from compiler.simulate import simulate

    def cost(trial: Found) -> tuple[float, int]:
        schedule = _schedule(trial, BASELINES[0], 0)
        result = simulate(program, facts, schedule, contention=contention)
        return round(result.makespan_s, 9), result.loaded_bytes

    return min(trials, key=cost)


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
