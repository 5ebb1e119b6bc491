"""The web UI's pictures in docs/: a dry run, where it fits, a run, two plans compared, and the page
on a phone.

    python -m tools.ui_pictures [--build BUILD] [--out docs/pictures]

Compiles the demo, a minute, unless BUILD is one of it. Needs `pip install -e ".[test,ui]"` and
Chromium.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from entracte.ui.studio import Studio
from tests.conftest import CHROMIUM, FLAGS
from tests.ui.serving import served

WIDE, PHONE = {"width": 1180, "height": 860}, {"width": 390, "height": 780}
WAIT = 900_000
"""Milliseconds."""
MOST_BYTES = 150 * 2**10
COLOURS = 128
"""Of a picture: enough for a page, and a third of the bytes."""


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--build", type=Path)
    reader.add_argument("--out", type=Path, default=Path("docs/pictures"))
    words = reader.parse_args()
    root = Path(tempfile.gettempdir()) / "my-work"  # its name stands on the page
    (root / "builds").mkdir(parents=True)
    scratch = Path(tempfile.mkdtemp(prefix="entracte-pictures-"))
    if words.build is not None:
        shutil.copytree(words.build, root / "builds" / "demo", symlinks=True)
    try:
        with served(Studio(root), scratch) as at:
            take(at, words.out, has_build=words.build is not None)
    finally:
        shutil.rmtree(root)
        shutil.rmtree(scratch)


def take(at: str, out: Path, *, has_build: bool) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        page = browser.new_context(viewport=WIDE).new_page()
        page.set_default_timeout(WAIT)
        page.goto(at)
        page.get_by_label("target.memory").fill("24MiB")
        press(page, "Dry run", "#plan-job")
        show_timeline(page, "#plan-report")
        shot(page, out / "ui_plan.png")
        press(page, "Where it fits", "#plan-job")
        page.locator("#plan-report table.rows").scroll_into_view_if_needed()
        shot(page, out / "ui_fits.png")
        page.get_by_label("target.memory").fill("36MiB")
        page.get_by_role("textbox", name="Name Of the folder").fill("roomy")
        press(page, "Dry run", "#plan-job")
        if not has_build:
            press(page, "Compile", "#plan-job")
        page.get_by_role("tab", name="Run").click()
        page.get_by_label("prompt").fill("a blue square moves up")
        press(page, "Run", "#run-job")
        page.wait_for_function("document.querySelector('#run-made video').videoWidth > 0")
        shot(page, out / "ui_run.png")
        compare(page, "plans/tiny_t2v-host", "plans/roomy")
        shot(page, out / "ui_compare.png")
        phone = browser.new_context(viewport=PHONE, color_scheme="dark").new_page()
        phone.set_default_timeout(WAIT)
        phone.goto(at)
        phone.get_by_role("tab", name="History").click()
        phone.locator(".entry").first.wait_for()
        shot(phone, out / "ui_phone.png")
        browser.close()


def compare(page: Any, before: str, after: str) -> None:
    """The page of both, with its timelines in view."""
    page.get_by_role("tab", name="Compare").click()
    for label, name in (("before", before), ("after", after)):
        page.get_by_label(label, exact=True).click()
        page.get_by_role("option", name=name, exact=True).click()
        # Its list fades out, with the same names as the next one.
        page.get_by_role("listbox").wait_for(state="detached")
    page.get_by_role("button", name="Compare", exact=True).click()
    show_timeline(page, "#compared")


def show_timeline(page: Any, place: str) -> None:
    """Of the page in a frame: below that page's own bar; then all of the frame, for ours was
    scrolled with it."""
    frame = page.locator(f"{place} iframe")
    frame.content_frame.locator("#timeline").evaluate("e => e.scrollIntoView()")
    frame.evaluate("e => e.scrollIntoView({block: 'end'})")


def press(page: Any, button: str, job: str) -> None:
    """A button, and wait until its job is done."""
    page.get_by_role("button", name=button, exact=True).click()
    page.locator(f"{job} .job.running").wait_for()
    page.locator(f"{job} .job.done").wait_for()


def shot(page: Any, path: Path) -> None:
    from PIL import Image

    page.wait_for_timeout(1500)  # frames fade in
    page.screenshot(path=str(path))
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    size = path.stat().st_size
    assert size <= MOST_BYTES, f"{path}: {size} bytes"
    print(f"{path}: {size} bytes")


if __name__ == "__main__":
    main()
