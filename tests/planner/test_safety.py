"""Safety in bulk: programs, budgets and timings made up, under every policy.

Every schedule is proven by the checker and then replayed with adversarial durations, bytes counted
at every instant. A few thousand plans here; 105,000 with `-m slow`.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.check import check
from compiler.schedule import make_schedule
from tests.planner.programs import POLICIES, make_program, parts
from tests.planner.test_schedule import _replayed_peak, by_id, least_budget

SHORT = settings(max_examples=300, deadline=None)
LONG = settings(max_examples=15_000, deadline=None, suppress_health_check=list(HealthCheck))
spare = st.integers(0, 600)
seeds = st.randoms(use_true_random=False)


def prove(shape, extra, random):
    """One plan of each policy: 7 in all."""
    program, _, facts = make_program(shape)
    budget = least_budget(program, facts) + extra
    for policy in POLICIES:
        schedule = make_schedule(program, by_id(facts), policy, budget)
        peak = check(program, facts, schedule, budget_bytes=budget).peak_bytes
        assert peak <= budget, policy.name
        for scale in (0.01, 1.0, 100.0):
            assert _replayed_peak(program, facts, schedule, random, scale) <= peak, policy.name


@SHORT
@given(parts, spare, seeds)
def test_no_plan_overruns(shape, extra, random):
    prove(shape, extra, random)


@pytest.mark.slow
@LONG
@given(parts, spare, seeds)
def test_no_plan_of_a_hundred_thousand_overruns(shape, extra, random):
    prove(shape, extra, random)
