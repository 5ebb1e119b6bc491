"""The pages in headless Chromium: what people see and do."""

from dataclasses import replace

import pytest

from entracte.clock.timeline import predicted
from entracte.inspect.residency import fullest, usage
from entracte.report.lanes import bars, loops
from entracte.report.model import page_of
from entracte.report.page import asset, render
from entracte.report.policies import compared
from entracte.report.sweep import SweepRow, render_sweep
from entracte.units import format_bytes, format_seconds
from tests.planner.plans import plan_of
from tests.planner.programs import DOUBLE_BUFFER, Part
from tests.report.shown import PHONE, WIDE
from tests.report.test_page import EVIL, evil_plan


def test_the_figures_on_the_page_are_the_plans(show, text, plan):
    shown = show(text)
    f = plan.forecast
    assert shown.text("#peak") == format_bytes(f.peak_bytes)
    assert shown.text("#makespan") == format_seconds(f.makespan_s)
    assert shown.text("#loads") == str(f.loads)
    events = predicted(plan).bars
    peak = fullest(events, usage(plan, events))
    told = f"Predicted: peak {format_bytes(peak.total_bytes)} at {format_seconds(peak.at_s)}"
    assert shown.text(".peak h3") == told
    sizes = shown.page.locator(".peak li span:last-child").all_text_contents()
    assert sizes == [format_bytes(size) for _, _, size in peak.parts[:8]]
    assert f"largest here, at {format_seconds(peak.at_s)}" in shown.text("#readout")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_an_alarm_is_seen_at_once(show, plan, run, scheme, size):
    """In the first view, in red on any ground; and nothing else on the page says that it fits."""
    over = replace(run, peak_bytes=plan.forecast.peak_bytes + 1)
    shown = show(render(page_of(plan, (), over)), size=size, scheme=scheme)
    alert = shown.page.get_by_role("alert")
    assert "peak memory: observed 222 B, claimed 221 B (+1 B)" in alert.inner_text()
    box = alert.bounding_box()
    assert 0 < box["y"] < size[1] / 2 and box["x"] + box["width"] <= size[0]
    colour = alert.locator(".said").evaluate("e => getComputedStyle(e).color")
    red, green, blue = map(int, colour[4:-1].split(","))
    assert red > green + 80 and red > blue + 80
    assert shown.page.get_by_text("fits", exact=True).count() == 0
    assert shown.page.get_by_text("alarm", exact=True).count() == 2


def test_units_are_written_as_python_writes_them(show, text):
    page = show(text).page
    sizes = [0, 1, 812, 1023, 1024, 1152, 10237, 102_350, 1_037_517, 1_300_000]
    sizes += [1023.5 * 1024, 2**20 - 1, 24 * 2**20, 33.25 * 2**20, 2**30, 3.3 * 2**30, 5 * 2**40]
    times = [0, 3.1e-4, 0.0042, 0.99, 1.35, 59.9, 750, 944.6]
    script = "(() => {" + asset("units.js") + "return [formatBytes, formatSeconds]; })()"
    for function, format_, values in ((0, format_bytes, sizes), (1, format_seconds, times)):
        made = page.evaluate(f"values => values.map({script}[{function}])", values)
        assert made == [format_(v) for v in values]


def test_a_stage_opens_into_its_chunks_and_a_chunk_leads_to_its_row(show, text):
    shown = show(text)
    stage = shown.page.locator("button[data-node='stage:c1']")
    assert stage.get_attribute("aria-expanded") == "false"
    stage.focus()
    shown.page.keyboard.press("Enter")
    stage = shown.page.locator("button[data-node='stage:c1']")
    assert stage.get_attribute("aria-expanded") == "true"
    assert shown.page.evaluate("document.activeElement.dataset.node") == "stage:c1"
    tiles = shown.page.locator(".tiles-of button")
    assert tiles.all_text_contents() == ["0070 B", "0180 B", "0290 B"]
    tiles.nth(1).click()
    assert shown.page.evaluate("document.activeElement.dataset.chunk") == "c1.01"
    shown.press("Open all stages")
    assert tiles.count() == 7
    shown.press("Close all")
    assert tiles.count() == 0


def test_boxes_of_the_diagram_do_not_overlap(show, text):
    shown = show(text)
    shown.press("Open all stages")
    boxes = shown.page.locator("#diagram .node").evaluate_all(
        "boxes => boxes.map(b => { const r = b.getBoundingClientRect();"
        "return [r.left, r.top, r.right, r.bottom]; })"
    )
    assert len(boxes) == 6
    for i, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:i]:
            apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
            assert apart


