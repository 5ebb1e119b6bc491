"""What holds a plan up: figures by hand, and one sentence wherever it is said."""

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from entracte.advise import Option, verdict
from entracte.check.proof import check
from entracte.cli.compare import show_comparison
from entracte.cli.show import show_plan
from entracte.cli.show_json import plan_json
from entracte.clock.predict import Prediction, Wait
from entracte.inspect.bottleneck import FITS, bottleneck_of, cold_loads, first_loads
from entracte.inspect.compare import compare
from entracte.inspect.converted import Measured, measured_otherwise
from entracte.inspect.overview import overview
from entracte.inspect.perfetto import trace
from entracte.ir import Bar, ChunkFacts
from entracte.plan.forecast import forecast
from entracte.program.workload import Workload
from entracte.report.model import page_of
from entracte.report.policies import compared
from tests.planner.plans import SHAPE, make_plan, plan_of
from tests.planner.programs import DOUBLE_BUFFER, OPTIMAL


def load(chunk, start_s, end_s, size_bytes=100):
    return Bar("load", chunk, 0, 0, 0, start_s, end_s, size_bytes)


def wait(chunk, start_s, end_s, cause="straight"):
    return Wait(chunk, 0, 0, start_s, end_s, cause)


def fact(chunk, load_s, cold_s, activation_bytes=10):
    return ChunkFacts(
        id=chunk,
        weight_bytes=100,
        activation_bytes=activation_bytes,
        load_s=load_s,
        exec_s=2.0,
        cold_s=cold_s,
    )


FACTS = (fact("a", 1.0, 9.0), fact("b", 1.0, 3.0))
BARS = (load("a", 0, 10), load("b", 10, 14), load("a", 16, 17))
"""`a` runs from 10 to 12, `b` from 14 to 16, `a` again from 17 to 19."""
WAITS = (wait("a", 0, 10, "start"), wait("b", 12, 14), wait("a", 16, 17))


def prediction(compute_s=6.0, bars=BARS, waits=WAITS):
    stalls = {}
    for w in waits:
        stalls[w.cause] = stalls.get(w.cause, 0.0) + w.end_s - w.start_s
    return Prediction(
        makespan_s=compute_s + sum(stalls.values()),
        compute_s=compute_s,
        loading_s=sum(b.end_s - b.start_s for b in bars),
        loads=len(bars),
        loaded_bytes=sum(b.size_bytes for b in bars),
        bars=bars,
        stage_s=(("s", compute_s),),
        stalls=tuple(stalls.items()),
        waits=waits,
    )


def test_first_loads_are_the_cold_ones():
    made = first_loads(prediction(), FACTS)
    assert (made.chunks, made.warm_s, made.cold_s) == (2, 2.0, 14.0)
    assert made.wait_s == pytest.approx(10 + 2)
    assert cold_loads(BARS, FACTS) == BARS[:2]


def test_pages_are_cold_until_all_of_the_chunk_was_there():
    pages = (load("a", 0, 5, 50), load("a", 5, 10, 50), load("a", 16, 17, 50))
    assert cold_loads(pages, FACTS) == pages[:2]


def test_targets_without_cold_loads_tell_of_none():
    warm = tuple(replace(f, cold_s=0.0) for f in FACTS)
    made = first_loads(prediction(), warm)
    assert (made.chunks, made.warm_s, made.cold_s, made.wait_s) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("compute_s", "activation_bytes", "kind"),
    [
        (13.0, 10, "computing"),
        (12.9, 10, "loading"),
        (6.0, 101, "activations"),
        (6.0, 100, "loading"),
    ],
)
def test_the_larger_part_of_the_time_is_the_bottleneck(compute_s, activation_bytes, kind):
    """13 s of waiting; `a` is loaded twice and `b` once, of a budget of 200 bytes."""
    facts = (fact("a", 1.0, 9.0, activation_bytes), fact("b", 1.0, 3.0, 199))
    made = bottleneck_of(prediction(compute_s), prediction(compute_s), facts, 200)
    assert made.kind == kind
    assert made.sentence.lower().startswith(kind)


def test_the_sentence_has_the_figures_and_why():
    made = bottleneck_of(prediction(), prediction(), FACTS, 1000)
    assert made.sentence == (
        "Loading is the bottleneck: the compute unit waits 13.00 s of 19.00 s (68 %), most of it "
        "at the start (10.00 s); 12.00 s of it during first loads, which are cold."
    )


def cold_plan():
    """`make_plan` on a device whose first loads take twice as long."""
    plan = make_plan()
    facts = tuple(replace(f, cold_s=f.load_s) for f in plan.facts)
    plan = replace(plan, facts=facts)
    proof = check(plan.program, facts, plan.schedule, budget_bytes=plan.schedule.budget_bytes)
    return replace(plan, forecast=forecast(Workload.of(plan), plan.schedule, proof))


def printed(draw, width=80):
    out = io.StringIO()
    draw(Console(file=out, width=width, highlight=False))
    return out.getvalue()


def words(text):
    return " ".join(text.split())


def test_page_show_json_and_advice_say_one_sentence():
    plan = cold_plan()
    sentence = overview(plan).bottleneck.sentence
    assert page_of(plan, ()).headline == sentence
    assert sentence in words(printed(lambda c: show_plan(c, plan)))
    assert json.loads(plan_json(plan))["bottleneck"]["sentence"] == sentence
    option = Option(
        size="64x64",
        precision="fp16",
        compression="none",
        policy="optimal",
        makespan_s=1.0,
        sentence=sentence,
    )
    assert sentence in verdict((option,), "64x64")


