"""Program x facts x policy -> Schedule: the best of what gates and the online rule can do.

Baselines are schedules by gates (`entracte/schedule/by_gates.py`). `optimal` also lets the online rule run,
with the chunks it should keep (`entracte/schedule/online_search.py`), and takes what is fastest by the
clocks that make the forecast, the rule even if it is a thousandth slower. So it is never slower
than another policy by more than that, by prediction. Gates are in every schedule and prove that it
fits; predicted times choose among safe schedules, nothing else.
"""

from collections.abc import Mapping
from dataclasses import replace

from entracte.clock.replay import replay
from entracte.errors import PlanError
from entracte.ir import ChunkFacts, Policy, Program, Schedule
from entracte.schedule.by_gates import schedule_by_gates
from entracte.schedule.online_search import schedule_online, with_speeds

BASELINES = (
    Policy("sequential", 0, False),
    Policy("double_buffer", 1, True),
    Policy("ci_dl", 1, True, "ci_dl", 2),
    Policy("strided", 1_000_000, True, "strided"),
)
"""`conf/policy/`: what `optimal` is never worse than, because it tries them too."""

_SLACK = 1e-3
"""The online rule is taken if it is slower by no more than this share: wrong times cost it 0.4 %,
and gates 5 % (docs/online-rule.md), and no prediction is right to a thousandth."""
SEARCHED = ("optimal", "online")
"""`Policy.rule` of ours."""


def make_schedule(
    program: Program,
    facts: Mapping[str, ChunkFacts],
    policy: Policy,
    budget_bytes: int,
    *,
    contention: float = 1.0,
    page_bytes: int = 0,
    quick: bool = False,
    speeds: bool = True,
) -> Schedule:
    """The best of the safe schedules of this policy by simulated time, then by bytes loaded.

    Args:
        contention: how many times slower loads and calls are while they overlap.
        page_bytes: what the device can load at once of a package; 0: packages load whole. Only the
            online rule loads by pages.
        quick: for comparing many programs: by gates only, and few kept sets are tried.
        speeds: find out what the online rule should keep where times differ from the planned ones.

    Raises `DoesNotFit` naming the chunk when even the leanest schedule exceeds the budget.
    """

    def by_gates(policy: Policy) -> Schedule:
        return schedule_by_gates(
            program, facts, policy, budget_bytes, contention=contention, quick=quick
        )

    if policy.rule not in SEARCHED:
        return by_gates(policy)
    searched = by_gates(replace(policy, rule="optimal"))
    if quick:
        return replace(searched, policy=policy)
    trials = []
    try:
        trials.append(
            schedule_online(program, facts, searched, contention=contention, page_bytes=page_bytes)
        )
    except PlanError:
        # Programs of many hours are beyond the rule's numbers; gates are not.
        if policy.rule == "online":
            raise
    if policy.rule == "optimal":
        trials += [searched, *(by_gates(p) for p in BASELINES)]

    def cost(trial: Schedule) -> tuple[float, int]:
        made = replay(program, facts, trial, contention=contention, page_bytes=page_bytes)
        return round(made.makespan_s, 9), made.loaded_bytes

    costs = [cost(trial) for trial in trials]
    fastest = min(costs)
    chosen = trials[costs.index(fastest)]
    if trials[0].rule == "online" and costs[0][0] <= fastest[0] * (1 + _SLACK):
        chosen = trials[0]
    best = replace(chosen, policy=policy)
    if best.rule == "gates" or page_bytes or not speeds:
        return best
    return for_all_speeds(program, facts, best, contention=contention)


def for_all_speeds(
    program: Program,
    facts: Mapping[str, ChunkFacts],
    schedule: Schedule,
    *,
    contention: float = 1.0,
) -> Schedule:
    """A schedule of the online rule with what to keep at other speeds of loads; the same where that
    makes it slower by prediction (loads and calls that overlap may look like slow loads)."""
    try:
        made = with_speeds(program, facts, schedule, contention=contention)
    except PlanError:
        # Loads several times slower would be beyond the rule's numbers.
        return schedule
    old, new = (replay(program, facts, x, contention=contention) for x in (schedule, made))
    return made if new.makespan_s <= old.makespan_s else schedule
