"""bound <= exact optimum <= every policy, on programs small enough to solve exactly."""

import sys
from dataclasses import replace
from itertools import product
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entracte.check.proof import check
from entracte.clock.predict import predict
from entracte.ir import Policy
from entracte.plan.forecast import forecast
from entracte.program.workload import Workload
from entracte.schedule.bounds import best_bound, lower_bound, periodic_s, volume, window
from entracte.schedule.by_gates import schedule_by_gates
from entracte.schedule.choose import make_schedule
from entracte.schedule.dual import dual_bound
from entracte.schedule.look import cost_of
from entracte.schedule.room import fullest
from tests.planner.exact import exact_s
from tests.planner.lives import with_lives
from tests.planner.programs import ONLINE, OPTIMAL, POLICIES, STRIDED, Part, make_program, parts
from tests.planner.test_schedule import by_id, least_budget

SEARCHED = Policy("optimal", 1_000_000, True, "optimal")
ROUND = 1e-6
"""Seconds: sums of a dozen times of about a second, in another order, and the exact solver's
rounding of states to a nanosecond."""
GROUPED = (9, 1)
"""Looks at which windows are in groups of two or three, and all in one."""


def program_of(counts, weights, load_s, exec_s):
    """A loop of given chunks, with times of their own."""
    program, _, facts = make_program((Part(counts, tuple(weights)),))
    timed = tuple(
        replace(f, load_s=load, exec_s=e) for f, load, e in zip(facts, load_s, exec_s, strict=True)
    )
    return program, timed


@st.composite
def small(draw):
    chunks = draw(st.integers(2, 3))
    count = draw(st.integers(1, 7 if chunks == 2 else 4))
    weights = draw(st.lists(st.integers(20, 90), min_size=chunks, max_size=chunks))
    loads = draw(st.lists(st.integers(1, 40), min_size=chunks, max_size=chunks))
    execs = draw(st.lists(st.integers(1, 20), min_size=chunks, max_size=chunks))
    extra = draw(st.integers(0, 200))
    program, facts = program_of(count, weights, [x / 10 for x in loads], [x / 10 for x in execs])
    return program, facts, least_budget(program, facts) + extra


@pytest.mark.parametrize("written_out", [0, 40])
@settings(max_examples=60, deadline=None)
@given(case=small())
def test_bound_exact_policy_in_this_order(written_out, case):
    """With the middle iterations of a loop averaged, and with all written out."""
    program, facts, budget = case
    with mock.patch("entracte.schedule.bounds._WRITTEN_OUT", written_out):
        check_order(program, facts, budget)


def check_order(program, facts, budget):
    exact = exact_s(program, by_id(facts), budget)
    for bound in (
        lower_bound(Workload(program, by_id(facts), 0))[0],
        volume(Workload(program, by_id(facts), budget)).seconds,
        window(Workload(program, by_id(facts), budget)).seconds,
        window(Workload(program, by_id(facts), budget), pages=True).seconds,
        *(window(Workload(program, by_id(facts), budget), most=n).seconds for n in GROUPED),
    ):
        assert bound <= exact + ROUND
    for policy in POLICIES:
        schedule = make_schedule(Workload(program, by_id(facts), budget), policy)
        assert (
            predict(Workload(program, by_id(facts), schedule.budget_bytes), schedule).makespan_s
            >= exact - ROUND
        ), policy.name


@pytest.mark.parametrize("written_out", [0, 40])
@settings(max_examples=40, deadline=None)
@given(case=small(), at=st.lists(st.sets(st.integers(0, 6)), min_size=3, max_size=3))
def test_calls_that_rest_are_bounded_too(written_out, case, at):
    """Any call of the loop may rest but the last; others' loads may hide behind it."""
    program, facts, budget = case
    program = resting(program, at)
    with mock.patch("entracte.schedule.bounds._WRITTEN_OUT", written_out):
        check_order(program, facts, budget)


