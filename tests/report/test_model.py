"""What the page says is what the plan says."""

from dataclasses import replace
from itertools import accumulate

import pytest

from entracte.check.proof import check
from entracte.clock.predict import predict
from entracte.clock.timeline import predicted
from entracte.inspect.overview import overview
from entracte.inspect.residency import fullest, usage
from entracte.ir import Bar
from entracte.program.workload import Workload
from entracte.report.flow import flow_of
from entracte.report.lanes import bars, loops, stalls, windows
from entracte.report.model import page_of
from entracte.report.policies import compared
from entracte.report.track import KINDS, by_kind
from entracte.run.record import observed_timeline
from entracte.schedule.choose import make_schedule
from tests.planner.plans import make_special_plan, plan_of
from tests.planner.programs import DOUBLE_BUFFER, POLICIES, SEQUENTIAL, Part


@pytest.fixture(scope="module")
def page(plan):
    return page_of(plan, compared(plan))


def test_stages_and_chunks_add_up_to_the_forecast(plan, page):
    f = plan.forecast
    for rows in (page.stages, page.chunks):
        assert sum(r.wait_s for r in rows) == pytest.approx(f.stall_s)
        assert sum(r.weight_bytes for r in rows) == sum(x.weight_bytes for x in plan.facts)
    assert sum(c.loads for c in page.chunks) == f.loads
    assert sum(s.loaded_bytes for s in page.stages) == f.loaded_bytes
    assert sum(s.compute_s for s in page.stages) == pytest.approx(f.compute_s)
    assert sum(g.total_s for g in page.stalls) == pytest.approx(f.stall_s)
    assert {c.id: c.calls for c in page.chunks} == plan.program.call_counts


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
def test_memory_stays_below_the_proven_peak_and_ends_with_no_chunk(policy):
    plan = plan_of((Part(1, (90, 40)), Part(6, (70, 80, 90)), Part(1, (60,), 3)), policy, 100)
    events = predicted(plan).bars
    samples = usage(plan, events)
    peak = fullest(events, samples)
    assert 0 < peak.total_bytes <= plan.forecast.peak_bytes
    assert sum(size for _, _, size in peak.parts) == peak.total_bytes
    assert min(min(by_kind(s)) for s in samples) >= 0
    assert all(sum(by_kind(s)) == s.total_bytes for s in samples)
    last = dict(zip(KINDS, by_kind(samples[-1]), strict=True))
    assert last["resident"] == last["loading"] == last["activations"] == 0


def test_memory_of_a_sequential_run_is_the_proven_one_at_every_call():
    """One chunk at a time: what is in memory in a call is known exactly."""
    plan = plan_of((Part(1, (90, 40)), Part(3, (70, 80))), SEQUENTIAL, 0)
    events = predicted(plan).bars
    samples = usage(plan, events)
    facts = {f.id: f for f in plan.facts}
    for e in (e for e in events if e.queue == "compute"):
        now = [s for s in samples if s.at_s <= e.start_s][-1]
        kinds = dict(zip(KINDS, by_kind(now), strict=True))
        assert kinds["resident"] == facts[e.label].weight_bytes
        assert kinds["activations"] == facts[e.label].activation_bytes
        assert kinds["tensors"] > 0
    assert fullest(events, samples).total_bytes == plan.forecast.peak_bytes


def test_the_track_gives_back_every_bar_to_a_billionth_of_the_run(plan, page):
    track = page.tracks[0]
    shown = [e for e in bars(predicted(plan).bars) if e.queue == "load"]
    starts = [t * track.tick_s for t in accumulate(track.loads.starts)]
    assert starts == pytest.approx([e.start_s for e in shown], abs=1e-7 * track.makespan_s)
    spans = [t * track.tick_s for t in track.loads.spans]
    assert spans == pytest.approx([e.end_s - e.start_s for e in shown], abs=1e-7 * track.makespan_s)
    assert [plan.chunks[c].id for c in track.loads.chunks] == [e.label for e in shown]
    total = [sum(kinds) for kinds in zip(*map(accumulate, track.memory.kinds), strict=True)]
    assert max(total) * track.memory.unit_bytes == track.peak.total_bytes


def test_pages_of_one_load_are_one_bar_unless_the_loader_pauses():
    def load(label, start, end, iteration=0):
        return Bar("load", label, 0, iteration, 0, start, end, 5)

    events = (
        load("a", 0.0, 1.0),
        load("a", 1.0, 2.0),
        load("b", 2.0, 3.0),
        load("a", 3.0, 4.0),
        load("a", 4.5, 5.0),
        load("a", 5.0, 6.0, iteration=1),
    )
    shown = [(e.label, e.start_s, e.end_s, e.size_bytes) for e in bars(events)]
    assert shown == [
        ("a", 0.0, 2.0, 10),
        ("b", 2.0, 3.0, 5),
        ("a", 3.0, 4.0, 5),
        ("a", 4.5, 5.0, 5),
        ("a", 5.0, 6.0, 5),
    ]


