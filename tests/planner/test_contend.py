"""Contention and cold loads on the clock, against sums done by hand."""

from dataclasses import replace

import pytest
from entracte.clock.contend import Shared
from entracte.clock.simulate import simulate
from entracte.program.steps import START, Placement
from entracte.schedule.choose import make_schedule
from hypothesis import given
from hypothesis import strategies as st

from tests.planner.programs import CI_DL, DOUBLE_BUFFER, SEQUENTIAL, Part, make_program

LOOP = Part(6, (70, 80, 90, 60))


def case(policy, shape=(LOOP,), budget=260):
    program, _, facts = make_program(shape)
    by_id = {f.id: f for f in facts}
    return program, by_id, make_schedule(program, by_id, policy, budget)


def test_a_load_beside_a_call_slows_both():
    """A load of 2 s beside a call of 3 s, gamma 1.5: the load takes 3 s, in which the call does
    2 s of its work; 1 s is left, alone: 4 s."""
    loads = [Placement("a", START, 0, 0), Placement("b", START, 1, 1)]
    shared = Shared(loads, lambda load, _: {"a": 1.0, "b": 2.0}[load.chunk], 1.5)
    shared.step(0, 3.0)
    shared.step(1, 0.5)
    assert shared.load_s == {0: 1.0, 1: 3.0}
    assert shared.step_s == {0: 4.0, 1: 0.5}


def test_what_is_left_of_a_load_goes_on_alone():
    """A load of 4 s beside a call of 2 s, gamma 2: 4 s together do 2 s of each, then 2 s alone."""
    loads = [Placement("a", START, 0, 0), Placement("b", START, 1, 1)]
    shared = Shared(loads, lambda load, _: {"a": 1.0, "b": 4.0}[load.chunk], 2.0)
    shared.step(0, 2.0)
    shared.step(1, 1.0)
    assert shared.load_s == {0: 1.0, 1: 6.0}
    assert shared.step_s == {0: 4.0, 1: 1.0}


def test_the_load_in_flight_at_an_early_end_is_finished_and_the_others_are_skipped():
    loads = [Placement(c, START, use, use) for use, c in enumerate("abcd")]
    shared = Shared(loads, lambda *_: 2.0, 1.0)
    shared.step(0, 1.0)
    shared.end_early(3)
    shared.step(3, 1.0)
    assert shared.load_s == {0: 2.0, 1: 2.0, 3: 2.0}


@pytest.mark.parametrize("policy", [SEQUENTIAL, DOUBLE_BUFFER, CI_DL], ids=lambda p: p.name)
def test_contention_changes_nothing_that_does_not_overlap(policy):
    program, facts, schedule = case(policy)
    alone = simulate(program, facts, schedule)
    shared = simulate(program, facts, schedule, contention=1.5)
    if policy is SEQUENTIAL:
        assert shared.makespan_s == pytest.approx(alone.makespan_s, rel=1e-12)
    else:
        assert shared.makespan_s > alone.makespan_s
    assert (shared.loads, shared.loaded_bytes) == (alone.loads, alone.loaded_bytes)


@given(
    weights=st.lists(st.integers(1, 90), min_size=1, max_size=6),
    count=st.integers(1, 5),
    gamma=st.floats(1.0, 3.0),
    until=st.booleans(),
    ended=st.integers(1, 5),
)
def test_between_no_contention_and_everything_slowed(weights, count, gamma, until, ended):
    """Bounds that hold for any schedule: at least the time without contention, at most gamma
    times it. 1e-9: sums in another order."""
    shape = (Part(1, (30, 20)), Part(count, tuple(weights), until=until))
    program, facts, schedule = case(DOUBLE_BUFFER, shape, 400)
    ends = {1: ended} if until else {}
    alone = simulate(program, facts, schedule, ends=ends)
    shared = simulate(program, facts, schedule, ends=ends, contention=gamma)
    assert shared.makespan_s >= alone.makespan_s * (1 - 1e-9)
    assert shared.makespan_s <= alone.makespan_s * gamma * (1 + 1e-9)
    again = simulate(program, facts, schedule, ends=ends, contention=1 + 1e-12)
    assert again.makespan_s == pytest.approx(alone.makespan_s, rel=1e-9)


def test_a_packages_first_load_is_cold():
    program, facts, schedule = case(SEQUENTIAL)
    cold = {k: replace(f, cold_s=3.0) for k, f in facts.items()}
    warm = simulate(program, facts, schedule)
    assert simulate(program, cold, schedule).makespan_s == pytest.approx(
        warm.makespan_s + 3.0 * len(facts), rel=1e-12
    )