def bars_between(plan, start, end) -> int:
    """Loads, calls and waits that touch a stretch of the predicted run."""
    timeline = predicted(plan)
    slack = 1e-7 * timeline.makespan_s
    return sum(
        e.end_s >= start - slack and e.start_s <= end + slack
        for e in (*bars(timeline.bars), *timeline.waits)
    )


def test_windows_steps_and_keys_move_the_timeline(show, text, plan):
    shown = show(text)
    (loop,) = loops(plan.program, predicted(plan).bars)
    shown.press("Steady iteration")
    took = format_seconds(loop.ends_s[2] - loop.ends_s[1])
    assert f", {took} · p1 iteration 3 ·" in shown.text("#status")
    assert shown.page.locator("#step").input_value() == "3"
    shown.page.locator("#bars-box summary").click()
    shown.page.locator("#bars tr").first.wait_for()
    counted = shown.page.locator("#bars tr").count()
    assert counted == bars_between(plan, loop.ends_s[1], loop.ends_s[2])
    shown.page.locator("#lanes").focus()
    shown.page.keyboard.press("PageDown")
    assert "p1 iteration 4 ·" in shown.text("#status")
    before = shown.text("#status")
    shown.page.keyboard.press("+")
    half = format_seconds((loop.ends_s[3] - loop.ends_s[2]) / 2)
    assert f", {half} ·" in shown.text("#status") != before
    shown.page.keyboard.press("ArrowRight")
    shown.page.keyboard.press("-")
    assert f", {format_seconds(loop.ends_s[3] - loop.ends_s[2])} ·" in shown.text("#status")
    shown.page.locator("#step").fill("6")
    shown.page.locator("#step").press("Enter")
    assert "p1 iteration 6 ·" in shown.text("#status")
    shown.press("Next iteration")
    assert "p1 iteration 6 ·" in shown.text("#status")
    shown.page.locator("#lanes").focus()
    shown.page.keyboard.press("Home")
    assert "p1 iterations 1 to 6" in shown.text("#status")
    pressed = shown.page.locator("#windows button[aria-pressed=true]")
    assert pressed.all_text_contents() == ["Whole run"]


def lane_at(shown, share, lane):
    """A point of a lane (0 load, 1 compute) at a share of its width."""
    box = shown.page.locator("#lanes").bounding_box()
    left, right = box["x"] + 74, box["x"] + box["width"] - 26
    return left + share * (right - left), box["y"] + 6 + 104 * (0.25 + 0.5 * lane)


def test_hovering_tells_and_selecting_zooms(show, text, plan):
    shown = show(text)
    shown.page.locator("#lanes").scroll_into_view_if_needed()
    shown.press("Steady iteration")
    (loop,) = loops(plan.program, predicted(plan).bars)
    start, end = loop.ends_s[1], loop.ends_s[2]
    call = next(
        e for e in predicted(plan).bars
        if e.queue == "compute" and e.start_s >= start - 1e-9 and e.end_s <= end + 1e-9
    )  # fmt: skip
    middle = ((call.start_s + call.end_s) / 2 - start) / (end - start)
    x, y = lane_at(shown, middle, 1)
    shown.page.mouse.move(x, y)
    tip = shown.page.locator("#lanes .tip-box")
    tip.wait_for()
    assert tip.locator("b").text_content() == call.label
    assert f"runs {format_seconds(call.end_s - call.start_s)}" in tip.text_content()
    assert shown.text("#readout").startswith("Memory at ")
    shown.page.mouse.click(x, y)
    took = format_seconds(1.12 * (call.end_s - call.start_s))
    assert f", {took} ·" in shown.text("#status")


def test_the_wheel_zooms_with_ctrl_only(show, text):
    shown = show(text)
    x, y = lane_at(shown, 0.5, 1)
    shown.page.mouse.move(x, y)
    before = shown.text("#status")
    shown.page.mouse.wheel(0, 10)
    shown.page.wait_for_timeout(200)
    assert shown.text("#status") == before
    shown.page.locator("#lanes").scroll_into_view_if_needed()
    shown.page.mouse.move(*lane_at(shown, 0.5, 1))
    shown.page.keyboard.down("Control")
    shown.page.mouse.wheel(0, -200)
    shown.page.keyboard.up("Control")
    shown.page.wait_for_function(
        "before => document.getElementById('status').textContent !== before", arg=before
    )


