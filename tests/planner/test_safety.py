"""Safety in bulk: programs, budgets and timings made up, under every policy.

Every schedule is proven by the checker and then replayed with adversarial durations, bytes counted
at every instant: its gates, and where the online rule runs it, the rule too, in pages, with loops
that end early. 1400 plans here; 105,000 with `-m slow`.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entracte.check.proof import check
from entracte.clock.clock import Gamma, simulate
from entracte.clock.gates import Gates
from entracte.clock.rule import OnlineRule
from entracte.clock.table import make_table
from entracte.program.workload import Workload
from entracte.schedule.choose import make_schedule
from tests.planner.examples import STRONG
from tests.planner.online import with_long_lives
from tests.planner.programs import POLICIES, make_program, parts
from tests.planner.test_schedule import _replayed_peak, by_id, least_budget

LONG = settings(max_examples=15_000, deadline=None, suppress_health_check=list(HealthCheck))
spare = st.integers(0, 600)
seeds = st.randoms(use_true_random=False)


def prove(shape, extra, random):
    """One plan of each policy: 7 in all."""
    program, _, facts = make_program(shape)
    if random.random() < 0.5:
        program = with_long_lives(program, random)
    budget = least_budget(program, facts) + extra
    for policy in POLICIES:
        schedule = make_schedule(Workload(program, by_id(facts), budget), policy)
        peak = check(program, facts, schedule, budget_bytes=budget).peak_bytes
        assert peak <= budget, policy.name
        for scale in (0.01, 1.0, 100.0):
            assert _replayed_peak(program, facts, schedule, random, scale) <= peak, policy.name
            assert _gates_peak(program, by_id(facts), schedule, random, scale) <= peak
            if schedule.driver == "online":
                assert _online_peak(program, by_id(facts), schedule, random, scale) <= peak


def _gates_peak(program, facts, schedule, random, scale) -> int:
    """On the clock, whose own accounts also refuse an overrun, a call without its chunk, ..."""
    table = make_table(Workload(program, facts, schedule.budget_bytes))
    return _peak(Gates(table, program, schedule), program, random, scale)


def _online_peak(program, facts, schedule, random, scale) -> int:
    """The clock's own accounts also refuse an overrun, a call without its chunk, ..."""
    pages = {c: random.choice((1, 1, 2, 5)) for c in facts}
    workload = Workload(program, facts, schedule.budget_bytes)
    table = make_table(workload, pages=pages, kept=schedule.kept)
    return _peak(OnlineRule(table), program, random, scale)


def _peak(driver, program, random, scale) -> int:
    made = simulate(
        driver,
        load_ns=lambda *_: int(1e9 * random.random() * scale),
        exec_ns=lambda *_: int(1e9 * random.random()),
        ends={s: random.randint(1, g.count) for s, g in enumerate(program.segments) if g.until},
        gamma=random.choice((Gamma(), Gamma(13, 10))),
    )
    return made.peak_bytes


@STRONG
@given(parts, spare, seeds)
def test_no_plan_overruns(shape, extra, random):
    prove(shape, extra, random)


@pytest.mark.slow
@LONG
@given(parts, spare, seeds)
def test_no_plan_of_a_hundred_thousand_overruns(shape, extra, random):
    prove(shape, extra, random)
