"""Jobs are processes: followed, cancelled, one at a time; what they did is in the history."""

import json
import time

import pytest

from entracte.errors import ConfigError, RunError
from entracte.ui.compared import compared_html, thing
from entracte.ui.events import progress_of
from entracte.ui.history import Entry
from entracte.ui.pages import media_file, report_page
from entracte.ui.shown import history_html, job_html, media_html, preview_html
from entracte.ui.tasks import accept, run_task
from entracte.ui.words import Chosen

HOST = Chosen({"target": "host"}, {})


def until(found, seconds=60.0):
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.02)
    return value


def ended(studio):
    until(lambda: not studio.is_busy)
    until(lambda: studio.history.entries())
    return studio.jobs.status()


def test_a_dry_run_is_a_command_that_can_be_typed(studio):
    task = studio.compile(HOST, "", dry_run=True)
    assert task.line == "compile target=host dry_run=true out=plans/tiny_t2v-host"
    status = ended(studio)
    assert status.state == "done", status
    # The stand-in prints its words: they are those of the line, and how progress is told.
    assert json.loads(status.lines[-1]) == [*task.line.split(), "--progress", "json"]
    (entry,) = studio.history.entries()
    assert (entry.kind, entry.line, entry.place) == ("plan", task.line, task.place)
    assert studio.things()[0] == task.place and studio.builds() == []
    assert "tiny_t2v-host" in history_html(studio.history.entries())


def test_one_at_a_time_followed_and_cancelled(studio):
    studio.compile(HOST, "wait", dry_run=True)
    progress = until(lambda: studio.jobs.status().progress)
    assert (progress.done, progress.of, progress.left_s) == (12, 30, 75.0)
    text = job_html(studio.jobs.status())
    assert "40 % of all, about 75 s left" in text and "12 of 30, denoise" in text
    with pytest.raises(ConfigError, match="one job at a time"):
        studio.compile(HOST, "other", dry_run=True)
    studio.jobs.cancel()
    status = ended(studio)
    assert status.state == "cancelled" and not (studio.root.folder / "plans" / "wait").exists()
    assert studio.history.entries()[-1].state == "cancelled"


def test_a_fault_is_told_as_text(studio):
    studio.compile(HOST, "fail", dry_run=True)
    assert ended(studio).state == "failed"
    assert studio.history.entries()[-1].said.startswith("error: target.memory")
    for text in (job_html(studio.jobs.status()), history_html(studio.history.entries())):
        assert "does not fit &lt;b&gt;at all" in text and "<b>at all" not in text


def test_a_line_that_tells_no_progress_is_none():
    for text in ("", "error: x", "{", "[]", '{"event": "end"}', '{"share": NaN}', "{" * 10**5):
        assert progress_of(text) is None


# ---------------------------------------------------------------- runs and files


def test_a_run_writes_below_runs_and_names_its_inputs(root, plan):
    task = run_task(root, "plans/one", plan, {}, "reference")
    assert task.line == (
        "plan run plans/one --device=reference --out=runs/one/output.npy --record=runs/one/run.json"
    )


def test_what_cannot_be_given_is_told_before(root, pictured, picture):
    with pytest.raises(RunError, match="give it"):
        run_task(root, "plans/one", pictured, {"prompt": "--evil"}, "null")
    with pytest.raises(ConfigError, match="not in the folder"):
        run_task(root, "plans/one", pictured, {"picture": str(picture)}, "null")
    name = accept(root, pictured, "picture", picture)
    task = run_task(root, "plans/one", pictured, {"prompt": "--evil", "picture": name}, "null")
    assert "--input=prompt=--evil" in task.words and f"--input=picture={name}" in task.words


def test_uploads_are_looked_at_and_kept_by_their_digest(root, pictured, picture, tmp_path):
    name = accept(root, pictured, "picture", picture)
    assert name.startswith("given/") and name.endswith(".png")
    assert root.existing(name).read_bytes() == picture.read_bytes()
    assert accept(root, pictured, "picture", picture) == name
    page = tmp_path / "page.png"
    page.write_text("<script>alert(1)</script>")
    with pytest.raises(RunError, match="cannot be read as image"):
        accept(root, pictured, "picture", page)
    with pytest.raises(RunError, match="takes no file"):
        accept(root, pictured, "prompt", picture)
    assert len(list((root.folder / "given").iterdir())) == 1


@pytest.fixture
def picture(tmp_path):
    from PIL import Image

    path = tmp_path / "given.png"
    Image.new("RGB", (8, 8), (200, 30, 30)).save(path)
    return path


def test_only_files_of_runs_are_shown(root, picture):
    run = root.folder / "runs" / "a"
    (run / "previews").mkdir(parents=True)
    for place in (run / "clip.png", run / "page.html", root.folder / "top.png"):
        place.write_bytes(picture.read_bytes())
    assert media_file(root, "runs/a/clip.png") == run / "clip.png"
    for name in ("runs/a/page.html", "top.png", "plans/one/plan.json", "../given.png", "runs/a"):
        with pytest.raises(ConfigError):
            media_file(root, name)
    shown = media_html(root.folder, "runs/a")
    assert "clip.png" in shown and "<img" in shown and "<iframe" not in shown
    assert preview_html(root.folder, "runs/a") == ""
    for name in ("newest.gif", ".newest.gif.7.partial.gif"):
        (run / "previews" / name).write_bytes(picture.read_bytes())
    assert "previews%2Fnewest.gif" in preview_html(root.folder, "runs/a")


def test_the_report_of_a_plan_is_the_command_s_page(root, plan):
    text = report_page(root, "plans/one")
    assert plan.title in text and "script-src &#39;sha256-" in text
    with pytest.raises(ConfigError):
        report_page(root, "../plans/one")


def test_two_plans_are_compared_by_their_figures(root, plan):
    from entracte.plan.file import write_plan
    from entracte.units import format_bytes
    from tests.planner.plans import SHAPE, plan_of
    from tests.planner.programs import DOUBLE_BUFFER

    other = plan_of(SHAPE, DOUBLE_BUFFER, 500)
    assert other.forecast.loaded_bytes != plan.forecast.loaded_bytes
    (root.folder / "plans" / "two").mkdir()
    write_plan(other, root.folder / "plans" / "two")
    text = compared_html(*(thing(root, f"plans/{n}", ()) for n in ("one", "two")))
    for each in (plan, other):
        assert f">{format_bytes(each.forecast.loaded_bytes)}<" in text
        assert f">{format_bytes(each.forecast.peak_bytes)}<" in text
    assert "plan" in text and "predicted time" in text and "makespan" not in text
    entry = Entry("run", "", "runs/gone", "done", "", 0.0, "", "plans/one")
    with pytest.raises(ConfigError):
        thing(root, "runs/gone", (entry,))
