"""Benches that no other test imports, beside sums by hand."""

import pytest

from tests.planner.equal import Equal
from tests.planner.test_equal import workload_of
from tools.bench_online import Bench, Truth, instances
from tools.bench_waiting import ends_s


@pytest.mark.parametrize(("slower", "seconds"), [(1.0, 562), (0.5, 561)])
def test_loads_that_hide_cost_the_first_one_planned_right_or_wrong(slower, seconds):
    """28 equal chunks, ten iterations of 56 s, and a first load of 2 s, or of one where loads take
    half as long as planned."""
    row = Bench(next(instances(True)), 0).row(Truth(slower, 1.0, 0.0, 1.0))
    assert row.wrong["online"][0] == row.again["online"][0] == seconds * 10**9
    assert row.wrong["ci_dl"][0] > 1.05 * seconds * 10**9


def test_a_rule_that_waits_finds_the_optimum_where_a_load_ends_just_before_a_call():
    """Loads of two calls less a millionth, room for four of eight: the rule as it is gives up
    another chunk than the one in use, and is 4 % above."""
    optimum = Equal(tuple(range(8)) * 10, (10,) * 80, 20, 4).optimum()
    planned, *waiting = ends_s(workload_of(10, (10,) * 8, 19.99998, 4))
    assert planned == pytest.approx(1.042 * optimum, rel=1e-3)
    assert waiting == pytest.approx([optimum] * len(waiting), rel=1e-5)
