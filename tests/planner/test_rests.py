"""Calls that rest (`Call.at`): what is loaded, called, waited for and promised, by hand."""

from dataclasses import replace

import pytest

from entracte.clock.driver import Evict, Fetch, Start
from entracte.clock.predict import predict
from entracte.clock.rule import OnlineRule
from entracte.clock.table import SCALE, Table, TableSegment, TableStep, Unit, make_table
from entracte.decide.decide import Decision, _read_bytes
from entracte.errors import PlanError
from entracte.ir import Moment, Partition, TensorDecl
from entracte.plan.file import check_plan
from entracte.program.steps import pace_of, period, shortened, unroll
from entracte.program.workload import Workload
from entracte.schedule.choose import make_schedule
from entracte.schedule.look import paced_s
from entracte.schedule.pace import Pace
from tests.planner.lives import with_lives
from tests.planner.online import _host_step, play
from tests.planner.plans import plan_of
from tests.planner.programs import DOUBLE_BUFFER, ONLINE, OPTIMAL, STREAM, Part, make_program, port
from tests.planner.test_schedule import by_id, least_budget

RESTS = Part(6, (100, 100, 100), also=("rest",))
"""Loads and calls of a second; the middle one of three chunks in iterations 0 and 4."""


def rested(count=6):
    program, chunks, facts = make_program((replace(RESTS, count=count),))
    steps = program.segments[0].steps
    assert steps[1].at == tuple(range(0, count, 4))
    return program, chunks, facts


def test_with_room_for_all_a_rest_is_time_saved():
    program, _, facts = rested()
    workload = Workload(program, by_id(facts), 10_000)
    for policy in (DOUBLE_BUFFER, ONLINE, OPTIMAL):
        result = predict(workload, make_schedule(workload, policy))
        # The first load, then 6 + 2 + 6 calls.
        assert (result.makespan_s, result.compute_s, result.loads) == (15, 14, 3)
        called = [b.iteration for b in result.bars if (b.queue, b.label) == ("compute", "c0.01")]
        assert called == [0, 4]


def test_a_load_that_would_serve_nobody_is_left_out():
    """Nothing is kept, one load runs ahead: three loads in iterations 0 and 4, two in others."""
    program, _, facts = rested()
    workload = Workload(program, by_id(facts), least_budget(program, facts) + 100)
    schedule = make_schedule(workload, STREAM)
    assert len(schedule.loads) == 6
    loads = list(unroll(program, schedule))
    assert [x.chunk[-1] for x in loads] == list("01202020201202")
    result = predict(workload, schedule)
    # 1 s for the first load and 14 s of calls. The third chunk's load waits for the first one's
    # call, as it does where the second one loads meanwhile: 1 s late in the 4 resting iterations.
    assert (result.loads, result.loading_s, result.makespan_s) == (14, 14, 19)
    # Of two ways that take as long, the search prefers the one that reads less.
    decision = Decision(Partition(()), {}, workload, schedule, result.makespan_s)
    assert _read_bytes(decision) == result.loaded_bytes == 14 * 100


def test_the_plan_promises_what_happens():
    plan = plan_of((RESTS,), STREAM, 100)
    check_plan(plan)
    assert plan.forecast.loads == 14
    assert plan.program.call_counts == {"c0.00": 6, "c0.01": 2, "c0.02": 6}
    assert dict(plan.forecast.stage_s) == {"c0": 14}
    busy = replace(plan.forecast, loads=16, loaded_bytes=1600)
    with pytest.raises(PlanError, match="claims 16 loads, its own numbers make it 14"):
        check_plan(replace(plan, forecast=busy))
    longer = replace(plan.forecast, compute_s=18.0, stall_s=-3.0 + plan.forecast.stall_s)
    with pytest.raises(PlanError, match="stall_s: .* is negative|of computing"):
        check_plan(replace(plan, forecast=longer))
    bars = list(plan.forecast.bars)
    n = next(i for i, b in enumerate(bars) if (b.queue, b.label, b.iteration) ==
             ("compute", "c0.01", 0))  # fmt: skip
    bars[n] = replace(bars[n], iteration=1)
    moved = replace(plan, forecast=replace(plan.forecast, bars=tuple(bars)))
    with pytest.raises(PlanError, match="it rests in iteration 1"):
        check_plan(moved)


