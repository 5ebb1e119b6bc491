"""The pages in headless Chromium: areas with sums, what is looked for, two runs on one axis."""

from dataclasses import replace

import pytest

from entracte.clock.predict import Wait
from entracte.clock.timeline import Timeline, predicted
from entracte.ir import Bar
from entracte.report import model
from entracte.report.clip import clip_of
from entracte.report.model import page_of
from entracte.report.page import render
from entracte.report.pair import Given, pair_of, render_pair
from entracte.units import format_seconds
from tests.planner.plans import plan_of
from tests.planner.programs import DOUBLE_BUFFER, Part
from tests.report.shown import PHONE
from tests.report.test_beside import pictures
from tests.report.test_browser import lane_at


@pytest.fixture(scope="module")
def by_hand() -> str:
    """Loads of 100 and 200 B; a wait of 2 s, a call of 3 s, a call of 1 s."""
    plan = plan_of((Part(1, (100,)), Part(1, (200,))), DOUBLE_BUFFER, 400)
    bars = (
        Bar("load", "c0.00", 0, 0, 0, 0.0, 2.0, 100),
        Bar("load", "c1.00", 1, 0, 0, 2.0, 4.0, 200),
        Bar("compute", "c0.00", 0, 0, 0, 2.0, 5.0),
        Bar("compute", "c1.00", 1, 0, 0, 5.0, 6.0),
    )
    made = Timeline(bars, (Wait("c0.00", 0, 0, 0.0, 2.0, "start"),), 6.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "predicted", lambda _: made)
        return render(page_of(plan, ()))


def area(shown) -> list[list[str]]:
    rows = shown.page.locator("#area-tables tbody tr")
    return rows.evaluate_all("rows => rows.map(r => [...r.cells].map(c => c.textContent))")


def set_area(shown, start, end):
    shown.page.locator("#area-from").fill(str(start))
    shown.page.locator("#area-to").fill(str(end))
    shown.page.locator("#area-to").press("Enter")


def test_what_is_in_an_area_is_summed_by_stage(show, by_hand):
    shown = show(by_hand)
    assert not shown.page.locator("#area-box").is_visible()
    set_area(shown, 1, 3)
    # Half of the first load (1 s, 50 B), half of the second (1 s, 100 B), a third of the call.
    assert area(shown) == [
        ["c0", "1.00 s", "1.00 s", "1.00 s", "0.3", "0.5", "50 B"],
        ["c1", "–", "–", "1.00 s", "0", "0.5", "100 B"],
        ["all", "1.00 s", "1.00 s", "2.00 s", "0.3", "1", "150 B"],
    ]
    assert shown.text("#area-told") == "Area: computing 1.00 s, waiting 1.00 s, read 150 B"
    assert shown.text("#area-tables h3").startswith("2.00 s, from 1.000 s to 3.000 s; at most ")
    set_area(shown, 0, 6)
    assert area(shown)[-1] == ["all", "4.00 s", "2.00 s", "4.00 s", "2", "2", "300 B"]
    set_area(shown, 5.25, 5.75)
    assert area(shown)[-1] == ["all", "500.0 ms", "–", "–", "0.5", "0", "0 B"]
    shown.press("Clear")
    assert not shown.page.locator("#area-box").is_visible()


def test_an_area_is_chosen_with_keys_alone(show, by_hand):
    shown = show(by_hand)
    keys = shown.page.keyboard
    shown.page.locator("#lanes").focus()
    keys.press("a")
    assert area(shown)[-1][1:3] == ["4.00 s", "2.00 s"]
    keys.press("Escape")
    # From the middle, at 3 s, by fortieths of the six seconds in view.
    for _ in range(4):
        keys.press("Shift+ArrowRight")
    keys.press("Shift+ArrowDown")
    assert shown.page.locator("#area-from").input_value() == "2.85"
    assert shown.page.locator("#area-to").input_value() == "3.6"
    assert area(shown)[-1][1] == "750.0 ms"
    keys.press("Shift+ArrowLeft")
    keys.press("Shift+ArrowUp")
    assert shown.page.locator("#area-to").input_value() == "3.45"
    assert shown.page.locator("#area-from").input_value() == "3"
    assert shown.text("#status").startswith("0 to 6.00 s")
    keys.press("Enter")
    assert shown.text("#status").startswith("3.000 s to 3.450 s, 450.0 ms")
    keys.press("Escape")
    assert not shown.page.locator("#shade").is_visible()


