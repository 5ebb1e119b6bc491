"""The page in headless Chromium, as somebody uses it; nothing leaves this machine."""

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("gradio", reason='pip install "entracte[ui]"')

from entracte.plan.file import write_plan
from entracte.ui.studio import Studio
from tests.test_signals import heard
from tests.ui.serving import served

WIDE, PHONE = (1280, 900), (390, 844)
WAIT = 90_000
"""Milliseconds: machines of CI are busy."""


@pytest.fixture(scope="module")
def place(tmp_path_factory, plan, pictured, module_commands):
    """(address, studio) of one server for all tests; builds of a toy and of one with a picture."""
    folder = tmp_path_factory.mktemp("served")
    for name in ("plans/one", "builds/toy", "builds/pictured"):
        (folder / name / "packages").mkdir(parents=True)
        write_plan(plan, folder / name)
    (folder / "plans" / "one" / "packages").rmdir()
    module_commands.setenv("ENTRACTE_FAKE_PLAN", str(folder / "plans" / "one" / "plan.json"))
    studio = Studio(folder)
    read = studio.plan
    # The toy's program reads no picture: written, its plan would be refused.
    studio.plan = lambda name: pictured if name == "builds/pictured" else read(name)
    with served(studio, tmp_path_factory.mktemp("scratch")) as at:
        yield at, studio


@pytest.fixture(scope="module")
def module_commands(tmp_path_factory):
    from PIL import Image

    from tests.ui.conftest import FAKE

    picture = tmp_path_factory.mktemp("picture") / "made.png"
    Image.new("RGB", (8, 8), (200, 30, 30)).save(picture)
    with pytest.MonkeyPatch.context() as patch:
        places = [str(FAKE), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(places))
        patch.setenv("ENTRACTE_FAKE_PICTURE", str(picture))
        yield patch


@pytest.fixture
def real_commands(monkeypatch):
    """What stands in for the commands in other tests of this file does not here."""
    from tests.ui.conftest import FAKE

    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [p for p in places if p not in ("", str(FAKE))]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(kept))


@pytest.fixture
def opened(browser, place):
    """A page, and all that it asked for."""
    contexts = []

    def make(size=WIDE, scheme="light"):
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.asked, page.faults = [], []
        page.on("request", lambda r: page.asked.append(r.url))
        page.on("pageerror", lambda e: page.faults.append(str(e)))
        page.goto(place[0])
        page.get_by_role("button", name="Dry run").wait_for()
        return page

    yield make
    for context in contexts:
        context.close()


def test_a_dry_run_is_chosen_followed_cancelled_and_shown(opened, place):
    page = opened()
    page.get_by_role("textbox", name="Name Of the folder").fill("wait")
    page.get_by_label("target.memory").fill("24MiB")
    page.get_by_role("button", name="Dry run").click()
    job = page.locator("#plan-job .job")
    job.get_by_text("40 % of all, about 75 s left").first.wait_for()
    assert "compile target=host target.memory=24MiB dry_run=true out=plans/wait" in " ".join(
        job.locator("pre.line").inner_text().split()
    )
    page.get_by_role("button", name="Cancel").first.click()
    page.locator("#plan-job .job.cancelled").wait_for()
    page.get_by_role("textbox", name="Name Of the folder").fill("shown")
    page.get_by_role("button", name="Dry run").click()
    page.locator("#plan-job .job.done").wait_for()
    report = page.frame_locator("#plan-report iframe")
    report.locator("#makespan").wait_for()
    report.locator("#timeline").wait_for()
    # A frame of its own origin: what a plan holds reaches nothing of this page.
    frame = next(f for f in page.frames if "/shown/report" in f.url)
    assert frame.evaluate("window.origin") == "null"
    assert not page.faults
    assert {urlsplit(u).netloc for u in page.asked if u.startswith("http")} == {
        urlsplit(place[0]).netloc
    }
    page.get_by_role("tab", name="History").click()
    page.locator(".entry").get_by_text("plans/shown").first.wait_for()


def test_a_run_takes_a_picture_and_shows_what_it_made(opened, place, tmp_path):
    at, studio = place
    page = opened()
    page.get_by_role("tab", name="Run").click()
    field = page.get_by_label("build", exact=True)
    field.click()
    page.get_by_role("option", name="builds/pictured").click()
    bad = tmp_path / "bad.png"
    bad.write_text("<script>alert(1)</script>")
    page.locator("input[type=file]").set_input_files(bad)
    page.get_by_text("bad.png").first.wait_for()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("cannot be read as image").wait_for()
    assert not studio.is_busy


