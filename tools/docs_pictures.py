"""The pictures of docs/pictures: each by one command, most of them by this one.

    python -m tools.docs_pictures              # reports (tools/gallery.py), then their pictures
    python -m tools.docs_pictures --kept       # of the reports as they lie in build/gallery
    python -m tools.docs_pictures --kept report_phone.png
    python -m tools.docs_pictures --list       # each picture and the command that makes it

Wants Chromium at /usr/bin/chromium and Playwright (the extra `test`).
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from tools.gallery import FOLDER, ROOT, SHOWN, make, page_of

PICTURES = ROOT / "docs" / "pictures"
CHROMIUM = Path("/usr/bin/chromium")
ELSEWHERE = {
    "combined.png": "python -m tools.bench_techniques --clips 216 --only 'LPL static, interval 0-8,"
    " reuse [23]' 'LPL 11 of 20, interval 0-6, reuse 2, all' --sheet docs/pictures/combined.png",
    "single.png": "python -m tools.bench_techniques --clips 216 --only 'interval 0-8' 'reuse 2'"
    " 'test 0.1' 'LPL static, interval 0-8, test 0.1' --sheet docs/pictures/single.png",
    "perfetto.png": "python -m tools.perfetto_picture TRACE docs/pictures/perfetto.png",
    "reuse.png": "python -m tools.reuse_parts --sheet docs/pictures/reuse.png",
    "rivals.svg": "python -m tools.bench_rivals --picture docs/pictures/rivals.svg",
    "techniques.png": "python -m tools.bench_techniques --clips 216 --sheet "
    "docs/pictures/techniques.png",
    "tiny_contact_sheet.png": "python -m tools.eval_tiny --device reference BUILD --sheet "
    "docs/pictures/tiny_contact_sheet.png",
    "tiny_i2v.png": "python -m tools.eval_tiny_i2v --device reference BUILD --sheet "
    "docs/pictures/tiny_i2v.png",
    "tiny_sit.png": "python -m tools.eval_tiny_sit --device reference BUILD --sheet "
    "docs/pictures/tiny_sit.png",
    **{
        f"ui_{name}.png": "python -m tools.ui_pictures"
        for name in ("plan", "fits", "run", "compare", "phone")
    },
}
"""Of trained weights (from a quarter of an hour to two), of another program, of the web UI."""
_WIDTH = 1200
_PHONE = (390, 844)
_GAP = 20
_EDGE = 8
_BETWEEN = (197, 202, 212)
_THUMBNAIL = 640
_COLOURS = 256


@contextmanager
def _opened(
    browser: Any, name: str, size: tuple[int, int] = (_WIDTH, 960), scheme: str = "light"
) -> Iterator[Any]:
    """The page of a report, once its charts are drawn."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True,
        reduced_motion="reduce",
    )  # fmt: skip
    try:
        page = context.new_page()
        page.goto(page_of(name).as_uri())
        page.locator("#lanes canvas, #lanes svg").first.wait_for()
        page.wait_for_timeout(500)
        yield page
    finally:
        context.close()


def _press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).first.click()
    page.wait_for_timeout(500)


def _part(page: Any, top: str | None, bottom: str) -> bytes:
    """The page's whole width, from the top of an element (or of the page) to the end of another."""
    page.locator("nav.sections").evaluate("e => { e.style.position = 'static' }")
    down = page.evaluate("scrollY")
    begin = 0 if top is None else page.locator(top).bounding_box()["y"] + down - _EDGE
    last = page.locator(bottom).bounding_box()
    height = last["y"] + last["height"] + down + _EDGE - begin
    clip = {"x": 0, "y": begin, "width": _WIDTH, "height": height}
    return bytes(page.screenshot(full_page=True, clip=clip))


def _whole(browser: Any) -> bytes:
    with _opened(browser, "stream") as page:
        page.locator("button[data-node='stage:denoise']").click()
        page.wait_for_timeout(500)
        return _part(page, None, "#timeline")


def _dark(browser: Any) -> bytes:
    with _opened(browser, "on_device_sora", scheme="dark") as page:
        return _part(page, None, "#timeline")


def _steady(browser: Any) -> bytes:
    with _opened(browser, "kept") as page:
        _press(page, "Steady iteration")
        return _part(page, "#timeline", "#timeline")


