"""The exact optimum for equal chunks (tests/planner/equal.py) against the exhaustive search, and
what the planner makes of them."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entracte.clock.predict import predict
from entracte.program.workload import Workload
from entracte.schedule.bounds import best_bound
from entracte.schedule.choose import schedule_as_planned
from tests.planner.equal import Equal
from tests.planner.exact import exact_s
from tests.planner.programs import OPTIMAL, Part, make_program
from tests.planner.test_schedule import by_id


def workload_of(count, times, load, slots):
    program, _, facts = make_program((Part(count, (100,) * len(times)),))
    timed = tuple(
        replace(f, activation_bytes=0, load_s=float(load), exec_s=float(e))
        for f, e in zip(facts, times, strict=True)
    )
    # A few dozen bytes of tensors, less than a chunk.
    return Workload(program, by_id(timed), 100 * slots + 64)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
    st.integers(1, 4),
    st.integers(1, 30),
    st.integers(1, 4),
)
def test_it_agrees_with_the_exhaustive_search(times, count, load, slots):
    count = min(count, 12 // len(times))
    made = workload_of(count, times, load, slots)
    order = tuple(range(len(times))) * count
    optimum = Equal(order, tuple(times) * count, load, slots).optimum()
    assert optimum == pytest.approx(exact_s(made.program, made.facts, made.budget_bytes))


@pytest.mark.parametrize(("load", "slots"), [(1.5, 3), (2.5, 4), (4.5, 6), (3.5, 7)])
def test_the_planner_finds_it_where_no_two_ends_coincide(load, slots):
    """Eight chunks, ten iterations; between the bound and the planner, which is within 2 %."""
    made = workload_of(10, (10,) * 8, int(10 * load), slots)
    optimum = Equal(tuple(range(8)) * 10, (10,) * 80, int(10 * load), slots).optimum()
    found = predict(made, schedule_as_planned(made, OPTIMAL)).makespan_s
    assert best_bound(made).seconds <= optimum + 1e-6
    assert optimum - 1e-6 <= found <= 1.02 * optimum


def test_the_planner_finds_it_where_loads_end_with_calls():
    """Loads of two calls each. With loads a millionth shorter a load ends before the call
    beside it: the rule gives up another chunk than the one in use, and is 4 % above."""
    order = tuple(range(8)) * 10
    optimum = Equal(order, (10,) * 80, 20, 4).optimum()
    longer, tied, shorter = (
        predict(made, schedule_as_planned(made, OPTIMAL)).makespan_s
        for made in (workload_of(10, (10,) * 8, load, 4) for load in (20.00002, 20, 19.99998))
    )
    assert tied == optimum == 1190
    assert longer == pytest.approx(optimum, rel=1e-5)
    assert shorter == pytest.approx(1240, rel=1e-5)