def resting(program, sets):
    """The loop's calls happen in these iterations. Each reads the loop's state, so that nobody
    reads what is not made; the one that makes the next state, and one with no set, never rests."""
    (loop,) = program.segments
    if not loop.state:
        return program
    steps = []
    for step, at in zip(loop.steps, sets, strict=False):
        made = step.outputs[0].tensor == loop.state[0][2]
        times = () if made or not at else tuple(sorted({0} | {i for i in at if i < loop.count}))
        read = (replace(step.inputs[0], tensor=loop.state[0][0]),)
        steps.append(replace(step, inputs=read, at=times))
    return with_lives(replace(program, segments=(replace(loop, steps=tuple(steps)),)))


@settings(max_examples=40, deadline=None)
@given(small(), st.integers(2, 3))
def test_two_segments_are_bounded_too(case, chunks):
    """A straight part before the loop: cold start, and loads for the loop behind its calls."""
    _, facts, extra = case
    weights = tuple(f.weight_bytes for f in facts)
    program, _, made = make_program((Part(1, weights[:2]), Part(2, weights[-2:])))
    timed = tuple(replace(f, load_s=f.weight_bytes / 30) for f in made)
    budget = least_budget(program, timed) + extra % 97
    exact = exact_s(program, by_id(timed), budget)
    for most in (sys.maxsize, *GROUPED):
        bound = window(Workload(program, by_id(timed), budget), most=most).seconds
        assert bound <= exact + ROUND
    schedule = make_schedule(Workload(program, by_id(timed), budget), OPTIMAL)
    assert (
        predict(Workload(program, by_id(timed), schedule.budget_bytes), schedule).makespan_s
        >= exact - ROUND
    )


@pytest.mark.parametrize("written_out", [0, 40])
@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.integers(20, 90), min_size=4, max_size=4),
    count=st.integers(2, 7),
    load_s=st.lists(st.integers(1, 60), min_size=4, max_size=4),
    exec_s=st.lists(st.integers(1, 20), min_size=4, max_size=4),
    extra=st.integers(0, 200),
)
def test_what_follows_a_loop_may_be_loaded_in_it(
    written_out, weights, count, load_s, exec_s, extra
):
    """A chunk, a loop of two, a chunk: the last one's load may hide behind any iteration."""
    first, one, two, last = weights
    program, _, made = make_program((Part(1, (first,)), Part(count, (one, two)), Part(1, (last,))))
    timed = tuple(
        replace(f, load_s=load / 10, exec_s=e / 10)
        for f, load, e in zip(made, load_s, exec_s, strict=True)
    )
    budget = least_budget(program, timed) + extra
    exact = exact_s(program, by_id(timed), budget)
    with mock.patch("entracte.schedule.bounds._WRITTEN_OUT", written_out):
        for pages, most in product((False, True), (sys.maxsize, *GROUPED)):
            workload = Workload(program, by_id(timed), budget)
            assert window(workload, pages=pages, most=most).seconds <= exact + ROUND


def test_groups_of_windows_bound_no_more_than_windows_one_by_one():
    """Ten iterations of eight unlike chunks: in pairs little is lost, most with all in one."""
    weights = [30, 70, 40, 90, 20, 60, 50, 80]
    program, facts = program_of(10, weights, [w / 20 for w in weights], [2.5] * 8)
    workload = Workload(program, by_id(facts), least_budget(program, facts) + 150)
    alone, pairs, one = (window(workload, most=most).seconds for most in (sys.maxsize, 100, 1))
    assert one < pairs * (1 - ROUND)
    assert 0.95 * alone < pairs <= alone * (1 + ROUND)


def test_the_window_bound_is_tight_where_loads_hide_exactly():
    """Two chunks, room for both: load, load and compute behind it, compute all the rest."""
    program, facts = program_of(5, [50, 50], [1.0, 1.0], [1.0, 1.0])
    budget = least_budget(program, facts) + 50
    assert window(Workload(program, by_id(facts), budget)).seconds == pytest.approx(11.0, abs=ROUND)


def test_nothing_overlaps_in_room_for_one():
    """Two chunks, room for one: each load waits for the call before it, in every iteration."""
    program, facts = program_of(4, [50, 50], [2.0, 2.0], [1.0, 1.0])
    budget = least_budget(program, facts)
    assert exact_s(program, by_id(facts), budget) == pytest.approx(24.0)
    assert window(Workload(program, by_id(facts), budget)).seconds == pytest.approx(24.0, abs=1.0)
    assert volume(Workload(program, by_id(facts), budget)).seconds <= 24.0