def _phone(browser: Any) -> bytes:
    """Three views side by side: the head, the timeline, policies in the dark."""
    from PIL import Image

    shots = []
    for scheme, place in (("light", None), ("light", "#windows"), ("dark", "#policies")):
        with _opened(browser, "stream", _PHONE, scheme) as page:
            if place is not None:
                page.locator(place).evaluate("e => scrollBy(0, e.getBoundingClientRect().top - 60)")
                page.wait_for_timeout(300)
            shots.append(Image.open(BytesIO(page.screenshot())))
    width = sum(s.width for s in shots) + _GAP * (len(shots) - 1)
    sheet = Image.new("RGB", (width, shots[0].height), _BETWEEN)
    for k, shot in enumerate(shots):
        sheet.paste(shot, (k * (shot.width + _GAP), 0))
    return _png(sheet)


def _thumbnail(name: str) -> Callable[[Any], bytes]:
    def taken(browser: Any) -> bytes:
        from PIL import Image

        with _opened(browser, name) as page:
            shot = Image.open(BytesIO(_part(page, "#windows", "#readout"))).convert("RGB")
        size = (_THUMBNAIL, round(shot.height * _THUMBNAIL / shot.width))
        return _png(shot.resize(size, Image.Resampling.LANCZOS))

    return taken


def _png(picture: Any) -> bytes:
    out = BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


PAGES: dict[str, tuple[str, Callable[[Any], bytes]]] = {
    "report_demo.png": ("stream", _whole),
    "report_on_device_sora.png": ("on_device_sora", _dark),
    "report_step.png": ("kept", _steady),
    "report_phone.png": ("stream", _phone),
    **{f"gallery_{s.name}.png": (s.name, _thumbnail(s.name)) for s in SHOWN},
}
"""Picture -> the report that it is of, and how it is taken."""
DIAGRAMS = {"demo_graph.svg": "demo"}
"""Picture -> the build whose pipeline it draws."""


def commands() -> dict[str, str]:
    """Picture -> the command that makes it."""
    here = {name: f"python -m tools.docs_pictures {name}" for name in (*PAGES, *DIAGRAMS)}
    return dict(sorted({**here, **ELSEWHERE}.items()))


def fewer_colours(png: bytes) -> bytes:
    """Flat areas and text: a palette does, in a third of the bytes."""
    from PIL import Image

    picture = Image.open(BytesIO(png)).convert("RGB")
    # Not by counting pixels: most are of the ground, and a thin bar is to keep its colour.
    method = Image.Quantize.MAXCOVERAGE
    return _png(picture.quantize(_COLOURS, method, kmeans=3, dither=Image.Dither.NONE))


def take(names: list[str]) -> None:
    """Pictures of reports that are made."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        for name in (n for n in names if n in PAGES):
            (PICTURES / name).write_bytes(fewer_colours(PAGES[name][1](browser)))
            print(f"{name}: {(PICTURES / name).stat().st_size / 1024:.0f} KiB", flush=True)
        browser.close()
    for name in (n for n in names if n in DIAGRAMS):
        words = ["plan", "graph", DIAGRAMS[name], "--format", "svg", "-o", str(PICTURES / name)]
        subprocess.run([sys.executable, "-m", "entracte", *words], cwd=FOLDER, check=True)


def main() -> None:
    """Make those that are named, or all that are made here."""
    here = [*PAGES, *DIAGRAMS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=", ".join(here))
    parser.add_argument("--kept", action="store_true", help="no report is made again")
    parser.add_argument("--list", action="store_true", help="say which command makes which")
    given = parser.parse_args()
    if given.list:
        print(*(f"{name:<28} {command}" for name, command in commands().items()), sep="\n")
        return
    names = given.names or here
    if unknown := set(names) - set(here):
        parser.error(f"not made here: {', '.join(sorted(unknown))}; see --list")
    if not given.kept:
        make([s.name for s in SHOWN if s.name in {_report_of(name) for name in names}])
    take(names)


def _report_of(name: str) -> str:
    return DIAGRAMS[name] if name in DIAGRAMS else PAGES[name][0]


if __name__ == "__main__":
    main()
