"""`plan report`: a plan, and what was observed of it, as one HTML page."""

from pathlib import Path

from rich.console import Console

from entracte.cli.files import read_for_show
from entracte.cli.observed import show_alarm
from entracte.disk.write import write_text
from entracte.run.record import run_of

FILE = "report.html"


def report_build(console: Console, build: Path, out: Path | None, run: Path | None) -> bool:
    """Write the page, whole or not at all; print its path. Whether there is an alarm on it.

    Without `out` it becomes `report.html` of the build folder; without `run` the folder's own
    `run.json` is shown, if it has one.

    Raises:
        PlanError: no plan, a damaged one, one of another version, or one of too many steps; a run
            of another build.
        RunError: a file that cannot be written.
    """
    from entracte.report.helps import helps
    from entracte.report.model import page_of
    from entracte.report.page import render
    from entracte.report.policies import compared

    plan = read_for_show(build)
    folder = build if build.is_dir() else build.parent
    page = page_of(plan, compared(plan), run_of(plan, run or folder), helps(plan))
    path = out if out is not None else folder / FILE
    remedy = "name another file with --out"
    write_text(path, render(page), follow=out is not None, remedy=remedy)
    console.print(f"wrote {path}", soft_wrap=True, markup=False)
    show_alarm(console, page.alarm)
    return page.alarm is not None