def test_a_wait_says_why(show, text, plan):
    shown = show(text)
    shown.press("Prologue")
    wait = predicted(plan).waits[0]
    (loop,) = loops(plan.program, predicted(plan).bars)
    shown.page.locator("#lanes").scroll_into_view_if_needed()
    x, y = lane_at(shown, (wait.start_s + wait.end_s) / 2 / loop.start_s, 1)
    shown.page.mouse.move(x, y)
    tip = shown.page.locator("#lanes .tip-box")
    tip.wait_for()
    assert tip.locator("b").text_content() == f"waits for {wait.chunk}"
    assert "Why: nothing can run before it is loaded." in tip.text_content()


def test_a_long_loop_is_drawn_by_step_until_one_zooms_in(show):
    plan = plan_of((Part(1, (90,)), Part(30, (70,) * 28)), DOUBLE_BUFFER, 100)
    shown = show(render(page_of(plan, compared(plan))))
    drawn = "#lanes svg path, #lanes svg rect"
    assert "each bar is a stage in one iteration" in shown.text("#status")
    assert shown.page.locator(drawn).count() < 1000
    shown.page.locator("#step").fill("17")
    shown.page.locator("#step").press("Enter")
    assert "p1 iteration 17 · each bar is a load or a call" in shown.text("#status")
    names = shown.page.locator("#lanes svg text").all_text_contents()
    assert {f"{k:02d}" for k in range(28)} <= {n.split(".")[-1] for n in names}


@pytest.mark.parametrize("loads", [0.0, 1.0])
def test_a_plan_without_loops_or_without_times_is_shown(show, loads):
    plan = plan_of((Part(1, (90, 40)),), DOUBLE_BUFFER, 100)
    facts = tuple(replace(f, load_s=loads * f.load_s, exec_s=loads) for f in plan.facts)
    short = replace(plan, facts=facts)
    if not loads:
        none = replace(
            plan.forecast, makespan_s=0.0, stall_s=0.0, lower_bound_s=0.0, compute_s=0.0, stalls=()
        )
        short = replace(short, forecast=none)
    shown = show(render(page_of(short, compared(short))))
    assert not shown.page.locator("#steps").is_visible()
    assert shown.page.locator("#windows button").all_text_contents() == ["Whole run"]
    assert shown.text("#makespan") == format_seconds(short.forecast.makespan_s)
    shown.page.locator("#lanes").focus()
    for key in ("+", "-", "ArrowLeft", "PageDown", "Home"):
        shown.page.keyboard.press(key)


def test_tables_sort_and_are_searched(show, text, plan):
    shown = show(text)
    heading = shown.page.locator("#chunk-table th", has_text="weights")
    heading.locator("button").click()
    sizes = sorted((f.weight_bytes for f in plan.facts), reverse=True)
    assert [int(v) for v in shown.column("chunk-table", 2)] == sizes
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").press("Enter")
    assert [int(v) for v in shown.column("chunk-table", 2)] == sizes[::-1]
    assert heading.get_attribute("aria-sort") == "ascending"
    shown.page.locator("#chunk-table th button").first.click()
    assert shown.column("chunk-table", 1) == sorted(c.id for c in plan.chunks)
    shown.page.locator("#filter").fill("c1")
    assert shown.page.locator("#chunk-table tbody tr:visible").count() == 3
    assert shown.text("#found") == "3 of 7"


