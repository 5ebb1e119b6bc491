"""Loops that end early and functions that change by iteration: planned, proven, simulated."""

import random
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from entracte.check.proof import check
from entracte.clock.clock import simulate
from entracte.clock.gates import Gates
from entracte.clock.predict import predict, told
from entracte.clock.table import make_table
from entracte.errors import PlanError
from entracte.ir import Gate, Moment
from entracte.plan.forecast import forecast
from entracte.program.workload import Workload
from entracte.schedule.choose import make_schedule
from tests.planner.examples import FEW
from tests.planner.plans import plan_of
from tests.planner.programs import DEEP, DOUBLE_BUFFER, POLICIES, Part, make_program, parts
from tests.planner.test_schedule import by_id, least_budget
from tests.planner.walk import loads_of, walked


def early(program, draw):
    """For every loop that may end early, after how many iterations it does."""
    loops = [(s, g.count) for s, g in enumerate(program.segments) if g.until is not None]
    return {s: draw.randint(1, count) for s, count in loops}


@FEW
@given(parts, st.sampled_from(POLICIES), st.integers(0, 400), st.integers(0, 2**32))
def test_memory_stays_within_the_proven_peak_wherever_loops_end(shape, policy, extra, seed):
    """Counts bytes at every instant of runs with adversarial times and random ends."""
    program, _, facts = make_program(shape)
    assume(any(g.until for g in program.segments))
    draw = random.Random(seed)
    budget = least_budget(program, facts) + extra
    schedule = make_schedule(Workload(program, by_id(facts), budget), policy)
    peak = check(program, facts, schedule, budget_bytes=budget).peak_bytes
    scale = draw.choice((0.01, 1.0, 100.0))
    ends = early(program, draw)
    assert _observed_peak(program, facts, schedule, draw, scale, ends) <= peak


def _observed_peak(program, facts, schedule, draw, scale, ends) -> int:
    """The peak by an account of its own: copies from the start of their load to their free."""
    made = simulate(
        Gates(
            make_table(Workload(program, by_id(facts), schedule.budget_bytes)), program, schedule
        ),
        load_ns=lambda *_: int(1e9 * draw.random() * scale),
        exec_ns=lambda *_: int(1e9 * draw.random()),
        ends=ends,
    )
    result = told(program, made)
    calls = [e for e in result.bars if e.queue == "compute"]
    loads = {(e.segment, e.iteration, e.label): e for e in result.bars if e.queue == "load"}
    slots = walked(program, by_id(facts))
    order = {(x.segment, x.iteration, x.step): t for t, x in enumerate(slots)}
    ended = {order[e.segment, e.iteration, e.step]: e.end_s for e in calls}
    spans = []
    for placed in loads_of(program, schedule):
        slot = slots[placed.use]
        event = loads.get((slot.segment, slot.iteration, slot.chunk))
        if event is None:
            continue
        # A copy whose last step is never made goes when its loop ends: with its last step.
        own = [t for t in ended if slots[t].segment == slot.segment and t <= placed.free]
        spans.append((event.start_s, ended[max(own)], max(own), slot.chunk))
    weight = {f.id: f.weight_bytes for f in facts}
    worst = 0
    for t in ended:
        there = [c for begin, _, last, c in spans if begin < ended[t] and last >= t]
        worst = max(worst, sum(weight[c] for c in there) + slots[t].need_bytes)
    return worst


@FEW
@given(parts, st.sampled_from(POLICIES), st.integers(0, 400), st.integers(0, 2**32))
def test_an_early_end_never_takes_longer(shape, policy, extra, seed):
    """Nominal times. A load in flight at the end may add its own rest, and no more."""
    program, _, facts = make_program(shape)
    workload = Workload(program, by_id(facts), least_budget(program, facts) + extra)
    schedule = replace(make_schedule(workload, policy), driver="gates")
    ends = early(program, random.Random(seed))
    whole, short = predict(workload, schedule), predict(workload, schedule, ends=ends)
    rest = sum(max((f.load_s for f in facts), default=0.0) for _ in ends)
    assert short.makespan_s <= whole.makespan_s + rest + 1e-9
    assert short.compute_s <= whole.compute_s + 1e-9


def test_a_loop_that_ends_early_by_hand():
    """Two chunks of 1 s load and 1 s call, streamed with one load ahead, ended after 2 of 9.

    Loads 0-1, 1-2, 2-3 (waits for the first call), 3-4, 4-5 (for the iteration that does not
    come, in flight when call 4 ends at 5, so the end is at 5).
    """
    program, _, facts = make_program((Part(9, (100, 100), until=True), Part(1, (100,))))
    budget = least_budget(program, facts) + 100
    schedule = make_schedule(
        Workload(program, by_id(facts), budget), replace(DOUBLE_BUFFER, retain=False)
    )
    result = predict(Workload(program, by_id(facts), schedule.budget_bytes), schedule, ends={0: 2})
    assert [e.start_s for e in result.bars if e.queue == "compute"] == [1, 2, 3, 4, 6]
    assert [e.start_s for e in result.bars if e.queue == "load"] == [0, 1, 2, 3, 4, 5]
    assert result.makespan_s == 7
    assert result.loads == 6


def promised(program, facts, schedule):
    workload = Workload(program, by_id(facts), schedule.budget_bytes)
    proof = check(program, facts, schedule, budget_bytes=schedule.budget_bytes)
    return forecast(workload, schedule, proof)


