"""Plans for the online rule, whole packages or pages, in tables, trace, comparison and report."""

import json
from dataclasses import replace
from itertools import accumulate

import pytest
from typer.testing import CliRunner

from entracte.cli.plan import app
from entracte.cli.show import show_plan
from entracte.cli.show_json import plan_json
from entracte.clock.timeline import predicted
from entracte.inspect.compare import compare
from entracte.inspect.overview import kept_rows, overview
from entracte.inspect.perfetto import trace
from entracte.ir import Kept
from entracte.plan.file import write_plan
from entracte.plan.limits import most_pages
from entracte.report.model import page_of
from entracte.report.page import render
from entracte.report.policies import compared
from tests.inspection.test_perfetto import checked
from tests.planner.plans import make_online_plan, make_plan
from tests.planner.test_show import fits, printed

PAGE = 4096
LEVELS = (Kept(0.7, ("c1.00",)), Kept(1.75, ()), Kept(2.5, ("c1.00", "c1.01")))


@pytest.fixture(scope="module")
def online():
    plan = make_online_plan()
    return replace(plan, schedule=replace(plan.schedule, kept=LEVELS))


@pytest.fixture(scope="module")
def paged():
    plan = make_online_plan(PAGE)
    assert plan.schedule.driver == "online" and plan.target.page_bytes == PAGE
    return plan


def loads(plan):
    return [e for e in predicted(plan).bars if e.queue == "load"]


# ---------------------------------------------------------------- plan show


def test_show_an_online_plan(golden, online):
    text = printed(lambda c: show_plan(c, online))
    golden.check(text)
    assert fits(text, 80)


def test_show_a_paged_plan(golden, paged):
    text = printed(lambda c: show_plan(c, paged))
    golden.check(text)
    assert fits(text, 80)


def test_kept_levels_cover_every_slowness_and_one_is_the_planned(online):
    rows = kept_rows(online)
    assert [(r.slower, r.below) for r in rows] == [(0, 0.7), (0.7, 1.75), (1.75, 2.5), (2.5, None)]
    assert [r.planned for r in rows] == [False, True, False, False]
    assert [r.chunks for r in rows] == [(), *(k.chunks for k in LEVELS)]
    assert kept_rows(make_plan()) == ()
    assert kept_rows(replace(online, schedule=replace(online.schedule, kept=()))) == ()


def test_a_chunk_is_kept_if_nothing_of_it_is_loaded_after_the_first_iteration(paged):
    rows = {c.id: c for c in overview(paged).chunks}
    again = {e.label for e in loads(paged) if e.iteration > 0}
    assert {c for c, row in rows.items() if row.kept} == {"c1.00", "c1.01", "c1.02"} - again
    assert again


def test_json_has_the_levels_and_what_the_rule_may_fill(paged, online):
    made = json.loads(plan_json(online))
    assert made["driver"] == "online"
    assert [k["chunks"] for k in made["kept"]] == [[], ["c1.00"], [], ["c1.00", "c1.01"]]
    peak = json.loads(plan_json(paged))["peak"]
    assert peak["total_bytes"] == paged.forecast.peak_bytes