def test_the_observed_run_is_a_track_of_its_own(show, text, run):
    shown = show(text)
    shown.press("Observed on null")
    assert f"{format_seconds(run.wall_s)} · p1 iterations 1 to 6" in shown.text("#status")
    assert shown.text(".peak h3").startswith("Observed on null: at most ")
    assert shown.page.locator("#chunk-claim-table tbody tr").count() == 7
    shown.press("Predicted")
    assert shown.text(".peak h3").startswith("Predicted: peak ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_and_the_button(show, text, scheme):
    shown = show(text, scheme=scheme)
    theme = "document.documentElement.dataset.theme"
    ground = "getComputedStyle(document.body).backgroundColor"
    assert shown.page.evaluate(theme) == scheme
    before = shown.page.evaluate(ground)
    shown.page.locator("#theme").click()
    assert shown.page.evaluate(theme) == {"light": "dark", "dark": "light"}[scheme]
    assert shown.page.evaluate(ground) != before


def test_paper_is_light_and_cuts_no_table(show, text):
    shown = show(text, scheme="dark", size=(760, 1000))
    shown.page.emulate_media(media="print")
    shown.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown.page.evaluate("document.documentElement.dataset.theme") == "light"
    wide = "Math.max(...[...document.querySelectorAll('table')].map(t => t.scrollWidth))"
    assert shown.page.evaluate(wide) <= 760
    shown.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert shown.page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_keyboard_reaches_every_part(show, text):
    shown = show(text)
    reached = set()
    for _ in range(120):
        shown.page.keyboard.press("Tab")
        reached.add(
            shown.page.evaluate(
                "(e => e.id || e.dataset.node || e.closest('[id]')?.id)(document.activeElement)"
            )
        )
    wanted = {"theme", "stage:c1", "windows", "step", "zoom-in", "lanes", "filter", "chunk-table"}
    assert wanted <= reached


def test_nothing_overflows_on_a_phone(show, text):
    shown = show(text, size=PHONE)
    shown.press("Open all stages")
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    outside = shown.page.evaluate(
        "[...document.querySelectorAll('section, .tile, .chart, h1, h2, p, .toolbar, .legend li')]"
        f".filter(e => e.getBoundingClientRect().right > {PHONE[0]}).map(e => e.outerHTML)"
    )
    assert outside == []


def test_names_with_markup_are_shown_and_run_nothing(show, plan):
    shown = show(render(page_of(evil_plan(plan), ())))
    shown.press("Open all stages")
    shown.press("Whole run")
    shown.page.locator("#bars-box summary").click()
    shown.page.mouse.move(*lane_at(shown, 0.02, 0))
    assert shown.page.locator("img").count() == 0
    assert shown.text("h1") == "A toy pipeline" + EVIL
    assert shown.page.locator("#chunk-table tbody code").first.text_content() == "c0.00" + EVIL
    assert "c0" + EVIL in shown.page.locator("#diagram .node b").all_text_contents()


def test_a_sweep_sorts_and_switches_its_axis(show):
    rows = [
        SweepRow(
            label=f"m={k}", target="toy" if k % 2 else EVIL, budget_bytes=k * 2**20, fits=k > 1,
            reason="" if k > 1 else "too small", peak_bytes=(k - 1) * 2**20,
            makespan_s=10.0 / k, loaded_bytes=k, lower_bound_s=1.0, pareto=k > 1,
        )
        for k in range(1, 6)
    ]  # fmt: skip
    shown = show(render_sweep(rows))
    shown.page.locator("#sweep-table th", has_text="time").locator("button").click()
    assert shown.column("sweep-table", 1) == ["m=2", "m=3", "m=4", "m=5", "m=1"]
    axis = "#scatter svg text"
    assert "peak memory" in shown.page.locator(axis).all_text_contents()
    shown.press("Budget")
    assert "budget" in shown.page.locator(axis).all_text_contents()
    phone = show(render_sweep(rows), size=PHONE)
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]


def test_a_sweep_draws_time_against_decibels_and_each_targets_own_front(show):
    """Three points of one target, of which one is beaten in both; one of another target."""
    rows = [
        SweepRow(
            label=label, target=target, budget_bytes=2**20, fits=True, peak_bytes=2**19,
            makespan_s=seconds, lower_bound_s=0.5, psnr_db=db, folder=label,
        )
        for label, target, seconds, db in [
            ("fast", "one", 1.0, 20.0), ("beaten", "one", 3.0, 30.0), ("good", "one", 2.0, 50.0),
            ("other", "two", 0.1, 999.0),
        ]
    ]  # fmt: skip
    rows.append(replace(rows[0], label="small", fits=False, reason="too small " * 40))
    page = render_sweep(rows, ("time", "db"))
    shown = show(page)
    texts = shown.page.locator("#quality svg text").all_text_contents()
    assert "dB against the torch source" in texts and "predicted time" in texts
    # The first target's line: from its fastest point up, then across; one is beaten in both.
    line = shown.page.locator("#quality svg path[stroke-dasharray]").first.get_attribute("d")
    assert line.count("L") == 2
    phone = show(page, size=PHONE)
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    narrow = show(page, size=(820, 900))
    seen = narrow.page.locator("#sweep-table th:visible").all_text_contents()
    assert [s.strip() for s in seen] == ["plan", "target", "fits", "best", "peak", "time", "dB"]
    past = "t => t.parentElement.scrollWidth - t.parentElement.clientWidth"
    assert narrow.page.locator("#sweep-table").evaluate(past) == 0
