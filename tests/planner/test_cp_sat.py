"""bound <= optimum <= planner, where the optimum is CP-SAT's (tests/planner/cp_sat.py): two models
that share nothing, and the exhaustive search agrees. Needs the extra `bench`; skipped without
it."""

import random

import pytest

pytest.importorskip("ortools")

from tests.planner.cp_sat import Numbers, solve
from tests.planner.exact import exact_s
from tools.bench_exact import compared, instances, loop

pytestmark = pytest.mark.slow


def test_by_hand():
    """Two blocks, two rounds, room for one: nothing overlaps, all four are loaded."""
    order, loads = (0, 1, 0, 1), (3, 4)
    one = Numbers(order, (5, 5), loads, (1, 1, 1, 1), (0, 0, 0, 0), 5)
    assert solve(one).end == 2 * (3 + 1 + 4 + 1)
    # Room for both: the second load hides its first second behind the first call.
    both = Numbers(order, (5, 5), loads, (1, 1, 1, 1), (0, 0, 0, 0), 10)
    assert solve(both).end == 3 + 4 + 1 + 1 + 1
    # A call that needs one byte more leaves room for one again.
    assert solve(Numbers(order, (5, 5), loads, (1,) * 4, (1,) * 4, 10)).end == 18
    assert solve(Numbers(order, (5, 5), loads, (1,) * 4, (0,) * 4, 4)) is None


@pytest.mark.parametrize("seed", range(12))
def test_it_agrees_with_the_exhaustive_search(seed):
    rng = random.Random(seed)
    point = (rng.choice((0.5, 1.0, 2.0, 4.0)), rng.choice((0.7, 0.8, 0.95)))
    made = loop("lognormal", 3, rng.choice((2, 3)), point, seed)
    solved, load = solve(made.numbers(), limit=10.0), made.workload()
    assert solved is not None
    assert solved.proved
    exact = exact_s(load.program, load.facts, load.budget_bytes)
    assert solved.end / 1000 == pytest.approx(exact, abs=1e-6)


def test_the_bound_is_below_and_the_planner_above():
    """`compared` raises where one is not; every one of them is solved."""
    cases = [made for case, made in instances(1) if case in ("K=4 N=2", "K=4 N=3")]
    done = [compared("", made, 10.0) for made in cases]
    assert all(x is not None for x in done)
    assert len(done) == 12


def test_what_runs_out_of_time_is_not_called_proved():
    made = loop("lognormal", 8, 5, (4.0, 0.8), 0)
    solved = solve(made.numbers(), limit=0.01)
    assert solved is not None
    assert not solved.proved
    assert solved.at_least < solved.end
