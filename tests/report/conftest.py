"""The report's plans, and a browser to look at its pages with."""

from dataclasses import replace

import pytest

from entracte.clock.timeline import predicted
from entracte.ir import Bar, ChunkRun, Plan, Run
from entracte.report.model import page_of
from entracte.report.page import render
from entracte.report.policies import compared
from entracte.run.origin import plan_digest
from tests.planner.plans import make_plan
from tests.report.shown import Shown


@pytest.fixture(scope="session")
def plan() -> Plan:
    return make_plan()


@pytest.fixture(scope="session")
def run(plan: Plan) -> Run:
    """A run that took twice the predicted times, event by event."""
    timeline = predicted(plan)
    events = tuple(replace(e, start_s=2 * e.start_s, end_s=2 * e.end_s) for e in timeline.bars)
    return Run(
        device="null",
        wall_s=2 * timeline.makespan_s,
        peak_bytes=plan.forecast.peak_bytes - 7,
        stall_s=2 * plan.forecast.stall_s,
        loaded_bytes=plan.forecast.loaded_bytes,
        chunks=tuple(_seen(plan, f.id, events) for f in plan.facts),
        bars=tuple(sorted(events, key=lambda e: e.end_s)),
        plan=plan_digest(plan),
        date="2026-11-28T09:30:00Z",
        versions=(("entracte", "0.1.0"),),
    )


def _seen(plan: Plan, chunk: str, events: tuple[Bar, ...]) -> ChunkRun:
    def own(queue: str) -> list[float]:
        return [e.end_s - e.start_s for e in events if (e.queue, e.label) == (queue, chunk)]

    calls = plan.program.call_counts[chunk]
    return ChunkRun(
        chunk=chunk,
        loads=len(own("load")),
        calls=calls,
        load_s=sum(own("load")),
        exec_s=sum(own("compute")),
        peak_activation_bytes=1,
    )


@pytest.fixture
def show(browser, tmp_path):
    opened = []

    def make(text: str, **how) -> Shown:
        path = tmp_path / f"page{len(opened)}.html"
        path.write_text(text)
        opened.append(Shown(browser, path, **how))
        return opened[-1]

    yield make
    for shown in opened:
        shown.close()


@pytest.fixture(scope="session")
def text(plan, run) -> str:
    return render(page_of(plan, compared(plan), run))
