"""The web UI's pictures in docs/: a dry run, a run, and the page on a phone.

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
from tests.report.conftest import CHROMIUM, FLAGS
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
        frame = page.frame_locator("#plan-report iframe")
        frame.locator("#timeline").scroll_into_view_if_needed()
        shot(page, out / "ui_plan.png")
        if not has_build:
            press(page, "Compile", "#plan-job")
        page.get_by_role("tab", name="Run").click()
        page.get_by_label("prompt").fill("a blue square moves up")
        press(page, "Run", "#run-job")
        page.wait_for_function("document.querySelector('#run-made video').videoWidth > 0")
        shot(page, out / "ui_run.png")
        phone = browser.new_context(viewport=PHONE, color_scheme="dark").new_page()
        phone.set_default_timeout(WAIT)
        phone.goto(at)
        phone.get_by_role("tab", name="History").click()
        phone.locator(".entry").first.wait_for()
        shot(phone, out / "ui_phone.png")
        browser.close()


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
