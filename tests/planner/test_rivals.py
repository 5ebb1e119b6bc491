"""The rules of others (tools/rivals.py), against what their rules mean for numbers done by hand."""

from dataclasses import replace

import pytest

from entracte.check.proof import check
from entracte.clock.predict import predict
from entracte.errors import DoesNotFit
from entracte.program.workload import Workload
from tests.planner.programs import Part, make_program
from tools.rivals import RULES, lru_hits

ROUNDS, BLOCKS, WEIGHT = 3, 4, 1000


def workload(budget, *, load_s=2.0, exec_s=1.0):
    """Four blocks of 1,000 B, three rounds; a few bytes beside them."""
    program, _, facts = make_program((Part(ROUNDS, (WEIGHT,) * BLOCKS),))
    timed = (replace(f, activation_bytes=0, load_s=load_s, exec_s=exec_s) for f in facts)
    return Workload(program, {f.id: f for f in timed}, budget + 64)


def ran(rule, budget, **times):
    """Seconds and loads of a schedule that is proven to fit."""
    made = RULES[rule](workload(budget, **times))
    facts = tuple(made.workload.facts.values())
    check(made.workload.program, facts, made.schedule, budget_bytes=budget + 64)
    result = predict(made.workload, made.schedule)
    return result.makespan_s, result.loads


@pytest.mark.parametrize(
    ("rule", "budget", "seconds", "loads"),
    [
        # Twelve loads of 2 s one behind the other, and the last call.
        ("two slots", 2000, 25.0, 12),
        # Each round waits for its first load: three times four loads and a call.
        ("group offload", 2000, 27.0, 12),
        # Nothing overlaps, and round by round every block is missed: 12 x (2 + 1).
        ("LRU", 3000, 36.0, 12),
        # With room for all, nothing is missed after the first round: 4 x 3 + 8.
        ("LRU", 4000, 20.0, 4),
        # One load of everything, then three rounds of four calls.
        ("whole components", 4000, 20.0, 1),
        # All stay: the first round as two slots, then two rounds of calls alone.
        ("first N stay", 4000, 17.0, 4),
        ("N spread stay", 4000, 17.0, 4),
    ],
)
def test_a_rule_takes_what_it_means(rule, budget, seconds, loads):
    assert ran(rule, budget) == (pytest.approx(seconds, abs=1e-6), loads)


def test_whole_components_need_room_for_the_largest():
    with pytest.raises(DoesNotFit):
        ran("whole components", 3000)


def test_blocks_that_stay_are_read_once():
    """Room for three: one stays, in every later round three are loaded."""
    _, loads = ran("first N stay", 3000)
    assert loads <= 4 + 3 * (ROUNDS - 1)


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_is_faster_than_ours_by_more_than_its_thousandth(rule):
    try:
        seconds, _ = ran(rule, 3000)
    except DoesNotFit:
        return
    assert ran("ours", 3000)[0] <= seconds * 1.001


def test_the_cache_finds_all_or_nothing():
    """Called in turn, what was called longest ago is what is called next."""
    assert lru_hits((5, 5, 5), 15) == [0, 1, 2]
    assert lru_hits((5, 5, 5), 14) == []