def test_windows_meet_and_cover_the_run(plan):
    timeline = predicted(plan)
    found = loops(plan.program, timeline.bars)
    assert [(p.name, len(p.ends_s)) for p in found] == [("p1", 6)]
    named = {w.name: w for w in windows(found, timeline.makespan_s)}
    assert list(named) == ["Whole run", "Prologue", "Steady iteration", "Epilogue"]
    assert named["Prologue"].start_s == 0.0
    assert named["Prologue"].end_s == found[0].start_s
    steady = named["Steady iteration"]
    assert (steady.start_s, steady.end_s) == (found[0].ends_s[1], found[0].ends_s[2])
    assert (named["Epilogue"].start_s, named["Epilogue"].end_s) == (
        found[0].ends_s[5],
        timeline.makespan_s,
    )


def test_waits_say_what_held_the_load_up():
    plan = plan_of((Part(1, (100, 300, 300)),), SEQUENTIAL, 0)
    timeline = predicted(plan)
    whys = [s.why for s in stalls(timeline.bars, timeline.waits, timeline.makespan_s)]
    assert whys == [
        "nothing can run before it is loaded",
        "its load began when c0.00 gave back memory",
        "its load began when c0.01 gave back memory",
    ]
    roomy = plan_of((Part(1, (100, 300, 300)),), DOUBLE_BUFFER, 300)
    timeline = predicted(roomy)
    whys = [s.why for s in stalls(timeline.bars, timeline.waits, timeline.makespan_s)]
    assert whys[1] == "the loader was busy before, with c0.00"


def test_the_headline_names_what_the_time_is_spent_on():
    loading = plan_of((Part(1, (900, 900)),), SEQUENTIAL, 0)
    assert overview(loading).bottleneck.sentence.startswith(
        "Loading is the bottleneck: the compute unit waits 18.00"
    )
    computing = plan_of((Part(1, (10,)), Part(30, (10,))), DOUBLE_BUFFER, 1000)
    told = overview(computing).bottleneck.sentence
    assert told.startswith("Computing is the bottleneck: c1 alone takes 9")


def test_policies_are_simulated_on_the_plans_own_program(plan, page):
    by = {p.name: p for p in page.policies}
    assert set(by) == {"sequential", "double_buffer (this plan)", "ci_dl", "strided"}
    facts = {f.id: f for f in plan.facts}
    schedule = make_schedule(Workload(plan.program, facts, plan.target.budget_bytes), SEQUENTIAL)
    made = predict(Workload(plan.program, facts, schedule.budget_bytes), schedule)
    proof = check(plan.program, plan.facts, schedule, budget_bytes=plan.target.budget_bytes)
    row = by["sequential"]
    assert (row.makespan_s, row.loads, row.loaded_bytes, row.peak_bytes) == (
        made.makespan_s,
        made.loads,
        made.loaded_bytes,
        proof.peak_bytes,
    )
    own = by["double_buffer (this plan)"]
    assert own.own and own.makespan_s == plan.forecast.makespan_s
    assert all(p.makespan_s >= plan.forecast.lower_bound_s for p in page.policies)


def test_a_policy_that_does_not_fit_says_so(plan):
    small = replace(plan, target=replace(plan.target, memory_bytes=1))
    rows = compared(small)
    assert [r.fits for r in rows] == [False, False, False, True]
    assert all(r.reason.startswith("does not fit: stage") for r in rows[:3])


def test_the_flow_follows_the_tensors():
    plan = make_special_plan()
    flow = flow_of(plan)
    assert [(n.id, n.kind, n.segment) for n in flow.nodes] == [
        ("const:x", "constant", None),
        ("stage:c0", "stage", None),
        ("stage:c1", "stage", 1),
        ("out:out", "output", None),
    ]
    assert [(e.source, e.target) for e in flow.edges] == [
        ("const:x", "stage:c0"),
        ("stage:c0", "stage:c1"),
        ("stage:c1", "out:out"),
    ]
    (loop,) = flow.loops
    assert (loop.count, loop.state, loop.until) == (6, ("s1",), "done1")


def test_a_recorded_run_is_set_beside_the_claims(plan, run):
    page = page_of(plan, (), run)
    assert [t.name for t in page.tracks] == ["Predicted", "Observed on null"]
    by = {c.name: c for c in page.claims}
    assert by["time"].observed == 2 * by["time"].claimed
    assert by["peak memory"].observed == plan.forecast.peak_bytes - 7
    assert sum(c.loads for c in page.chunk_claims) == plan.forecast.loads
    assert all(c.load_s[1] == pytest.approx(2 * c.load_s[0]) for c in page.chunk_claims)
    assert all(c.exec_s[1] == pytest.approx(2 * c.exec_s[0]) for c in page.chunk_claims)
    observed = page.tracks[1]
    assert observed.makespan_s == pytest.approx(2 * plan.forecast.makespan_s)
    by_kind = dict(zip(KINDS, observed.memory.kinds, strict=True))
    assert max(accumulate(by_kind["activations"])) * observed.memory.unit_bytes == 1
    assert observed.limits[1] == ("observed peak", run.peak_bytes)
    waited = sum(w.end_s - w.start_s for w in observed_timeline(plan, run).waits)
    assert waited == pytest.approx(run.stall_s)