@settings(max_examples=15, deadline=None)
@given(
    weights=st.lists(st.integers(20, 90), min_size=4, max_size=4),
    load_s=st.integers(1, 40),
    extra=st.integers(0, 150),
)
def test_combinations_of_unlike_chunks_hold_for_every_schedule(weights, load_s, extra):
    """Four chunks, three iterations, of which the middle one is an average; as short calls as
    loads allow, so that what memory holds decides."""
    program, facts = program_of(3, weights, [load_s / 10] * 4, [0.5] * 4)
    budget = least_budget(program, facts) + extra
    with mock.patch("entracte.schedule.bounds._WRITTEN_OUT", 0):
        bound = window(Workload(program, by_id(facts), budget)).seconds
    assert bound <= exact_s(program, by_id(facts), budget) + ROUND


def test_shares_of_chunks_that_do_not_fit_whole_are_not_had():
    """Three chunks of 6, 7 and 8 in room for any two, loads of 2, calls of 1, three iterations:
    bytes alone would hold a seventh of a third one. The exhaustive search needs 19."""
    program, facts = program_of(3, [600, 700, 800], [2.0] * 3, [1.0] * 3)
    workload = Workload(program, by_id(facts), 1600 + 64)
    assert exact_s(program, by_id(facts), 1664) == pytest.approx(19.0)
    assert window(workload).seconds == pytest.approx(19.0, abs=ROUND)
    with mock.patch("entracte.schedule.window_lp._SETS", 0):
        assert window(workload).seconds < 18.0


@pytest.mark.parametrize("rows", [0, 6_000])
def test_a_dual_bound_by_hand_is_the_same_by_either_method(rows):
    """2 x + 3 y with x + y >= 4, x <= 3, y <= 5: three x, one y."""
    entries = [0, 0], [0, 1], [-1.0, -1.0]
    with mock.patch("entracte.schedule.dual._ROWS", rows):
        assert dual_bound(entries, [2.0, 3.0], [-4.0], [3.0, 5.0]) == pytest.approx(9.0)


def test_where_one_method_fails_the_other_is_asked():
    entries, asked = ([0, 0], [0, 1], [-1.0, -1.0]), []

    def fails(method, *_):
        asked.append(method)

    with mock.patch("entracte.schedule.dual._dual", fails):
        assert dual_bound(entries, [2.0, 3.0], [-4.0], [3.0, 5.0]) == 0.0
    assert asked == ["highs-ds", "highs-ipm"]


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=7),
    st.integers(0, 90),
)
def test_the_fullest_sets_are_those_of_brute_force(chunks, room):
    kinds = sorted(set(chunks), reverse=True)
    numbers = [chunks.count(w) for w in kinds]
    fitting = {
        counts
        for counts in product(*(range(n + 1) for n in numbers))
        if sum(n * w for n, w in zip(counts, kinds, strict=True)) <= room
    }
    above = {(*c[:k], c[k] - 1, *c[k + 1 :]) for c in fitting for k in range(len(kinds)) if c[k]}
    found = fullest(room, kinds, numbers, limit=1000)
    assert sorted(found) == sorted(fitting - above)
    assert fullest(room, kinds, numbers, limit=len(found) - 1) == []


