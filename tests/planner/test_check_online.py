"""The checker's half about the online rule: what it claims, and what it refuses."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entracte.check.proof import check
from entracte.errors import PlanError
from entracte.ir import Kept
from entracte.plan.file import check_plan
from tests.planner.examples import FEW
from tests.planner.plans import ONLINE, plan_of
from tests.planner.programs import Part, parts


def streaming(extra=40):
    return plan_of((Part(1, (90, 40)), Part(6, (70, 80, 90)), Part(1, (60,))), ONLINE, extra)


def proven(plan, **changed):
    return check(
        plan.program,
        plan.facts,
        replace(plan.schedule, **changed),
        budget_bytes=plan.target.budget_bytes,
    )


@FEW
@given(parts, st.integers(0, 2000))
def test_the_claim_is_the_budget_or_all_that_is_called_again(shape, extra):
    plan = plan_of(shape, ONLINE, extra)
    claimed = plan.forecast.peak_bytes
    weights = sum(f.weight_bytes for f in plan.facts)
    assert proven(plan, driver="gates").peak_bytes <= claimed <= plan.target.budget_bytes
    everything = weights + max(f.activation_bytes for f in plan.facts)
    tensors = sum(t.size_bytes for t in plan.program.tensors)
    assert claimed <= everything + tensors


def test_with_room_for_everything_less_than_the_budget_is_claimed():
    plan = streaming(5000)
    assert plan.forecast.peak_bytes < plan.target.budget_bytes
    # What is called later may be there already, what is not called again is dropped.
    assert plan.forecast.peak_bytes >= sum(f.weight_bytes for f in plan.facts)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"driver": "luck"}, "the driver 'luck' is not one of gates, online"),
        ({"kept": (Kept(0.0, ("nobody",)),)}, "keeps 'nobody', which is no chunk"),
        ({"kept": (Kept(0.0, ("c1.00", "c1.00")),)}, "keeps two chunks called 'c1.00'"),
        ({"resident": ("nobody",)}, "resident keeps 'nobody', which is no chunk"),
        ({"resident": ("c1.00", "c1.00")}, "resident keeps two chunks called 'c1.00'"),
        ({"kept": (Kept(2.0, ()), Kept(1.0, ()))}, "not sorted"),
        ({"kept": (Kept(1.0, ()), Kept(1.0, ()))}, "not sorted"),
        ({"kept": (Kept(math.nan, ()),)}, "slower: nan is not finite"),
        ({"kept": (Kept(math.inf, ()),)}, "slower: inf is not finite"),
        ({"kept": (Kept(-0.5, ()),)}, "slower: -0.5 is negative"),
    ],
)
def test_what_no_runner_could_follow_is_refused(changed, said):
    with pytest.raises(PlanError, match=said):
        proven(streaming(), **changed)


def test_a_budget_above_the_targets_is_refused():
    plan = streaming()
    more = replace(plan.schedule, budget_bytes=plan.schedule.budget_bytes + 1)
    with pytest.raises(PlanError, match="scheduled for"):
        check_plan(replace(plan, schedule=more))


def test_a_smaller_claim_is_refused():
    plan = streaming()
    less = replace(plan.forecast, peak_bytes=plan.forecast.peak_bytes - 1)
    with pytest.raises(PlanError, match="claims a peak of"):
        check_plan(replace(plan, forecast=less))