def test_cold_loads_stand_beside_warm_ones():
    """Of `c0.00` the load takes 0.9 s, the first one 1.8 s, and nothing can run before it."""
    plan = cold_plan()
    text = printed(lambda c: show_plan(c, plan), 140)
    assert re.search(r" load +cold +call ", text)
    assert re.search(r" c0\.00 .* 900ms +1\.80s +1\.00s ", text)
    once = sum(f.load_s for f in plan.facts)
    assert once == pytest.approx(4.4)
    told = "first loads take 8.80 s in all, each alone, where warm ones would take 4.40 s"
    assert told in words(text)
    assert "the first 1.80 s (cold)" in printed(lambda c: show_plan(c, plan, chunk="c0.00"))
    page = page_of(plan, ())
    assert [(c.load_s, c.first_load_s) for c in page.chunks][0] == (0.9, 1.8)
    assert page.stalls[0].chunk == "c0.00"
    assert page.stalls[0].why.endswith("; its first load, which is cold")


def test_a_trace_marks_cold_loads_and_what_waits_for_them():
    events = json.loads(trace(cold_plan()))["traceEvents"]
    loads = [e for e in events if e.get("cat") == "load" and e["name"] == "c1.00"]
    assert [e["args"].get("cold", False) for e in loads] == [True] + [False] * (len(loads) - 1)
    first = next(e for e in events if e.get("cat") == "wait")
    assert first["args"]["cold_s"] == pytest.approx(1.8) == first["dur"] / 1e6
    assert "cold" not in trace(make_plan())


def test_where_the_loop_fits_there_is_nothing_to_schedule():
    """Room for all: the policies that keep chunks read the same bytes in the same time."""
    roomy, tight = plan_of(SHAPE, DOUBLE_BUFFER, 1000), make_plan()
    assert overview(roomy).loop_fits and not overview(tight).loop_fits
    assert not overview(plan_of(SHAPE[:1], DOUBLE_BUFFER, 1000)).loop_fits  # there is no loop
    other = plan_of(SHAPE, OPTIMAL, 1000)
    assert other.forecast.loaded_bytes == roomy.forecast.loaded_bytes
    assert other.forecast.makespan_s == pytest.approx(roomy.forecast.makespan_s, rel=0.01)
    page = page_of(roomy, compared(roomy))
    assert page.fits == FITS and page_of(tight, ()).fits == ""
    assert FITS in words(printed(lambda c: show_plan(c, roomy)))
    assert FITS not in words(printed(lambda c: show_plan(c, tight)))
    both = printed(lambda c: show_comparison(c, "a", "b", compare(roomy, other)))
    assert FITS in words(both)
    assert FITS not in words(printed(lambda c: show_comparison(c, "a", "b", compare(roomy, tight))))


def test_what_conversion_changed_is_told():
    """By 1 % or more: of weights both ways, of activations what grew."""
    plan = make_plan()
    assert measured_otherwise(plan) == ()
    traced = {c.id: c for c in plan.chunks}
    sizes = {"c0.00": (90 - 9, 16), "c1.01": (80, 19 + 4), "c1.02": (90, 20 - 5)}
    assert {i: (traced[i].weight_bytes, traced[i].activation_bytes) for i in sizes} == {
        "c0.00": (90, 16),
        "c1.01": (80, 19),
        "c1.02": (90, 20),
    }
    changed = tuple(
        replace(p, weight_bytes=sizes[p.chunk][0], activation_bytes=sizes[p.chunk][1])
        if p.chunk in sizes
        else p
        for p in plan.packages
    )
    plan = replace(plan, packages=changed)
    assert measured_otherwise(plan) == (
        Measured("c0.00", "weights", 90, 81),
        Measured("c1.01", "activations", 19, 23),
    )
    told = words(printed(lambda c: show_plan(c, plan)))
    assert (
        "built measured after conversion, unlike the dry run: weights of c0.00 90 B -> 81 B, "
        "activations of c1.01 19 B -> 23 B" in told
    )
    assert measured_otherwise(replace(plan, packages=())) == ()


@pytest.mark.parametrize("make", [make_plan, cold_plan])
def test_show_json_page_and_trace_add_up_to_one_run(make):
    """Each adds up its own rows; together they are the forecast."""
    plan = make()
    f = plan.forecast
    told = [e for e in json.loads(trace(plan))["traceEvents"] if e.get("ph") == "X"]

    def seconds(kind):
        return pytest.approx(sum(e["dur"] for e in told if e["cat"] == kind) / 1e6)

    made, page = overview(plan), page_of(plan, ())
    assert seconds("compute") == f.compute_s == made.compute_s
    assert seconds("wait") == f.stall_s == pytest.approx(sum(s.wait_s for s in made.stages))
    assert seconds("load") == f.loading_s == pytest.approx(sum(s.load_s for s in made.stages))
    assert max(e["ts"] + e["dur"] for e in told) / 1e6 == pytest.approx(f.makespan_s)
    assert sum(e["cat"] == "load" for e in told) == f.loads == sum(c.loads for c in made.chunks)
    cold = sum(e["args"].get("cold_s", 0.0) for e in told if e["cat"] == "wait")
    assert cold == pytest.approx(made.first_loads.wait_s)
    shown = json.loads(plan_json(plan))
    assert shown["bottleneck"]["sentence"] == page.headline == made.bottleneck.sentence