def test_the_file_keeps_iterations_of_both_kinds():
    plan = plan_of((replace(RESTS, count=40),), STREAM, 100)
    assert {b.iteration for b in plan.forecast.bars} == {0, 1, 2, 3, 39}


def test_the_rule_keeps_what_is_called_sooner():
    """Room for two of three: in iteration 1 chunk b rests, and a and c stay; b is dropped for good
    after its last call."""
    units = tuple(Unit(c, 0, 100, 10) for c in "abc")
    steps = (
        TableStep("a", 5, 10),
        TableStep("b", 5, 10, at=(0, 4), idle_bytes=2),
        TableStep("c", 5, 10),
    )
    run = play(Table(units, (TableSegment(6, steps),), 205))
    started = [d.step for h in run.history for d in h.decisions if isinstance(d, Start)]
    assert started == list(range(18))
    fetched = [(h.ledger.at, d.unit) for h in run.history for d in h.decisions
               if isinstance(d, Fetch)]  # fmt: skip
    assert [u for n, u in fetched if 3 <= n < 11] == []
    last = next(
        h.ledger.at for h in run.history for d in h.decisions
        if isinstance(d, Evict) and d.unit == 1 and h.ledger.at > 12
    )  # fmt: skip
    assert last == 14
    assert run.made.compute_ns == 140


