"""The rules of others (tools/rivals.py), against what their rules mean for numbers done by hand."""

from dataclasses import replace

import pytest

from entracte.check.proof import check
from entracte.clock.predict import predict
from entracte.errors import DoesNotFit
from entracte.program.workload import Workload
from tests.planner.programs import Part, make_program
from tools.bench_rivals import first_reads
from tools.rivals import RULES, lru_hits

ROUNDS, BLOCKS, WEIGHT = 3, 4, 1000


def workload(budget, *, load_s=2.0, exec_s=1.0, rounds=ROUNDS, blocks=BLOCKS, encoder=0):
    """Blocks of 1,000 B, called in turn, after those of an encoder; a few bytes beside them."""
    parts = [Part(1, (WEIGHT,) * encoder)] * bool(encoder) + [Part(rounds, (WEIGHT,) * blocks)]
    program, _, facts = make_program(tuple(parts))
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
        ("two buffers", 2000, 25.0, 12),
        # The first round learns the order, 4 x (2 + 1); the other two wait for their first load:
        # four loads and a call each.
        ("group offload", 2000, 30.0, 12),
        # Nothing overlaps, and round by round every block is missed: 12 x (2 + 1).
        ("LRU", 3000, 36.0, 12),
        # With room for all, nothing is missed after the first round: 4 x 3 + 8.
        ("LRU", 4000, 20.0, 4),
        # One load of everything, then three rounds of four calls.
        ("whole components", 4000, 20.0, 1),
        # One stays and two are slots: 4 + 3 + 3 loads one behind the other, and the last call.
        ("first N stay", 3000, 21.0, 10),
        # 1 and 3 stay, 0 and 2 take turns in one slot: 4 + 2 + 2 loads. The second round's calls
        # end at 11, 12, 14 and 15, the third's at 17, 18, 20 and 21.
        ("N spread stay", 3000, 21.0, 8),
        # All stay: the first round as two buffers, then two rounds of calls alone.
        ("first N stay", 4000, 17.0, 4),
        ("N spread stay", 4000, 17.0, 4),
    ],
)
def test_a_rule_takes_what_it_means(rule, budget, seconds, loads):
    assert ran(rule, budget) == (pytest.approx(seconds, abs=1e-6), loads)


def test_a_burst_of_loads_waits_where_spread_ones_do_not():
    """Six blocks, three stay: loads of 2 s and calls of 1 s are as long together, 6 s a round.

    The first three stay: the call of block 3 ends at 4 of its round, for its load was made before.
    The load of 4 may start when call 2 ends: 3 to 5, and its call ends at 6; that of 5 goes from 5
    to 7, and its call ends at 8. Two of six streamed, every third: each load has two calls to hide
    behind.
    """
    sizes = {"blocks": 6, "encoder": 0}

    def a_round(rule):
        return ran(rule, 5000, rounds=6, **sizes)[0] - ran(rule, 5000, rounds=5, **sizes)[0]

    assert a_round("first N stay") == pytest.approx(8.0)
    assert a_round("N spread stay") == pytest.approx(6.0)


def test_a_component_goes_when_the_next_one_is_called():
    """Two blocks of an encoder, 2 x 2 + 2; then the loop's four, 4 x 2, and its twelve calls."""
    assert ran("whole components", 4000, encoder=2) == (pytest.approx(6 + 8 + 12), 2)


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


def test_first_reads_by_hand():
    """Before the last call of the first round all four are read, 8 s; nine calls are left."""
    assert first_reads(workload(3000)).seconds == pytest.approx(8 + 9)


def test_the_cache_finds_all_or_nothing():
    """Called in turn, what was called longest ago is what is called next."""
    assert lru_hits((5, 5, 5), 15) == [0, 1, 2]
    assert lru_hits((5, 5, 5), 14) == []
