"""Words and pictures of calls that rest, slices that follow one another, and outputs that leave as
they are made."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from entracte.cli.show import show_plan
from entracte.inspect.diagram import diagram
from entracte.inspect.overview import overview
from entracte.inspect.perfetto import trace
from entracte.inspect.rounds import rests, rounds
from entracte.ir import Call
from entracte.report.flow import flow_of
from tests.planner.programs import SEQUENTIAL
from tests.planner.test_run_programs import Device, everything, plan_for, run


@pytest.fixture(scope="module")
def plan():
    return plan_for(everything(), SEQUENTIAL)


@pytest.mark.parametrize(
    ("at", "count", "words"),
    [
        ((), 9, ""),
        ((0, 2, 4, 6, 8), 9, "every 2nd iteration"),
        ((0, 3, 6, 9), 12, "every 3rd iteration"),
        (tuple(range(0, 60, 21)), 60, "every 21st iteration"),
        (tuple(range(0, 60, 11)), 60, "every 11th iteration"),
        ((0,), 9, "the first iteration only"),
        ((0, 1, 5), 9, "iterations 0, 1 and 5"),
        ((0, 2), 9, "iterations 0 and 2"),
        ((0, 1, 2, 3, 4, 5, 8), 9, "7 of 9 iterations"),
    ],
)
def test_in_which_iterations(at, count, words):
    call = Call(stage="s", chunk="c", inputs=(), outputs=(), at=at)
    assert rests(call, count) == words


def test_in_which_iterations_it_is_asked():
    call = Call(stage="s", chunk="c", inputs=(), outputs=(), rests_by="asked")
    assert rests(call, 9) == "the first iteration and those in which asked is 0"
    within = replace(call, at=(0, 1, 5))
    words = "the first iteration and those of iterations 0, 1 and 5 in which asked is 0"
    assert rests(within, 9) == words


def test_how_often(plan):
    loops = [s for s in plan.program.segments if s.is_loop]
    assert [rounds(s) for s in loops] == ["4 iterations", "2 slices", "2 slices"]
    early = everything(until=True).segments[1]
    assert rounds(early) == "up to 4 iterations"


def test_the_diagram_says_it(plan):
    drawn = diagram(plan)
    assert [g.title for g in drawn.groups] == [
        "loop: 4 iterations", "first: 2 slices", "second: 2 slices"
    ]  # fmt: skip
    [rare] = [n for n in drawn.nodes if n.lines[0] == "rare"]
    assert rare.lines[-1] == "in every 2nd iteration"
    [clip] = [n for n in drawn.nodes if n.kind == "output" and n.lines[0] == "clip"]
    assert clip.lines[1] == "4 times 2x1, as they are made, 2x4, 3 times 2x4, as they are made"
    into = [e.size_bytes for e in drawn.edges if e.target == clip.id]
    assert sorted(into) == [4 * 8 + 32, 3 * 32]


def test_the_page_says_it(plan):
    flow = flow_of(plan)
    assert [(r.name, r.rounds, r.sliced) for r in flow.loops] == [
        ("loop", "4 iterations", False), ("first", "2 slices", True), ("second", "2 slices", True)
    ]  # fmt: skip
    assert {n.label: n.rests for n in flow.nodes if n.rests} == {"rare": "every 2nd iteration"}
    ids = [n.id for n in flow.nodes]
    assert len(ids) == len(set(ids))


def test_a_stage_in_several_segments_is_a_box_in_each(plan):
    """Groups of chunks of one map, one after the other."""
    from dataclasses import replace

    segments = list(plan.program.segments)
    for s in (2, 3):
        steps = tuple(replace(x, stage="decode") for x in segments[s].steps)
        segments[s] = replace(segments[s], steps=steps)
    parted = replace(plan, program=replace(plan.program, segments=tuple(segments)))
    flow = flow_of(parted)
    boxes = [n for n in flow.nodes if n.label == "decode"]
    assert [n.chunks for n in boxes] == [("first",), ("second",)]
    assert (boxes[0].id, boxes[1].id) in [(e.source, e.target) for e in flow.edges]


def test_tables_and_traces_of_a_run(plan):
    done = run(plan, Device()).run
    console = Console(width=100, record=True, file=io.StringIO())
    show_plan(console, plan, run=done)
    text = console.export_text()
    assert "rare runs in every 2nd iteration; in the others what it made stands" in text
    assert "One steady slice of first (slice 2 of 2)" in text
    chunks = {c.id: c for c in overview(plan).chunks}
    assert (chunks["rare"].calls, chunks["rare"].flops) == (2, 4)
    assert (chunks["step"].calls, chunks["step"].flops) == (4, 8)
    names = {e["name"] for e in json.loads(trace(plan, done))["traceEvents"]}
    assert {"first slice 0", "second slice 1", "loop 3"} <= names
