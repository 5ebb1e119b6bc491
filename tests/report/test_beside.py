"""Two runs step by step, and two plans on one page: against sums by hand."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from entracte.cli.plan import app
from entracte.clock.predict import Wait
from entracte.clock.timeline import Timeline
from entracte.errors import RunError
from entracte.ir import Bar, Plan
from entracte.plan.file import write_plan
from entracte.report.beside import Side, errors, turns
from entracte.report.clip import MOST_BYTES, MOST_FRAMES, clip_of
from entracte.report.model import page_of
from entracte.report.page import render
from entracte.report.pair import Given, pair_of, render_pair
from entracte.run.record import write_run
from tests.planner.plans import plan_of
from tests.planner.programs import DOUBLE_BUFFER, Part
from tests.report.test_page import EVIL, Tags, evil_plan


def call(chunk: str, iteration: int, start: float, end: float) -> Bar:
    segment = int(chunk[1])
    return Bar("compute", chunk, segment, iteration, 0, start, end)


def load(chunk: str, start: float, end: float) -> Bar:
    return Bar("load", chunk, int(chunk[1]), 0, 0, start, end, 100)


def looped() -> Plan:
    """One call, then one in each of two iterations."""
    return plan_of((Part(1, (90,)), Part(2, (70,))), DOUBLE_BUFFER, 100)


def two(plan: Plan) -> tuple[Side, Side]:
    """The first waits 1 s for its first load and then only computes; the second computes its
    loop's second call 2 s longer, and its first half as long."""
    first = (load("c0.00", 0, 1), call("c0.00", 0, 1, 2), load("c1.00", 1, 2),
             call("c1.00", 0, 2, 4), call("c1.00", 1, 4, 5))  # fmt: skip
    second = (load("c0.00", 0, 1), call("c0.00", 0, 1, 2), load("c1.00", 1, 2.5),
              call("c1.00", 0, 2.5, 3.5), call("c1.00", 1, 3.5, 6.5))  # fmt: skip
    wait = Wait("c0.00", 0, 0, 0.0, 1.0, "start")
    late = Wait("c1.00", 1, 0, 2.0, 2.5, "first")
    return (
        Side(plan, Timeline(first, (wait,), 5.0)),
        Side(plan, Timeline(second, (wait, late), 6.5)),
    )


def test_iterations_are_told_from_the_end_of_the_one_before():
    made = turns(*two(looped()))
    assert [(r.part, r.iteration, r.seconds) for r in made.rows] == [
        ("p0", None, (2.0, 2.0)),
        ("p1", 1, (2.0, 1.5)),
        ("p1", 2, (1.0, 3.0)),
    ]
    assert [r.change_s for r in made.rows] == [0.0, -0.5, 2.0]
    told = ["", "computing c1.00 −1.00 s", "computing c1.00 +2.00 s"]
    assert [r.mostly for r in made.rows] == told
    assert (made.total_s, made.left_out) == ((5.0, 6.5), 0)


def test_errors_are_means_over_what_both_have():
    one, other = two(looped())
    found = {(e.stage, e.kind): e for e in errors(one.plan, one.timeline, other.timeline)}
    assert list(found) == [("c0", "loads"), ("c0", "calls"), ("c1", "loads"), ("c1", "calls")]
    calls = found["c1", "calls"]
    # |1 - 2| / 2 and |3 - 1| / 1.
    assert (calls.mean, calls.counts, calls.seconds) == (1.25, (2, 2), (3.0, 4.0))
    assert calls.worst == "c1.00 (3.00 ×)"
    loads = found["c1", "loads"]
    assert (loads.mean, loads.seconds, found["c0", "loads"].mean) == (0.5, (1.0, 1.5), 0.0)


def test_first_loads_are_a_kind_of_their_own():
    one, other = two(looped())
    cold = replace(
        one.plan, facts=tuple(replace(f, cold_s=1.0, weight_bytes=100) for f in one.plan.facts)
    )
    again = replace(one.timeline, bars=(*one.timeline.bars, load("c1.00", 4, 4.5)))
    kinds = [(e.stage, e.kind, e.counts) for e in errors(cold, again, other.timeline)]
    assert ("c1", "first loads", (1, 1)) in kinds and ("c1", "loads", (1, 0)) in kinds


def test_a_run_of_twice_the_times_is_off_by_all_of_it(plan, run):
    page = page_of(plan, (), run)
    assert {round(e.mean, 6) for e in page.errors if e.mean is not None} == {1.0}
    assert page.turns is not None
    a, b = page.turns.total_s
    assert b == pytest.approx(2 * a)
    text = render(page)
    assert 'id="turn-table"' in text and text.count(">100 %</td>") == len(page.errors)
    assert 'id="turn-table"' not in render(page_of(plan, ()))


# ---------------------------------------------------------------- two on a page


def test_what_moved_adds_up_to_the_times(plan):
    """Half of the iterations; the rest is the same."""
    shape = (Part(1, (90, 40)), Part(3, (70, 80, 90)), Part(1, (60,), repeat=3), Part(1, (10,)))
    other = plan_of(shape, DOUBLE_BUFFER, 40)
    made = pair_of(Given("a", plan), Given("b", other))
    change = other.forecast.makespan_s - plan.forecast.makespan_s
    assert change < 0
    assert sum(m.change_s for m in made.moved) == pytest.approx(change)
    assert [abs(m.change_s) for m in made.moved] == sorted(
        (abs(m.change_s) for m in made.moved), reverse=True
    )
    assert made.turns is not None
    assert made.turns.total_s == pytest.approx(
        (plan.forecast.makespan_s, other.forecast.makespan_s)
    )
    ratio = other.forecast.makespan_s / plan.forecast.makespan_s
    assert f" shorter ({ratio:.2f} ×), read " in made.headline
    assert [c.name for c in made.choices] == ["A and B, predicted", "A: predicted", "B: predicted"]


