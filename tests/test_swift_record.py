"""A record that the Swift runner wrote is one: read here like one of our own."""

import os
from dataclasses import replace

import pytest

from entracte.calibrate.observed import observations
from entracte.plan.file import CONSTANTS, write_plan
from entracte.run.record import observed_timeline, run_of
from tests.planner.programs import DOUBLE_BUFFER, ONLINE
from tests.planner.runs import sampler
from tests.planner.test_run_programs import everything, plan_for
from tests.swift import built, done


@pytest.mark.parametrize(
    "plan",
    [
        plan_for(everything(until=True), ONLINE),
        plan_for(everything(until=True), DOUBLE_BUFFER),
        sampler(ONLINE),
    ],
    ids=["everything by the rule", "everything by gates", "sampler"],
)
def test_what_the_swift_runner_records_can_be(plan, tmp_path):
    chain = built()
    plan = replace(plan, files=((CONSTANTS, "0" * 64),))
    write_plan(plan, tmp_path)
    env = {**os.environ, "ENTRACTE_RECORD_BUILD": str(tmp_path)}
    ran = done(chain.swift("test", "--skip-build", "--filter", "RecordForPython"), env=env)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    run = run_of(plan, tmp_path)
    assert run is not None and run.device == "toy" and run.date and run.wall_s > 0
    assert [name for name, _ in run.inputs] == [i.name for i in plan.program.inputs]
    early = [(g.name, 3) for g in plan.program.segments if g.until]
    assert list(run.iterations) == early
    calls = {c.chunk: c.calls for c in run.chunks}
    full = plan.program.call_counts
    assert calls.keys() == full.keys()
    loop = {x.chunk for g in plan.program.segments if g.until for x in g.steps}
    assert all(calls[c] == n for c, n in full.items() if c not in loop)
    assert 0 < run.peak_bytes <= plan.forecast.peak_bytes
    loads = [o for o in observations(plan, run) if o.kind != "call"]
    assert sum(len(o.seconds) for o in loads) == sum(c.loads for c in run.chunks)
    timeline = observed_timeline(plan, run)
    assert sum(b.queue == "load" for b in timeline.bars) == sum(c.loads for c in run.chunks) > 0