def test_the_table_knows_when_a_call_rests():
    program, _, facts = rested()
    workload = Workload(program, by_id(facts), 10_000)
    table = make_table(workload)
    middle = [table.step(n) for n in range(1, 18, 3)]
    assert [x.chunk for x in middle] == ["c0.01", None, None, None, "c0.01", None]
    assert middle[1].need_bytes == middle[0].need_bytes - by_id(facts)["c0.01"].activation_bytes
    assert [table.exec_ns(n) for n in range(3, 6)] == [10**9, 0, 10**9]
    assert table.next_use("c0.01", 2) == 13
    assert table.next_use("c0.01", 14) == table.end
    assert table.nominal_before(18) == 14 * 10**9
    assert [table.nominal_before(n) // 10**9 for n in (0, 3, 6, 12, 15)] == [0, 3, 5, 9, 12]


def test_a_rest_teaches_the_rule_nothing():
    steps = (TableStep("a", 0, 10), TableStep("a", 0, 10, at=(0,)))
    table = Table((Unit("a", 0, 1, 10),), (TableSegment(3, steps),), 1)
    run = play(table, exec_ns=lambda step, _: 20 * (table.exec_ns(step) > 0))
    scales = [h.ledger.exec_scale for h in run.history]
    assert len(set(scales)) == 1 + 4, "one for each call that happens"
    assert scales[0] == SCALE


# ---------------------------------------------------------------- quick looks


def shape_of(count, at):
    program, _, facts = make_program((Part(count, (50, 60, 70)),))
    loop = program.segments[0]
    steps = (loop.steps[0], replace(loop.steps[1], at=at), loop.steps[2])
    return replace(program, segments=(replace(loop, steps=steps),)), facts


@pytest.mark.parametrize(
    ("count", "at", "own", "run"),
    [
        (50, tuple(range(0, 50, 2)), 2, 10),
        (50, tuple(range(0, 50, 5)), 5, 15),
        (51, tuple(range(0, 51, 5)), 5, 16),
        (50, (0,), 50, 50),
        (50, (0, 1, 2, 5, 9, 14, 20), 50, 50),
        (50, tuple(range(0, 50, 20)), 20, 30),
        (12, tuple(range(0, 12, 5)), 5, 12),
        (50, tuple(range(50)), 1, 10),
    ],
)
def test_a_look_takes_whole_periods(count, at, own, run):
    program, facts = shape_of(count, at)
    (loop,) = program.segments
    assert period(loop) == own
    (short,) = shortened(program).segments
    assert short.count == run
    assert (count - run) % own == 0
    assert pace_of(loop) % own == 0
    assert all(i < run for x in short.steps for i in x.at)
    workload = Workload(program, by_id(facts), 10_000)
    schedule = make_schedule(workload, DOUBLE_BUFFER)
    whole = predict(workload, schedule).makespan_s
    assert paced_s(workload, schedule) == pytest.approx(whole, abs=1e-9)
    assert Pace(workload).cost(schedule.loads)[0] == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize("every", [2, 3, 7])
def test_a_look_is_right_where_loads_are_late(every):
    """Loads of 1.5 s, calls of 1 s, room for two of three chunks: streams that rest."""
    program, facts = shape_of(60, tuple(range(0, 60, every)))
    slow = {f.id: replace(f, load_s=1.5) for f in facts}
    workload = Workload(program, slow, least_budget(program, facts) + 70)
    schedule = make_schedule(workload, STREAM)
    whole = predict(workload, schedule)
    seconds, loaded = Pace(workload).cost(schedule.loads)
    assert seconds == pytest.approx(whole.makespan_s, rel=1e-9)
    assert loaded == whole.loaded_bytes
    assert paced_s(workload, schedule) == pytest.approx(whole.makespan_s, rel=1e-9)


def test_the_search_at_work_is_no_slower_than_baselines():
    program, facts = shape_of(30, tuple(range(0, 30, 3)))
    slow = {f.id: replace(f, load_s=2.0) for f in facts}
    workload = Workload(program, slow, least_budget(program, facts) + 60)
    best = predict(workload, make_schedule(workload, OPTIMAL)).makespan_s
    for policy in (STREAM, DOUBLE_BUFFER):
        other = predict(workload, make_schedule(workload, policy)).makespan_s
        assert best <= other * 1.001


# ---------------------------------------------------------------- loops of one chunk, gates before


def test_the_only_chunk_of_a_loop_is_loaded_once():
    """No policy loads a chunk again for every slice; in a loop of two, the leanest does."""
    program, _, facts = make_program((Part(7, (50, 60), also=("groups",)),))
    budget = least_budget(program, facts) + 500
    workload = Workload(program, by_id(facts), budget)
    for policy in (STREAM, replace(STREAM, lookahead=0), replace(DOUBLE_BUFFER, keep="published")):
        loads = make_schedule(workload, policy).loads
        assert not [x for x in loads if x.iterations == "each"], policy
    together, _, facts = make_program((Part(7, (50, 60), also=("slices",)),))
    loads = make_schedule(Workload(together, by_id(facts), budget), STREAM).loads
    assert len([x for x in loads if x.iterations == "each"]) == 2


def test_it_is_loaded_again_where_it_cannot_stay():
    """A host step beside it needs the whole budget: the chunk goes and comes in every iteration."""

    program, _, facts = make_program((Part(3, (100,)),))
    loop = program.segments[0]
    steps = (_host_step("large", ()), *loop.steps)
    program = with_lives(
        replace(
            program,
            tensors=(*program.tensors, TensorDecl(port("large", 60))),
            segments=(replace(loop, steps=steps),),
        )
    )
    budget = least_budget(program, facts)
    workload = Workload(program, by_id(facts), budget)
    loads = make_schedule(workload, STREAM).loads
    assert [x.iterations for x in loads] == ["first", "each"]


def test_the_next_chunk_of_a_map_is_loaded_over_all_slices_of_the_one_before():
    """A chunk of 7 slices of 1 s each, then one whose load takes 5 s: with a gate in the last slice
    alone it would be 4 s late."""
    program, _, facts = make_program((Part(7, (50, 500), also=("groups",)),))
    workload = Workload(program, by_id(facts), 10_000)
    schedule = make_schedule(workload, DOUBLE_BUFFER)
    names = [g.name for g in program.segments]
    s = names.index("p0.1")
    (load,) = (x for x in schedule.loads if x.segment == s)
    assert load.gate is not None
    assert (names[load.gate.segment], load.gate.moment) == (names[s - 2], Moment.LAST)
    waits = [w for w in predict(workload, schedule).waits if w.segment == s]
    assert waits == []
    tight = replace(workload, budget_bytes=least_budget(program, facts))
    (load,) = (x for x in make_schedule(tight, DOUBLE_BUFFER).loads if x.segment == s)
    assert (names[load.gate.segment], load.gate.moment) == (names[s - 1], Moment.LAST)


def test_the_online_rule_agrees():
    program, _, facts = make_program((Part(7, (50, 500), also=("groups",)),))
    workload = Workload(program, by_id(facts), 10_000)
    made = play(make_table(workload)).made
    assert made.loads == len(facts)
    assert isinstance(OnlineRule(made.table), OnlineRule)