def test_two_runs_of_one_plan_are_told_by_what_was_observed(plan, run):
    slow = replace(run, wall_s=3 * run.wall_s, peak_bytes=run.peak_bytes + 5)
    made = pair_of(Given("a.json", plan, run), Given("b.json", plan, slow))
    by_name = {f.name: (f.before, f.after) for f in made.figures}
    assert by_name["observed time"] == (run.wall_s, 3 * run.wall_s)
    assert by_name["observed peak"] == (run.peak_bytes, run.peak_bytes + 5)
    assert "(3.00 ×), read the same, observed peak 5 B higher" in made.headline
    assert (made.moved, made.same > 0) == ((), True)
    assert made.choices[0].name == "A and B, observed"
    text = render_pair(made)
    assert "two runs of one plan" in text and "No stage takes longer" in text
    assert text == render_pair(made)


def test_names_with_markup_stay_text_on_a_page_of_two(plan):
    pages = [
        Tags(render_pair(pair_of(Given(place, p), Given(place, plan_b))))
        for place, p, plan_b in (("x", plan, plan), (EVIL, evil_plan(plan), evil_plan(plan)))
    ]
    assert {t for t, _ in pages[1].tags} - {t for t, _ in pages[0].tags} == set()
    assert not [a for _, a in pages[1].tags if any(k.startswith("on") for k in a)]
    assert pages[1].scripts[1:] == pages[0].scripts[1:]


def command(*words) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["report", *map(str, words)])
    return done.exit_code, " ".join(done.output.split())


def test_the_command_sets_two_builds_or_two_runs_side_by_side(plan, run, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_plan(plan, tmp_path / name)
    a, b, record = tmp_path / "a", tmp_path / "b", tmp_path / "r.json"
    write_run(run, record)
    assert command(a, b) == (0, f"wrote {b / 'comparison.html'}")
    assert "Entracte · two plans" in (b / "comparison.html").read_text()
    page = tmp_path / "page.html"
    assert command(a, "--run", record, "--run", record, "-o", page)[0] == 0
    assert "two runs of one plan" in page.read_text()
    for words, told in (
        ((a, b, a), "3 builds: a page shows one or two side by side"),
        ((a, b, "--run", record), "--run given 1 times: give one for each build"),
        ((a, "--clip", record, "--clip", record), "--clip given 2 times"),
        ((a, "--clip", record), "--clip: "),
    ):
        code, said = command(*words, "-o", tmp_path / "none.html")
        assert code == 1 and told in said and "Traceback" not in said
    assert not (tmp_path / "none.html").exists()


# ---------------------------------------------------------------- frames


def pictures(folder, many, size=(64, 64)):
    from PIL import Image

    folder.mkdir()
    for k in range(many):
        Image.new("RGB", size, (200, k, 0)).save(folder / f"{k:05}.png")
    return folder


@pytest.mark.parametrize(
    ("many", "numbers"),
    [(1, [1]), (3, [1, 2, 3]), (16, [1, 2, 4, 5, 6, 8, 9, 11, 12, 13, 15, 16])],
)
def test_the_strip_has_the_first_and_the_last_frame(plan, tmp_path, many, numbers):
    made = clip_of(plan, pictures(tmp_path / "clip", many))
    assert [s.number for s in made.shots] == numbers
    assert (made.frames, made.width, made.height, made.is_known) == (many, 64, 64, False)
    text = render(page_of(plan, (), clip=made))
    assert text.count("data:image/jpeg;base64,") == len(numbers)
    assert "does not say which plan made it" in text


def test_a_long_clip_is_a_short_strip_of_its_own_colours(plan, tmp_path):
    import base64
    import io

    from PIL import Image

    made = clip_of(plan, pictures(tmp_path / "clip", 200, (300, 100)))
    assert len(made.shots) == MOST_FRAMES and made.shots[-1].number == 200
    assert sum(len(s.address) for s in made.shots) <= MOST_BYTES
    shot = made.shots[-1]
    data = base64.b64decode(shot.address.removeprefix("data:image/jpeg;base64,"))
    image = Image.open(io.BytesIO(data))
    assert image.size == (112, 37)
    red, green, blue = image.getpixel((50, 20))
    assert abs(red - 200) < 4 and abs(green - 199) < 4 and blue < 4


def test_a_clip_of_another_plan_or_none_is_refused(plan, tmp_path):
    import json

    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", json.dumps({"made_by": "entracte 0.1.0", "plan": "ab" * 32}))
    file = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(file, pnginfo=info)
    with pytest.raises(RunError, match="made by another plan .it names abababababab"):
        clip_of(plan, file)
    (tmp_path / "b.mp4").write_bytes(b"no clip")
    with pytest.raises(RunError, match=r"--clip: .*b\.mp4: cannot be read as video"):
        clip_of(plan, tmp_path / "b.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="there are no pictures in this folder"):
        clip_of(plan, tmp_path / "empty")