def test_endless_pages_are_refused_before_they_are_followed(paged, tmp_path, monkeypatch):
    monkeypatch.setattr("entracte.plan.limits.MOST_PAGES", 10_000)
    first, loop, *rest = paged.program.segments
    endless = replace(paged.program, segments=(first, replace(loop, count=3_000), *rest))
    quick = tuple(replace(f, exec_s=0.01) for f in paged.facts)
    target = replace(paged.target, compute_flops=200.0, memory_bandwidth=100.0)
    write_plan(replace(paged, program=endless, facts=quick, target=target), tmp_path)
    pages = {c: -(-f.weight_bytes // PAGE) for f in paged.facts for c in [f.id]}
    assert most_pages(paged) == sum(pages[c] * n for c, n in overview_uses(paged).items())
    for command in ("show", "report", "trace"):
        done = CliRunner().invoke(app, [command, str(tmp_path)])
        assert done.exit_code == 1
        assert "page loads, at most 10000 are possible" in " ".join(done.output.split())


def overview_uses(plan) -> dict[str, int]:
    return {c.id: c.uses for c in overview(plan).chunks}


# ---------------------------------------------------------------- plan trace


@pytest.mark.parametrize("page_bytes", [0, PAGE])
def test_the_trace_has_every_load_of_the_rule(page_bytes):
    plan = make_online_plan(page_bytes)
    events = checked(trace(plan))
    bars = [e for e in events if e.get("cat") == "load"]
    assert len(bars) == len(loads(plan)) == plan.forecast.loads
    assert sum(b["args"]["bytes"] for b in bars) == plan.forecast.loaded_bytes
    if page_bytes:
        assert max(b["args"]["bytes"] for b in bars) <= page_bytes
    memory = [e["args"] for e in events if e["name"] == "memory"]
    most = max(sum(m.values()) for m in memory)
    assert 0 < most <= plan.forecast.peak_bytes <= plan.target.budget_bytes


# ---------------------------------------------------------------- plan compare


@pytest.mark.parametrize("page_bytes", [0, PAGE])
def test_gates_and_the_online_rule_are_compared_as_predicted(page_bytes):
    gates, online = make_plan(), make_online_plan(page_bytes)
    made = compare(gates, online)
    (driver,) = [s for s in made.settings if s.key == "(driver)"]
    assert (driver.before, driver.after) == ('"gates"', '"online"')
    for name, of in (
        ("makespan", lambda f: f.makespan_s),
        ("loads", lambda f: f.loads),
        ("loaded", lambda f: f.loaded_bytes),
        ("peak", lambda f: f.peak_bytes),
    ):
        figure = made.figure(name)
        assert (figure.before, figure.after) == (of(gates.forecast), of(online.forecast))
    waits = sum(f.after for f in made.stalls)
    assert waits == pytest.approx(sum(row.wait_s[1] for row in made.stages))
    assert waits == pytest.approx(online.forecast.stall_s)
    assert not [s for s in compare(online, online).settings if s.key == "(driver)"]


# ---------------------------------------------------------------- plan report


def test_the_report_says_who_decides_loads_and_what_is_kept(online):
    text = render(page_of(online, compared(online)))
    assert "loads decided while it runs (online rule)" in text
    assert "this is what it decides at the planned times" in text
    assert "0.7 × to 1.75 × (as planned)" in text
    assert "the others follow gates. Each peak is the most for any timing." in text
    by_gates = render(page_of(make_plan(), compared(make_plan())))
    assert "online rule" not in by_gates and "loads by gates" in by_gates


@pytest.mark.parametrize("page_bytes", [0, PAGE])
def test_the_report_compares_the_rules_run_with_baselines_by_gates(page_bytes):
    plan = make_online_plan(page_bytes)
    *others, own = compared(plan)
    assert [p.name for p in others] == ["sequential", "double_buffer", "ci_dl", "strided"]
    f = plan.forecast
    assert (own.name, own.own) == ("online (this plan)", True)
    assert (own.makespan_s, own.loads, own.peak_bytes) == (f.makespan_s, f.loads, f.peak_bytes)
    whole = replace(plan, target=replace(plan.target, page_bytes=0))
    assert others == list(compared(whole)[:-1])


def test_the_report_draws_pages_and_counts_them(paged):
    page = page_of(paged, compared(paged))
    (track,) = page.tracks
    assert sum(c.loads for c in page.chunks) == paged.forecast.loads
    assert sum(c.loaded_bytes for c in page.chunks) == paged.forecast.loaded_bytes
    # Bars are pages joined: together what was loaded.
    assert len(track.loads.chunks) < paged.forecast.loads
    sizes = track.loads.sizes or [page.chunks[c].weight_bytes for c in track.loads.chunks]
    assert sum(sizes) == paged.forecast.loaded_bytes
    total = [sum(kinds) for kinds in zip(*map(accumulate, track.memory.kinds), strict=True)]
    assert max(total) * track.memory.unit_bytes == track.peak.total_bytes
    text = render(page)
    assert "loads by pages of 4 KiB" in text and "page loads" in text
    assert set(page.kept.values()) - {"single use", "whole loop", "no"}
