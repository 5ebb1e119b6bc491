"""Contention and cold loads on the clock, against sums done by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entracte.clock.clock import Gamma, Simulation, simulate
from entracte.clock.driver import Decision, Event, Evict, Fetch, LoadDone, Start, StepDone
from entracte.clock.predict import predict
from entracte.clock.table import Table, TableSegment, TableStep, Unit
from entracte.program.workload import Workload
from entracte.schedule.choose import make_schedule
from tests.planner.programs import CI_DL, DOUBLE_BUFFER, SEQUENTIAL, Part, make_program

LOOP = Part(6, (70, 80, 90, 60))


def case(policy, shape=(LOOP,), budget=260):
    program, _, facts = make_program(shape)
    workload = Workload(program, {f.id: f for f in facts}, budget)
    return workload, make_schedule(workload, policy)


class Scripted:
    """A driver that decides what it is told: one tuple for the beginning and for each event."""

    def __init__(self, table: Table, *script: tuple[Decision, ...]) -> None:
        self.table, self.script = table, list(script)

    def begin(self, at: int = 0) -> tuple[Decision, ...]:  # noqa: ARG002 (the protocol's)
        return self.script.pop(0)

    def react(self, event: Event) -> tuple[Decision, ...]:
        return self.script.pop(0)


def two(load_ns: tuple[int, int], exec_ns: tuple[int, int]) -> Table:
    """Two steps, a chunk for each, and room for both."""
    units = tuple(Unit(c, 0, 1, ns) for c, ns in zip("ab", load_ns, strict=True))
    steps = tuple(TableStep(c, 0, ns) for c, ns in zip("ab", exec_ns, strict=True))
    return Table(units, (TableSegment(1, steps),), 2)


def bars(made: Simulation) -> list[tuple[str, int, int, int]]:
    return [(x.queue, x.what, x.start_ns, x.end_ns) for x in made.intervals if x.queue != "free"]


def test_a_load_beside_a_call_slows_both():
    """A load of 2 s beside a call of 3 s, gamma 1.5: the load takes 3 s, in which the call does
    2 s of its work; 1 s is left, alone: 4 s."""
    script = ((Fetch(0),), (Start(0), Fetch(1)), (), (Evict(0), Start(1)), (Evict(1),))
    made = simulate(Scripted(two((10, 20), (30, 5)), *script), gamma=Gamma(3, 2))
    assert bars(made) == [("load", 0, 0, 10), ("load", 1, 10, 40), ("compute", 0, 10, 50),
                          ("compute", 1, 50, 55)]  # fmt: skip
    assert (made.compute_ns, made.loading_ns, made.stall_ns) == (45, 40, 10)


def test_what_is_left_of_a_load_goes_on_alone():
    """A load of 4 s beside a call of 2 s, gamma 2: 4 s together do 2 s of each, then 2 s alone."""
    script = ((Fetch(0),), (Start(0), Fetch(1)), (Evict(0),), (Start(1),), (Evict(1),))
    made = simulate(Scripted(two((10, 40), (20, 10)), *script), gamma=Gamma(2, 1))
    assert bars(made) == [("load", 0, 0, 10), ("compute", 0, 10, 50), ("load", 1, 10, 70),
                          ("compute", 1, 70, 80)]  # fmt: skip


def test_of_two_ends_in_one_moment_the_step_is_told_first():
    """A load of 20 beside a call of 20: the chunk that was in use may go for the load after."""
    told = []
    script = ((Fetch(0),), (Start(0), Fetch(1)), (Evict(0),), (Start(1),), (Evict(1),))
    simulate(
        Scripted(two((10, 20), (20, 5)), *script),
        watch=lambda now, event, _: told.append((now, event)),
    )
    ends = [(10, LoadDone(10)), (30, StepDone(20)), (30, LoadDone(20)), (35, StepDone(5))]
    assert told == [(0, None), *ends]


WRONG = {
    "two loads at once": ((Fetch(0), Fetch(1)),),
    "unit 0 is loaded twice": ((Fetch(0),), (Fetch(0),)),
    "step 0 starts without a": ((Fetch(1),), (Start(0),)),
    "step 1 is out of order": ((Fetch(1),), (Start(1),)),
    "unit 0 is evicted but not there": ((Evict(0),),),
    "unit 0 is evicted in flight": ((Fetch(0), Evict(0)),),
    "unit 0 is evicted in use": ((Fetch(0),), (Start(0), Evict(0))),
    "deadlock before step 0": ((),),
    "left in memory": ((Fetch(0),), (Start(0), Fetch(1)), (), (Start(1),), (Evict(1),)),
}


@pytest.mark.parametrize(("message", "script"), WRONG.items(), ids=str)
def test_the_accounts_refuse_what_no_machine_may_do(message, script):
    with pytest.raises(AssertionError, match=message):
        simulate(Scripted(two((1, 1), (1, 1)), *script))


def test_the_accounts_refuse_an_overrun():
    """Two chunks of 1 byte fit, with a step that needs 1 they do not; nor with tensors of 1 that
    it leaves."""
    table = two((1, 1), (1, 1))
    hungry = Table(table.units, (TableSegment(1, (TableStep("a", 1, 1), TableStep("b", 0, 1))),), 2)
    script = ((Fetch(0),), (Fetch(1),), (Start(0),))
    with pytest.raises(AssertionError, match="3 bytes in memory at step 0, the budget is 2 bytes"):
        simulate(Scripted(hungry, *script))
    steps = (TableStep("a", 0, 1), TableStep("b", 0, 1))
    left = Table(table.units, (TableSegment(1, (replace(steps[0], left_bytes=1), steps[1])),), 2)
    with pytest.raises(AssertionError, match="3 bytes in memory at step 1, the budget is 2 bytes"):
        simulate(Scripted(left, (Fetch(0),), (Fetch(1),), (Start(0),), ()))


@pytest.mark.parametrize("policy", [SEQUENTIAL, DOUBLE_BUFFER, CI_DL], ids=lambda p: p.name)
def test_contention_changes_nothing_that_does_not_overlap(policy):
    workload, schedule = case(policy)
    alone = predict(workload, schedule)
    shared = predict(replace(workload, contention=1.5), schedule)
    if policy is SEQUENTIAL:
        assert shared.makespan_s == pytest.approx(alone.makespan_s, rel=1e-12)
    else:
        assert shared.makespan_s > alone.makespan_s
    assert (shared.loads, shared.loaded_bytes) == (alone.loads, alone.loaded_bytes)


@given(
    weights=st.lists(st.integers(1, 90), min_size=1, max_size=6),
    count=st.integers(1, 5),
    gamma=st.integers(1000, 3000),
    until=st.booleans(),
    ended=st.integers(1, 5),
)
def test_between_no_contention_and_everything_slowed(weights, count, gamma, until, ended):
    """Bounds that hold for any schedule: at least the time without contention, at most gamma
    times it, and a nanosecond for each of its events. Gamma is kept to a thousandth."""
    shape = (Part(1, (30, 20)), Part(count, tuple(weights), until=until))
    workload, schedule = case(DOUBLE_BUFFER, shape, 400)
    ends = {1: ended} if until else {}
    alone = predict(workload, schedule, ends=ends)
    shared = predict(replace(workload, contention=gamma / 1000), schedule, ends=ends)
    assert shared.makespan_s >= alone.makespan_s
    assert shared.makespan_s <= alone.makespan_s * gamma / 1000 + 1e-9 * len(shared.bars)


def test_a_packages_first_load_is_cold():
    workload, schedule = case(SEQUENTIAL)
    cold = {k: replace(f, cold_s=3.0) for k, f in workload.facts.items()}
    warm = predict(workload, schedule).makespan_s
    assert predict(replace(workload, facts=cold), schedule).makespan_s == pytest.approx(
        warm + 3.0 * len(cold), rel=1e-12
    )
