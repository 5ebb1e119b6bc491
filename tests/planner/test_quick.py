"""Runs with nothing but times (`clock/quick.py`, `clock/quick_rule.py`) against the clock, to the
nanosecond."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entracte.clock.clock import Gamma, simulate
from entracte.clock.predict import simulated
from entracte.clock.quick import Nominal, end_and_bytes
from entracte.clock.quick_rule import Course, QuickRule
from entracte.clock.rule import OnlineRule
from entracte.clock.table import make_table
from entracte.ir import Kept
from entracte.program.steps import functions_of, times
from entracte.program.workload import Workload
from entracte.schedule.by_gates import schedule_by_gates
from entracte.schedule.given import Given
from entracte.schedule.look import cost_of
from entracte.schedule.pace import Pace
from entracte.schedule.place import loads_of, place
from tests.planner.programs import OPTIMAL, POLICIES, STRIDED, Part, make_program, parts
from tests.planner.test_schedule import by_id, least_budget


@settings(max_examples=60, deadline=None)
@given(
    parts,
    st.sampled_from(POLICIES),
    st.integers(0, 300),
    st.sampled_from((1.0, 1.337, 1.6)),
    st.booleans(),
)
def test_every_step_ends_when_the_clock_says(drawn, policy, extra, contention, reload):
    program, _, facts = make_program(drawn)
    cold = tuple(replace(f, cold_s=f.load_s / 3 + k / 7) for k, f in enumerate(facts))
    budget = least_budget(program, cold) + extra
    workload = Workload(
        program, by_id(cold), budget, contention=contention, reload_on_switch=reload
    )
    schedule = schedule_by_gates(workload, replace(policy, driver="gates"))
    made = simulated(workload, schedule)
    assert Nominal(workload).step_ends(schedule) == [
        x.end_ns for x in made.intervals if x.queue == "compute"
    ]
    assert end_and_bytes(workload, schedule) == (made.makespan_ns, made.loaded_bytes)


def test_by_hand():
    """Two equal chunks, two rounds, room for one: nothing overlaps. Room for both: the second load
    runs behind the first call, at half speed each while both do."""
    program, _, facts = make_program((Part(2, (50, 50)),))
    timed = by_id(tuple(replace(f, activation_bytes=0, load_s=3.0, exec_s=1.0) for f in facts))
    one = Workload(program, timed, 50 + 32)
    second = 10**9
    assert Nominal(one).step_ends(schedule_by_gates(one, STRIDED)) == [
        4 * second, 8 * second, 12 * second, 16 * second,
    ]  # fmt: skip
    both = Workload(program, timed, 100 + 32, contention=2.0)
    # The first call takes 3 to 5, and half of that counts for the load: 2 are left of it.
    assert Nominal(both).step_ends(schedule_by_gates(both, STRIDED)) == pytest.approx(
        [5 * second, 8 * second, 9 * second, 10 * second]
    )


@settings(max_examples=60, deadline=None)
@given(
    parts,
    st.integers(0, 300),
    st.sampled_from((1.0, 1.337, 1.6)),
    st.lists(st.tuples(st.floats(0, 3), st.sets(st.integers(0, 12))), max_size=3),
    st.booleans(),
)
def test_the_online_rule_does_the_same(drawn, extra, contention, levels, reload):
    """With several levels of kept chunks: contention makes loads look slow."""
    program, _, facts = make_program(drawn)
    cold = tuple(replace(f, cold_s=f.load_s / 3 + k / 7) for k, f in enumerate(facts))
    budget = least_budget(program, cold) + extra
    workload = Workload(program, by_id(cold), budget, contention=contention)
    kept = [
        Kept(slower, tuple(f.id for k, f in enumerate(cold) if k in chosen))
        for slower, chosen in levels
    ]
    table, gamma = make_table(workload, kept=kept), Gamma.of(contention)
    functions = functions_of(program) if reload else None
    made = simulate(OnlineRule(table), gamma=gamma, functions=functions)
    quick = QuickRule(Course(table, functions), table, gamma)
    assert quick.ends == [x.end_ns for x in made.intervals if x.queue == "compute"]
    assert quick.loads == [(x.end_ns, x.what) for x in made.intervals if x.queue == "load"]
    assert quick.serves == [x.step for x in made.intervals if x.queue == "load"]
    assert quick.loaded_bytes == made.loaded_bytes


@settings(max_examples=40, deadline=None)
@given(parts, st.integers(0, 300), st.sampled_from((1.0, 1.337, 1.6, 2.5)), st.booleans())
def test_costs_of_schedules_are_the_clocks(drawn, extra, contention, reload):
    program, _, facts = make_program(drawn)
    cold = tuple(replace(f, cold_s=f.load_s / 3 + k / 7) for k, f in enumerate(facts))
    workload = Workload(
        program, by_id(cold), least_budget(program, cold) + extra, contention=contention,
        reload_on_switch=reload,
    )  # fmt: skip
    given, gates = Given(workload), schedule_by_gates(workload, OPTIMAL)
    some = tuple(f.id for f in cold[::2])
    for schedule in (
        replace(gates, policy=STRIDED),
        replace(gates, driver="online"),
        replace(gates, driver="online", kept=(Kept(0.0, some),)),
    ):
        made = simulated(workload, schedule)
        for _ in range(2):
            assert cost_of(workload, schedule, given) == (
                made.makespan_ns / 1e9, made.loaded_bytes,
            )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    parts,
    st.sampled_from(POLICIES),
    st.integers(0, 300),
    st.sampled_from((1.0, 1.337, 1.6, 2.5)),
    st.lists(st.sets(st.integers(0, 12)), min_size=4, max_size=4),
)
def test_attempts_go_on_from_earlier_ones_and_cost_no_less_than_is_said(
    drawn, policy, extra, contention, sets
):
    """What is placed from where an attempt with the same first loops stood is what is placed from
    the beginning; and no loads cost less than `Pace.least_s` of their seconds."""
    program, _, facts = make_program(drawn)
    cold = tuple(replace(f, cold_s=f.load_s / 3 + k / 7) for k, f in enumerate(facts))
    workload = Workload(
        program, by_id(cold), least_budget(program, cold) + extra, contention=contention
    )
    known, pace, segments = Given(workload), Pace(workload), program.segments
    names = [f.id for f in cold]
    for chosen in sets:
        kept = {
            s: frozenset(
                x.chunk for x in g.steps if x.chunk is not None and names.index(x.chunk) in chosen
            )
            for s, g in enumerate(segments)
            if g.is_loop
        }
        assert place(known, policy, kept) == place(Given(workload), policy, kept)
        loads = loads_of(known, policy, kept)
        if isinstance(loads, tuple):
            again_s = sum(
                times(x, segments[x.segment]) * by_id(cold)[x.chunk].load_s
                for x in loads
                if x.iterations == "each"
            )
            assert pace.least_s(again_s) <= pace.cost(loads)[0]