def test_the_forecast_counts_all_iterations_and_says_the_earliest_end():
    program, _, facts = make_program((Part(9, (100, 100), until=True), Part(1, (100,))))
    budget = least_budget(program, facts) + 300
    schedule = make_schedule(Workload(program, by_id(facts), budget), DOUBLE_BUFFER)
    promise = promised(program, facts, schedule)
    # Everything stays: load 1 s, 18 calls, then load and call of the last chunk.
    assert promise.makespan_s == 1 + 18 + 2
    assert promise.earliest_s == 1 + 2 + 2
    plain, _, facts = make_program((Part(9, (100, 100)), Part(1, (100,))))
    schedule = make_schedule(Workload(plain, by_id(facts), budget), DOUBLE_BUFFER)
    assert promised(plain, facts, schedule).earliest_s is None


def test_loads_after_the_loop_wait_for_its_end():
    shape = (Part(5, (70, 80), until=True), Part(1, (40, 30)))
    program, _, facts = make_program(shape)
    schedule = make_schedule(Workload(program, by_id(facts), 10_000), DEEP)
    gates = [x.gate for x in schedule.loads if x.segment == 1]
    assert gates == [Gate(0, 1, Moment.LAST)] * 2
    free, _, facts = make_program((replace(shape[0], until=False), shape[1]))
    schedule = make_schedule(Workload(free, by_id(facts), 10_000), DEEP)
    assert Gate(0, 0, Moment.LAST) in [x.gate for x in schedule.loads if x.segment == 1]


# ---------------------------------------------------------------- the checker


@pytest.fixture
def sound():
    program, _, facts = make_program(
        (Part(1, (50,)), Part(5, (70, 80), until=True), Part(1, (40,)))
    )
    schedule = make_schedule(Workload(program, by_id(facts), 10_000), DOUBLE_BUFFER)
    check(program, facts, schedule, budget_bytes=10_000)
    return program, facts, schedule


def refuse(program, facts, schedule, message):
    with pytest.raises(PlanError, match=message):
        check(program, facts, schedule, budget_bytes=10_000)


def with_loop(program, **changes):
    segments = list(program.segments)
    segments[1] = replace(segments[1], **changes)
    return replace(program, segments=tuple(segments))


@pytest.mark.parametrize(
    "gate", [None, Gate(0, 0, Moment.LAST), Gate(1, 0, Moment.LAST), Gate(1, 1, Moment.LAST)]
)
def test_checker_wants_later_loads_to_wait_for_the_end(sound, gate):
    program, facts, schedule = sound
    *before, last = schedule.loads
    moved = replace(schedule, loads=(*before, replace(last, gate=gate)))
    if gate == Gate(1, 1, Moment.LAST):
        check(program, facts, moved, budget_bytes=10_000)
    else:
        refuse(program, facts, moved, "does not wait for the end of loop p1, which may come early")
        unended = with_loop(program, until=None)
        steps = unended.segments[1].steps
        unended = with_loop(unended, steps=(replace(steps[0], frees=("done1",)), *steps[1:]))
        check(unended, facts, moved, budget_bytes=10_000)


def test_checker_refuses_what_cannot_end_a_loop(sound):
    program, facts, schedule = sound
    refuse(with_loop(program, until="t1"), facts, schedule, "may end by t1, which is not one numb")
    refuse(with_loop(program, until="nothing"), facts, schedule, "nothing, which is not one number")
    steps = program.segments[1].steps
    freed = (replace(steps[0], frees=("done1",)), *steps[1:])
    refuse(with_loop(program, steps=freed), facts, schedule, "nothing made done1, by which it may")
    unmade = (replace(steps[0], outputs=steps[0].outputs[:1]), *steps[1:])
    refuse(with_loop(program, steps=unmade), facts, schedule, "no step of it makes done1")


def test_checker_refuses_a_leak_of_what_ends_the_loop(sound):
    """Without `until` nobody drops the number."""
    program, facts, schedule = sound
    refuse(with_loop(program, until=None), facts, schedule, "done1 is never freed")


@pytest.mark.parametrize("switch", [(("a", 0),), (("a", 3), ("b", 3)), (("a", 3), ("b", 2))])
def test_checker_refuses_switches_that_do_not_rise(sound, switch):
    program, facts, schedule = sound
    steps = program.segments[1].steps
    changed = (replace(steps[0], switch=switch), *steps[1:])
    refuse(with_loop(program, steps=changed), facts, schedule, "switches functions at")


# ---------------------------------------------------------------- functions by iteration


def test_calls_know_their_function():
    call = replace(
        make_program((Part(1, (1,)),))[0].segments[0].steps[0], switch=(("a", 2), ("b", 5))
    )
    assert [call.function_at(i) for i in range(7)] == ["a", "a", "b", "b", "b", "main", "main"]


def test_a_switch_loads_nothing_and_takes_each_functions_time():
    """Seven iterations of two chunks; the first three at half a second, then a whole one."""
    plan = plan_of((Part(7, (50, 60), switch=3),), DOUBLE_BUFFER, 10_000)
    assert plan.forecast.compute_s == 3 * 2 * 0.5 + 4 * 2 * 1.0
    assert plan.forecast.loads == 2
    assert plan.forecast.lower_bound_s <= plan.forecast.makespan_s


def test_the_hungrier_function_counts_in_every_iteration():
    plain = plan_of((Part(7, (50, 60)),), DOUBLE_BUFFER, 10_000)
    switched = plan_of((Part(7, (50, 60), switch=1),), DOUBLE_BUFFER, 10_000)
    assert switched.forecast.peak_bytes == plain.forecast.peak_bytes + 1
