"""The pages in headless Chromium: what a chunk holds, memory by name, and what fits where."""

from dataclasses import replace

import pytest

from entracte.clock.timeline import predicted
from entracte.report.model import page_of
from entracte.report.page import render
from entracte.report.policies import compared
from entracte.report.sweep import SweepRow, render_sweep
from entracte.units import format_bytes
from tests.planner.plans import plan_of
from tests.planner.programs import DOUBLE_BUFFER, Part
from tests.report.shown import PHONE, WIDE

MODULES = {
    "c0.00": ("embed.proj",),
    "c1.00": ("blocks.0", "blocks.1", "blocks.2"),
    "c1.01": ("blocks.3",),
}


@pytest.fixture(scope="module")
def named(plan):
    """The plan, with modules in three of its chunks."""
    return replace(
        plan, chunks=tuple(replace(c, modules=MODULES.get(c.id, ())) for c in plan.chunks)
    )


@pytest.fixture(scope="module")
def named_text(named) -> str:
    return render(page_of(named, compared(named)))


def memory_at(shown, share):
    """A point in the picture of memory, at a share of its width."""
    box = shown.page.locator("#lanes").bounding_box()
    left, right = box["x"] + 74, box["x"] + box["width"] - 26
    return left + share * (right - left), box["y"] + box["height"] - 90


def in_memory(plan, moment) -> dict[str, int]:
    """Chunk -> its bytes at a moment, counted from the start of a load."""
    held: dict[str, int] = {}
    for e in predicted(plan).bars:
        if e.queue != "compute" and e.start_s <= moment:
            sign = 1 if e.queue == "load" else -1
            held[e.label] = held.get(e.label, 0) + sign * e.size_bytes
    return {chunk: size for chunk, size in held.items() if size}


def test_the_cursor_tells_what_is_in_memory_by_name(show, named, named_text):
    shown = show(named_text)
    shown.page.locator("#lanes").scroll_into_view_if_needed()
    calls = [e for e in predicted(named).bars if e.queue == "compute" and e.label == "c1.00"]
    middle = (calls[2].start_s + calls[2].end_s) / 2
    shown.page.mouse.move(*memory_at(shown, middle / named.forecast.makespan_s))
    box = shown.page.locator("#at-cursor")
    box.wait_for()
    lines = box.locator("li").evaluate_all(
        "items => items.map(i => [...i.children].slice(1).map(c => c.textContent))"
    )
    told = dict(lines)
    there = in_memory(named, middle)
    assert "c1.00" in there
    assert told["c1.00blocks 0 to 2"] == format_bytes(there["c1.00"])
    weights = {n for n in told if not n.startswith(("activations", "tensors"))}
    assert len(weights) == len(there)
    activations = {f.id: f.activation_bytes for f in named.facts}["c1.00"]
    assert told["activations of c1.00"] == format_bytes(activations)
    shown.page.mouse.move(5, 5)
    box.wait_for(state="hidden")


def test_memory_is_drawn_by_kind_stage_or_chunk(show, named_text):
    shown = show(named_text)
    legend = shown.page.locator("ul[aria-label=Memory] li:visible")
    areas = shown.page.locator("#lanes svg path[fill^='#'], #lanes svg path[fill^='rgb']")
    assert legend.count() == 4
    few = areas.count()
    shown.press("By chunk")
    assert legend.all_text_contents() == ["tensors", "activations"]
    assert areas.count() >= few + 3
    assert "Memory largest here" in shown.text("#readout")
    shown.press("By stage")
    shown.press("By kind")
    assert areas.count() == few


def test_chunks_are_found_by_what_they_hold(show, named_text):
    shown = show(named_text)
    rows = shown.page.locator("#chunk-table tbody tr:visible")
    assert shown.column("chunk-table", 2)[:4] == ["embed.proj", "", "blocks 0 to 2", "blocks 3"]
    for wanted, count in (("blocks", 2), ("blocks.1", 1), ("0 to 2", 1), ("c0", 2), ("zz", 0)):
        shown.page.locator("#filter").fill(wanted)
        assert rows.count() == count, wanted
    shown.page.locator("#filter").fill("")
    shown.press("Open all stages")
    tiles = shown.page.locator(".tiles-of button").all_text_contents()
    assert "0070 Bblocks 0 to 2" in tiles


def test_no_column_is_hidden_on_a_phone(show, named_text):
    shown = show(named_text, size=PHONE)
    hidden = shown.page.evaluate(
        "[...document.querySelectorAll('main td, main th')].filter(c => c.offsetParent"
        f" && c.getBoundingClientRect().right > {PHONE[0]}).map(c => c.outerHTML)"
    )
    assert hidden == []
    row = shown.page.locator("#chunk-table tbody tr").nth(2)
    assert row.bounding_box()["height"] > 80
    shown.page.locator("#chunk-table th", has_text="weights").locator("button").click()
    sizes = [int(v) for v in shown.column("chunk-table", 3)]
    assert sizes == sorted(sizes, reverse=True)
    assert row.locator("td").nth(2).get_attribute("data-label") == "weights"


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_the_diagram_fits_its_card_and_zooms(show, size):
    wide = plan_of(tuple(Part(1 + k % 2, (90, 40, 30)) for k in range(12)), DOUBLE_BUFFER, 100)
    shown = show(render(page_of(wide, ())), size=size)
    card = shown.page.locator(".scroll.diagram")
    sizes = "e => [e.scrollWidth, e.clientWidth]"
    for press in (None, "Open all stages"):
        if press:
            shown.press(press)
        whole, seen = card.evaluate(sizes)
        assert whole <= seen
    fitting = shown.page.locator("#diagram svg").bounding_box()["width"]
    shown.press("Larger diagram")
    larger = shown.page.locator("#diagram svg").bounding_box()["width"]
    assert larger == pytest.approx(1.25 * fitting, rel=0.01)
    shown.press("Fit")
    assert shown.page.locator("#diagram svg").bounding_box()["width"] == pytest.approx(fitting)


def test_a_sweep_of_several_targets_names_no_winner_among_them(show):
    rows = [
        SweepRow(
            label=f"m={k}", target=f"phone {k % 2}", budget_bytes=9, fits=True, peak_bytes=k,
            makespan_s=float(k), loaded_bytes=k, lower_bound_s=1.0,
        )
        for k in range(1, 5)
    ]  # fmt: skip
    shown = show(render_sweep(rows))
    assert shown.text("#headline") == "4 of 4 fit."
    assert shown.page.locator("#best li").all_text_contents() == [
        "phone 1: m=1, 1.00 s with a peak of 1 B",
        "phone 0: m=2, 2.00 s with a peak of 2 B",
    ]