def test_bounds_grow_as_the_budget_shrinks():
    program, facts = program_of(6, [50] * 6, [3.0] * 6, [1.0] * 6)
    least = least_budget(program, facts)
    values = [best_bound(Workload(program, by_id(facts), least + 50 * k)).seconds for k in range(6)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 2 * values[-1]


@pytest.mark.parametrize("load_s", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("slots", [3, 5, 7])
def test_the_periodic_form_is_below_every_periodic_schedule(slots, load_s):
    """Eight equal chunks: the pinned sets are searched whole, so the best one there is."""
    program, facts = program_of(30, [100] * 8, [load_s] * 8, [1.0] * 8)
    exact = tuple(replace(f, activation_bytes=0) for f in facts)
    budget = 100 * slots + 16
    for policy in (STRIDED, SEARCHED):
        schedule = schedule_by_gates(Workload(program, by_id(exact), budget), policy)
        made = predict(Workload(program, by_id(exact), schedule.budget_bytes), schedule)
        ends = [e.end_s for e in made.bars if e.queue == "compute"]
        period = (ends[8 * 26 - 1] - ends[8 * 14 - 1]) / 12
        assert period >= periodic_s(8, slots, load_s, 1.0) - ROUND


def test_loads_and_calls_slow_each_other_by_hand():
    """Two packages of 3 s and calls of 1 s, room for both: the second load begins with the first
    call at 3 s. At 1.5 the call ends at 4.5 s, the load has 2 s left, and its call ends at 7.5 s;
    at 3 the call ends at 6 s and all at 9 s, where one after the other would take 8 s."""
    program, facts = program_of(1, [50, 50], [3.0, 3.0], [1.0, 1.0])
    for contention, bound_s, takes_s in ((1.0, 7.0, 7.0), (1.5, 7.5, 7.5), (3.0, 8.0, 9.0)):
        workload = Workload(program, by_id(facts), 1000, contention=contention)
        assert lower_bound(workload)[0] == pytest.approx(bound_s)
        assert volume(workload).seconds == pytest.approx(bound_s)
        plan = schedule_by_gates(workload, STRIDED)
        assert predict(workload, plan).makespan_s == pytest.approx(takes_s)


@settings(max_examples=30, deadline=None)
@given(
    parts,
    st.sampled_from((*POLICIES, ONLINE)),
    st.integers(0, 300),
    st.sampled_from((1.0, 1.337, 1.6, 2.5)),
    st.booleans(),
)
def test_no_run_is_faster_than_its_bound_with_contention(drawn, policy, extra, contention, reload):
    """And where the LP is left out because it cannot be above, it is not."""
    program, _, facts = make_program(drawn)
    cold = tuple(replace(f, cold_s=f.load_s / 3 + k / 7) for k, f in enumerate(facts))
    budget = least_budget(program, cold) + extra
    workload = Workload(
        program, by_id(cold), budget, contention=contention, reload_on_switch=reload
    )
    schedule = make_schedule(workload, policy)
    makespan_s = predict(workload, schedule).makespan_s
    assert max(lower_bound(workload)[0], volume(workload).seconds) <= makespan_s + ROUND
    apart_s = cost_of(replace(workload, contention=1.0), schedule)[0]
    bound = best_bound(workload, apart_s=lambda: apart_s)
    assert bound.seconds == pytest.approx(best_bound(workload).seconds, rel=1e-6)
    assert bound.seconds <= makespan_s + ROUND


def test_cold_loads_count_once():
    program, facts = program_of(3, [50, 50], [1.0, 1.0], [1.0, 1.0])
    cold = tuple(replace(f, cold_s=5.0) for f in facts)
    budget = least_budget(program, facts)
    assert lower_bound(Workload(program, by_id(cold), 0))[0] == pytest.approx(
        max(6.0 + 6.0, 12.0 + 1.0)
    )
    schedule = make_schedule(Workload(program, by_id(cold), budget), OPTIMAL)
    made = predict(Workload(program, by_id(cold), schedule.budget_bytes), schedule).makespan_s
    assert window(Workload(program, by_id(cold), budget)).seconds <= made + ROUND


def test_the_forecast_says_what_waits_and_which_bound_it_is():
    program, facts = program_of(10, [100] * 6, [4.0] * 6, [1.0] * 6)
    budget = least_budget(program, facts) + 200
    schedule = make_schedule(Workload(program, by_id(facts), budget), OPTIMAL)
    proof = check(program, facts, schedule, budget_bytes=budget)
    promise = forecast(Workload(program, by_id(facts), budget), schedule, proof)
    stalls = dict(promise.stalls)
    assert stalls["start"] == pytest.approx(4.0)
    assert set(stalls) == {"start", "first", "steady"}
    assert sum(stalls.values()) == pytest.approx(promise.stall_s)
    assert promise.lower_bound == "window"
    assert 1.0 <= promise.makespan_s / promise.lower_bound_s < 1.25
