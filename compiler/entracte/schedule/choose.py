"""Workload x policy -> Schedule: the best of what gates and the online rule can do.

Baselines are schedules by gates (`schedule/by_gates.py`). The policy `optimal` also lets the online
rule run, with the chunks it should keep (`schedule/online_search.py`), and takes what is fastest on
the clock that makes the forecast, the rule even if it is a thousandth slower. So it is never slower
than another policy by more than that, by prediction. Gates are in every schedule and prove that it
fits; predicted times choose among safe schedules, nothing else.
"""

from dataclasses import replace

from entracte.errors import PlanError
from entracte.ir import Policy, Schedule
from entracte.program.workload import Workload
from entracte.schedule.by_gates import schedule_by_gates
from entracte.schedule.given import Given
from entracte.schedule.look import cost_of
from entracte.schedule.online_search import schedule_online, with_speeds

BASELINES = (
    Policy("sequential", 0, False),
    Policy("double_buffer", 1, True),
    Policy("ci_dl", 1, True, "published", margin=2),
    Policy("strided", 1_000_000, True, "strided"),
)
"""`conf/policy/`: what `optimal` is never worse than, because it tries them too."""

_SLACK = 1e-3
"""The online rule is taken if it is slower by no more than this share: wrong times cost it 0.4 %,
and gates 5 % (docs/online-rule.md), and no prediction is right to a thousandth."""


def make_schedule(workload: Workload, policy: Policy) -> Schedule:
    """The best of the safe schedules of this policy by predicted time, then by bytes loaded; the
    online rule also knows what to keep where times are not as predicted.

    Raises `DoesNotFit` naming the chunk when even the leanest schedule exceeds the budget.
    """
    given = Given(workload)
    return for_all_speeds(workload, schedule_as_planned(workload, policy, given), given)


def schedule_as_planned(workload: Workload, policy: Policy, given: Given | None = None) -> Schedule:
    """The best if times are as predicted; `given` of this workload, if it was made before. Raises
    `DoesNotFit`."""
    given = given or Given(workload)
    gates = schedule_by_gates(workload, policy, given=given)
    if policy.driver == "gates":
        return gates
    if policy.driver == "online":
        return schedule_online(workload, gates)
    return _best(workload, policy, gates, given)


def _best(workload: Workload, policy: Policy, gates: Schedule, given: Given) -> Schedule:
    """The online rule unless gates, of this policy or a baseline, are faster."""
    trials = [gates, *(schedule_by_gates(workload, p, given=given) for p in BASELINES)]
    costs = [cost_of(workload, trial, given) for trial in trials]
    fastest = min(costs)
    try:
        online = schedule_online(workload, gates)
        if cost_of(workload, online, given)[0] <= fastest[0] * (1 + _SLACK):
            return online
    except PlanError:
        # Programs of many hours are beyond the rule's numbers; gates are not.
        pass
    return replace(trials[costs.index(fastest)], policy=policy)


def for_all_speeds(workload: Workload, schedule: Schedule, given: Given | None = None) -> Schedule:
    """A schedule of the online rule with what to keep at other speeds of loads; the same where that
    makes it slower by prediction (loads and calls that overlap may look like slow loads). Gates
    and pages have nothing to choose."""
    if schedule.driver == "gates" or workload.page_bytes:
        return schedule
    try:
        made = with_speeds(workload, schedule, given)
    except PlanError:
        # Loads several times slower would be beyond the rule's numbers.
        return schedule
    old, new = (cost_of(workload, x, given)[0] for x in (schedule, made))
    return made if new <= old else schedule
