"""Safety in bulk: programs, budgets and timings made up, under every policy.

Every schedule is proven by the checker and then replayed with adversarial durations, bytes counted
at every instant: its gates, and where the online rule runs it, the rule too, in pages, with loops
that end early. 420 plans here; 105,000 with `-m slow`.
"""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entracte.check.proof import check
from entracte.clock.clock import Gamma, simulate
from entracte.clock.driver import Fetch, Start, StepDone
from entracte.clock.gates import Gates
from entracte.clock.rule import OnlineRule
from entracte.clock.table import make_table
from entracte.program.steps import bases
from entracte.program.workload import Workload
from entracte.schedule.choose import make_schedule
from tests.planner.examples import FEW
from tests.planner.online import with_long_lives
from tests.planner.programs import POLICIES, make_program, parts
from tests.planner.test_schedule import _replayed_peak, by_id, least_budget
from tests.planner.walk import walked

LONG = settings(max_examples=15_000, deadline=None, suppress_health_check=list(HealthCheck))
spare = st.integers(0, 600)
seeds = st.integers(0, 2**32).map(Random)


def prove(shape, extra, random):
    """One plan of each policy: 7 in all."""
    program, _, facts = make_program(shape)
    if random.random() < 0.5:
        program = with_long_lives(program, random)
    budget = least_budget(program, facts) + extra
    for policy in POLICIES:
        schedule = make_schedule(Workload(program, by_id(facts), budget), policy)
        peak = check(program, facts, schedule, budget_bytes=budget).peak_bytes
        assert peak <= budget, policy.name
        for scale in (0.01, 1.0, 100.0):
            assert _replayed_peak(program, facts, schedule, random, scale) <= peak, policy.name
            assert _gates_peak(program, by_id(facts), schedule, random, scale) <= peak
            if schedule.driver == "online":
                assert _online_peak(program, by_id(facts), schedule, random, scale) <= peak


def _gates_peak(program, facts, schedule, random, scale) -> int:
    """On the clock, whose own accounts also refuse an overrun, a call without its chunk, ..."""
    table = make_table(Workload(program, facts, schedule.budget_bytes))
    return _peak(Gates(table, program, schedule), program, facts, random, scale)


def _online_peak(program, facts, schedule, random, scale) -> int:
    """The clock's own accounts also refuse an overrun, a call without its chunk, ..."""
    pages = {c: random.choice((1, 1, 2, 5)) for c in facts}
    workload = Workload(program, facts, schedule.budget_bytes)
    table = make_table(workload, pages=pages, kept=schedule.kept)
    return _peak(OnlineRule(table), program, facts, random, scale)


def _peak(driver, program, facts, random, scale) -> int:
    """Bytes by the driver's decisions and by what `walk.py` finds in each step."""
    ends = {s: random.randint(1, g.count) for s, g in enumerate(program.segments) if g.until}
    table = driver.table
    needs = {(x.segment, x.iteration, x.step): x for x in walked(program, facts, ends)}
    units, worst, need = 0, 0, 0

    def watch(_, event, decisions):
        nonlocal units, worst, need
        if isinstance(event, StepDone):
            need = 0
        for decision in decisions:
            if isinstance(decision, Start):
                slot = needs[table.where(decision.step)]
                assert slot.chunk == table.step(decision.step).chunk
                need = slot.need_bytes
            else:
                sign = 1 if isinstance(decision, Fetch) else -1
                units += sign * table.units[decision.unit].size_bytes
            worst = max(worst, units + need)

    simulate(
        driver,
        load_ns=lambda *_: int(1e9 * random.random() * scale),
        exec_ns=lambda *_: int(1e9 * random.random()),
        ends=ends,
        gamma=random.choice((Gamma(), Gamma(13, 10))),
        rests=_decided(program, table, random),
        watch=watch,
        at=_somewhere(program, ends, random),
    )
    return worst


def _decided(program, table, random):
    """Whether calls that ask a tensor rest: drawn for each iteration but the first."""
    said: dict[tuple[int, int, str], bool] = {}

    def rests(number):
        s, iteration, k = table.where(number)
        by = getattr(program.segments[s].steps[k], "rests_by", "")
        if not by or iteration == 0:
            return False
        return said.setdefault((s, iteration, by), random.random() < 0.5)

    return rests


def _somewhere(program, ends, random) -> int:
    """The beginning, or an iteration with which a run goes on that was interrupted."""
    if random.random() < 0.5:
        return 0
    s = random.randrange(len(program.segments))
    segment = program.segments[s]
    iteration = random.randrange(ends.get(s, segment.count))
    return bases(program)[s] + iteration * len(segment.steps)


@FEW
@given(parts, spare, seeds)
def test_no_plan_overruns(shape, extra, random):
    prove(shape, extra, random)


@pytest.mark.slow
@LONG
@given(parts, spare, seeds)
def test_no_plan_of_a_hundred_thousand_overruns(shape, extra, random):
    prove(shape, extra, random)