def test_a_fault_is_one_message(opened):
    page = opened()
    page.get_by_label("pipeline.weights").fill("/etc")
    page.get_by_role("button", name="Dry run").click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text().startswith("pipeline.weights: '/etc' is outside")


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        (PHONE, "dark"),
        pytest.param(PHONE, "light", marks=pytest.mark.slow),
        pytest.param(WIDE, "dark", marks=pytest.mark.slow),
    ],
)
def test_it_fits_and_its_text_can_be_read(opened, size, scheme):
    page = opened(size, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for place in ("#head p", "#head h1"):
        assert contrast(page, place) >= 4.5, place
    if size == WIDE:
        return
    for tab in ("Run", "History", "Compare"):
        page.get_by_role("tab", name=tab).click()
    for label, name in (("before", "plans/one"), ("after", "builds/toy")):
        page.get_by_label(label, exact=True).click()
        page.get_by_role("option", name=name, exact=True).click()
        # Its list fades out, with the same names as the next one.
        page.get_by_role("listbox").wait_for(state="detached")
    page.get_by_role("button", name="Compare").click()
    both = page.frame_locator("#compared iframe")
    both.get_by_text("plans/one").first.wait_for()
    both.locator("#timeline").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def contrast(page, selector):
    """Of an element's text on the page's ground, by WCAG's formula."""
    colours = page.locator(selector).first.evaluate(
        "e => [getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor]"
    )
    light = sorted(luminance(c) for c in colours)
    return (light[1] + 0.05) / (light[0] + 0.05)


def luminance(colour):
    parts = [float(x) / 255 for x in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_server_itself_refuses_what_the_guard_does(place):
    at = urlsplit(place[0])

    def asked(path, **headers):
        connection = http.client.HTTPConnection(at.hostname, at.port, timeout=30)
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status

    assert asked("/") == 200
    assert asked("/", Host="evil.example") == 421
    assert asked("/", Origin="http://evil.example") == 403
    assert asked("/gradio_api/file=/etc/passwd") == 404
    assert asked("/shown/file?name=../../etc/passwd") == 404
    assert asked("/shown/report?build=../x") == 404
    assert asked("/shown/report?build=plans/one") == 200
    assert asked("/shown/pair?before=plans/one&after=../x") == 404


@pytest.mark.slow
def test_the_command_ends_with_ctrl_c_and_leaves_nothing(real_commands, tmp_path):
    command = [sys.executable, "-m", "entracte", "ui", "--port", "0", "--no-browser"]
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    root = tmp_path / "root"
    root.mkdir()
    with subprocess.Popen(
        [*command, "--root", str(root)], stdout=subprocess.PIPE, text=True, env=environment,
        preexec_fn=heard,
    ) as process:  # fmt: skip
        line = process.stdout.readline()
        assert line.startswith("http://"), line
        at = line.split()[0]
        connection = http.client.HTTPConnection(urlsplit(at).netloc, timeout=120)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert not [p for p in tmp_path.iterdir() if "entracte-ui" in p.name]
    assert list(root.iterdir()) == []


@pytest.mark.slow
def test_the_demo_is_planned_compiled_and_run(browser, real_commands, tmp_path):
    """With the real commands: minutes."""
    folder = tmp_path / "root"
    folder.mkdir()
    with served(Studio(folder), Path(tmp_path)) as at:
        page = browser.new_context().new_page()
        page.set_default_timeout(300_000)
        page.goto(at)
        for name in ("Dry run", "Compile"):
            page.get_by_role("button", name=name).click()
            page.locator("#plan-job .job.running").wait_for()
            page.locator("#plan-job .job.done").wait_for()
        page.get_by_role("tab", name="Run").click()
        page.get_by_label("prompt").fill("a blue square moves up")
        page.get_by_role("button", name="Run", exact=True).click()
        page.locator("#run-job").get_by_text("iteration").first.wait_for()
        page.locator("#run-job .job.done").wait_for()
        video = page.locator("#run-made video")
        video.wait_for()
        page.wait_for_function("document.querySelector('#run-made video').videoWidth > 0")
        assert video.evaluate("v => [v.videoWidth, v.videoHeight]") == [64, 64]