@pytest.mark.parametrize("how", ["shift", "button"])
def test_dragging_selects_and_does_not_move_the_picture(show, by_hand, how):
    shown = show(by_hand)
    shown.page.locator("#lanes").scroll_into_view_if_needed()
    before = shown.text("#status")
    if how == "button":
        shown.press("Select an area")
    else:
        shown.page.keyboard.down("Shift")
    shown.page.mouse.move(*lane_at(shown, 1 / 6, 0))
    shown.page.mouse.down()
    shown.page.mouse.move(*lane_at(shown, 0.3, 1), steps=3)
    shown.page.mouse.move(*lane_at(shown, 0.5, 1))
    shown.page.mouse.up()
    shown.page.keyboard.up("Shift")
    chosen = [float(shown.page.locator(f"#area-{e}").input_value()) for e in ("from", "to")]
    assert chosen == pytest.approx([1.0, 3.0], abs=0.02)
    assert shown.text("#status") == before
    shade, lanes = (shown.page.locator(e).bounding_box() for e in ("#shade", "#lanes"))
    assert shade["width"] == pytest.approx((lanes["width"] - 100) / 3, abs=4)
    # Paper shows neither.
    shown.page.emulate_media(media="print")
    assert not shown.page.locator("#shade").is_visible()
    assert not shown.page.locator("#area-box").is_visible()


MODULES = {"c1.00": ("blocks.0", "blocks.1"), "c1.01": ("blocks.2",)}


def test_a_slash_looks_for_modules_chunks_stages_and_packages(show, plan):
    chunks = tuple(replace(c, modules=MODULES.get(c.id, ())) for c in plan.chunks)
    shown = show(render(page_of(replace(plan, chunks=chunks), ())))
    keys, count = shown.page.keyboard, shown.page.locator("#search-count")
    keys.press("/")
    assert shown.page.evaluate("document.activeElement.id") == "search"
    keys.type("Blocks.1")
    assert count.text_content() == "1 chunk"
    assert shown.page.locator("#hits button").all_text_contents() == ["chunk c1.00module blocks.1"]
    marked = "#chunk-table tr.hit"
    assert shown.page.locator(marked).get_attribute("data-chunk") == "c1.00"
    keys.press("Enter")
    assert count.text_content() == "1 of 1: c1.00"
    assert shown.page.locator("tr.chosen").get_attribute("data-chunk") == "c1.00"
    assert shown.page.evaluate("document.activeElement.id") == "search"
    shown.page.locator("#search").fill("c1")
    assert count.text_content() == "1 stage, 3 chunks"
    assert shown.page.locator(marked).count() == 3
    assert shown.page.locator("#stage-table tr.hit").get_attribute("data-stage") == "c1"
    assert "hit" in shown.page.locator("[data-found=c1]").get_attribute("class")
    found = next(p for p in plan.packages if p.chunk == "c2.00").path
    shown.page.locator("#search").fill(found)
    assert shown.page.locator("#hits small.line").all_text_contents() == [f"package {found}"]
    shown.page.locator("#search").fill("none such")
    assert (count.text_content(), shown.page.locator(".hit").count()) == ("nothing", 0)
    keys.press("Escape")
    assert count.text_content() == ""


