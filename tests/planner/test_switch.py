"""A copy that serves one function is loaded again for another: on the clock, in plans, in runs."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entracte.check.proof import check
from entracte.clock.clock import Gamma, simulate
from entracte.clock.driver import Evict, Fetch, Start
from entracte.clock.predict import predict
from entracte.clock.table import Table, TableSegment, TableStep, Unit
from entracte.devices.null import Blank, NullDevice
from entracte.errors import PlanError
from entracte.inspect.overview import overview
from entracte.plan.file import check_plan
from entracte.plan.forecast import check_forecast
from entracte.program.steps import functions_of
from entracte.program.workload import Workload
from entracte.run.possible import fault_of
from entracte.run.runner import run_plan
from entracte.schedule.choose import make_schedule
from tests.planner.plans import plan_of
from tests.planner.programs import (
    DEEP,
    DOUBLE_BUFFER,
    ONLINE,
    SEQUENTIAL,
    Part,
    make_program,
    parts,
)
from tests.planner.test_clock import Scripted

SHAPE = (Part(1, (90,)), Part(6, (70, 80), switch=2))
SHARED = (Part(4, (70, 80), also=("shared",)),)
POLICIES = (SEQUENTIAL, DOUBLE_BUFFER, DEEP, ONLINE)


def one_chunk(b_load_ns: int = 7) -> Table:
    """Two steps that call `a`, then one that calls `b`."""
    units = (Unit("a", 0, 3, 10, cold_ns=100), Unit("b", 0, 1, b_load_ns))
    steps = (TableStep("a", 0, 30), TableStep("a", 0, 5), TableStep("b", 0, 1))
    return Table(units, (TableSegment(1, steps),), 4)


def test_a_step_of_another_function_waits_for_a_load_that_is_not_cold():
    script = (
        (Fetch(0),), (Start(0),), (Start(1),), (Evict(0), Fetch(1)), (Start(2),), (Evict(1),)
    )  # fmt: skip
    made = simulate(Scripted(one_chunk(), *script), functions=lambda n: "main" if n else "first")
    told = [(x.queue, x.what, x.start_ns, x.end_ns) for x in made.intervals]
    assert told == [
        ("load", 0, 0, 110), ("compute", 0, 110, 140), ("free", 0, 140, 140),
        ("switch", 0, 140, 150), ("compute", 1, 150, 155), ("free", 0, 155, 155),
        ("load", 1, 155, 162), ("compute", 2, 162, 163), ("free", 1, 163, 163),
    ]  # fmt: skip
    assert (made.loads, made.loaded_bytes, made.loading_ns) == (3, 7, 127)
    assert (made.compute_ns, made.stall_ns) == (36, 127)


def test_a_switch_beside_a_load_is_as_slow_as_a_step_would_be():
    """Gamma 2: the other load's 15 ns begin with the switch, so both go at half their speed: the
    switch's 10 take 20, in which 10 of the load are done; its 5 others take 10 beside the step."""
    script = (
        (Fetch(0),), (Start(0),), (Start(1), Fetch(1)), (), (Evict(0), Start(2)), (Evict(1),)
    )  # fmt: skip
    table = one_chunk(15)
    made = simulate(
        Scripted(table, *script), functions=lambda n: "main" if n else "first", gamma=Gamma(2, 1)
    )
    told = [(x.queue, x.what, x.start_ns, x.end_ns) for x in made.intervals if x.queue != "free"]
    assert told[2:] == [
        ("switch", 0, 140, 160), ("compute", 1, 160, 170), ("load", 1, 140, 170),
        ("compute", 2, 170, 171),
    ]  # fmt: skip
    # While both are under way, loading is one time.
    assert made.loading_ns == 110 + 30


def test_what_serves_all_functions_never_switches():
    script = (
        (Fetch(0),), (Start(0),), (Start(1),), (Evict(0), Fetch(1)), (Start(2),), (Evict(1),)
    )  # fmt: skip
    assert simulate(Scripted(one_chunk(), *script)).loads == 2


# ---------------------------------------------------------------- programs


def switches(program, prediction) -> int:
    """Counted from the bars of a run without any: loads bind, calls of another function switch."""
    base = [0]
    for segment in program.segments:
        base.append(base[-1] + segment.count * len(segment.steps))
    function_at = functions_of(program)
    bound, found = {}, 0
    for bar in sorted(prediction.bars, key=lambda b: (b.start_s, b.queue == "compute")):
        length = len(program.segments[bar.segment].steps)
        function = function_at(base[bar.segment] + bar.iteration * length + bar.step) \
            if bar.queue != "free" else ""  # fmt: skip
        if bar.queue == "load":
            bound[bar.label] = function
        elif bar.queue == "compute" and bound[bar.label] != function:
            bound[bar.label] = function
            found += 1
    return found


@given(parts, st.sampled_from((SEQUENTIAL, DOUBLE_BUFFER, DEEP)), st.integers(0, 300))
def test_by_gates_each_change_of_a_copys_function_is_one_load_more(shape, policy, spare):
    """Gates load for the same steps whatever takes how long."""
    program, _, facts = make_program(shape)
    by_id = {f.id: f for f in facts}
    whole = sum(f.weight_bytes + f.activation_bytes for f in facts) + 5000 + spare
    plain = Workload(program, by_id, whole)
    schedule = make_schedule(plain, policy)
    without = predict(plain, schedule)
    made = predict(replace(plain, reload_on_switch=True), schedule)
    assert made.loads == without.loads + switches(program, without)
    assert made.compute_s == pytest.approx(without.compute_s)
    assert made.stall_s == pytest.approx(sum(s for _, s in made.stalls))
    assert made.makespan_s >= without.makespan_s - 1e-9
    check(program, facts, schedule, budget_bytes=schedule.budget_bytes)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
@pytest.mark.parametrize("shape", [SHAPE, SHARED])
def test_a_plan_says_so_and_a_run_makes_them(shape, policy):
    """The record of a device whose copies serve one function has the loads of the forecast."""
    plan = plan_of(shape, policy, 400, reload_on_switch=True)
    check_forecast(plan, check_plan(plan))
    device = OneFunction()
    run = run_plan(plan, Path(), device, {}, constants={"x": Blank((4,))}).run
    forecast = plan.forecast
    assert (sum(c.loads for c in run.chunks), run.loaded_bytes) == (
        forecast.loads,
        forecast.loaded_bytes,
    )
    assert fault_of(plan, run) is None
    assert device.switched == ("switch" in dict(forecast.stalls))
    # What is kept over a loop is kept, though it was loaded again.
    if policy is not SEQUENTIAL and shape is SHAPE:
        assert [c.kept for c in overview(plan).chunks][-2:] == [True, True]


def test_a_forecast_without_its_switches_is_refused():
    plan = plan_of(SHAPE, DOUBLE_BUFFER, 400, reload_on_switch=True)
    other = plan_of(SHAPE, DOUBLE_BUFFER, 400)
    assert plan.forecast.loads == other.forecast.loads + 2
    false = replace(plan, forecast=other.forecast)
    with pytest.raises(PlanError, match="promises other makespan_s"):
        check_forecast(false, check_plan(false))


class OneFunction(NullDevice):
    """Refuses what a model of one function cannot do."""

    one_function = True
    switched = False

    def load(self, package, folder, function="main"):
        self.switched |= any(x == ("free", package.chunk) for x in self.log[-1:])
        return super().load(package, folder, function), function

    def call(self, handle, function, inputs):
        assert handle[1] == function
        return super().call(handle[0], function, inputs)

    def free(self, handle):
        super().free(handle[0])