def test_observed_lies_below_predicted_on_one_axis(show, text, plan, run):
    shown = show(text)
    shown.press("Both on one axis")
    took = format_seconds(run.wall_s)
    assert f"{took} · p1 iterations 1 to 6" in shown.text("#status")
    names = shown.page.locator("#lanes svg text").all_text_contents()
    assert f"Predicted · {format_seconds(plan.forecast.makespan_s)}" in names
    assert f"Observed on null · {took}" in names
    # The run took twice as long: half of the axis is the whole prediction.
    half = plan.forecast.makespan_s
    set_area(shown, 0, half)
    every = [row for row in area(shown) if row[0] == "all"]
    f = plan.forecast
    assert every[0][1:3] == [format_seconds(f.compute_s), format_seconds(f.stall_s)]
    seen = [min(e.end_s, half / 2) - e.start_s for e in predicted(plan).bars
            if e.queue == "compute" and e.start_s < half / 2]  # fmt: skip
    assert every[1][1] == format_seconds(2 * sum(seen))
    shown.press("Each over the whole width")
    assert shown.text("#status").startswith("0 % to 100 %")
    set_area(shown, 0, 50)
    every = [row for row in area(shown) if row[0] == "all"]
    assert every[0][1] == format_seconds(sum(seen))
    assert every[1][1] == format_seconds(2 * sum(seen))
    shown.press("Predicted")
    assert not shown.page.locator("#scales").is_visible()
    assert not shown.page.locator("#area-box").is_visible()


def test_a_bar_tells_of_its_other(show, text, plan):
    shown = show(text)
    shown.press("Both on one axis")
    shown.page.locator("#lanes").scroll_into_view_if_needed()
    call = max((e for e in predicted(plan).bars if e.queue == "compute" and e.segment != 1),
               key=lambda e: e.end_s - e.start_s)  # fmt: skip
    end = 2 * plan.forecast.makespan_s
    box = shown.page.locator("#lanes").bounding_box()
    left, right = box["x"] + 74, box["x"] + box["width"] - 26
    # The call in the lower pair of lanes, at twice its time.
    x = left + (right - left) * (call.start_s + call.end_s) / end
    shown.page.mouse.move(x, box["y"] + 24 + 132 + 94 * 0.75)
    tip = shown.page.locator("#lanes .tip-box")
    tip.wait_for()
    took = format_seconds(call.end_s - call.start_s)
    late = format_seconds(call.start_s)
    assert tip.locator("b").text_content() == call.label
    assert f"Predicted: {took}, begins {late} earlier" in tip.text_content()


def test_two_plans_are_one_page_also_on_a_phone(show, plan, tmp_path):
    other = plan_of((Part(1, (90, 40)), Part(6, (70, 80, 90)), Part(1, (50,))), DOUBLE_BUFFER, 1000)
    made = clip_of(plan, pictures(tmp_path / "frames", 2))
    text = render_pair(pair_of(Given("a", plan, clip=made), Given("b", other)))
    shown = show(text)
    # The page's own policy lets frames be shown.
    widths = "images => images.map(i => i.naturalWidth)"
    assert shown.page.locator(".strip img").evaluate_all(widths) == [64, 64]
    names = shown.page.locator("#lanes svg text").all_text_contents()
    for letter, of in (("A", plan), ("B", other)):
        assert f"{letter}: predicted · {format_seconds(of.forecast.makespan_s)}" in names
    set_area(shown, 0, 1e9)
    every = [row for row in area(shown) if row[0] == "all"]
    assert [row[1] for row in every] == [
        format_seconds(p.forecast.compute_s) for p in (plan, other)
    ]
    shown.page.keyboard.press("Escape")
    shown.page.locator("h1").click()
    shown.page.keyboard.press("/")
    shown.page.keyboard.type("c3")
    assert shown.text("#search-count") == "1 stage, 1 chunk"
    phone = show(text, size=PHONE)
    set_area(phone, 0, 1e9)
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
