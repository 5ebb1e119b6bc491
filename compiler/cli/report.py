"""`plan report`: a plan, and what was observed of it, as one HTML page."""

import os
from pathlib import Path

from rich.console import Console

from compiler.errors import RunError
from compiler.ir import Plan, Run
from compiler.plan import read_plan

FILE = "report.html"


def report_build(console: Console, build: Path, out: Path | None, run: Path | None) -> None:
    """Write the page aside and rename it; print its path.

    Without `out` it becomes `report.html` of the build folder; without `run` the folder's own
    `run.json` is shown, if it has one.

    Raises:
        PlanError: no plan, a damaged one, one of another version, or one of too many steps.
        RunError: a run of another build, or a file that cannot be written.
    """
    from compiler.report.model import check_size, page_of
    from compiler.report.page import render
    from compiler.report.policies import compared

    plan = read_plan(build)
    check_size(plan)
    folder = build if build.is_dir() else build.parent
    page = page_of(plan, compared(plan), _run(plan, folder, run))
    path = out if out is not None else folder / FILE
    _write(path, render(page))
    console.print(f"wrote {path}", soft_wrap=True, markup=False)


def _run(plan: Plan, folder: Path, given: Path | None) -> Run | None:
    from compiler.report.observed import FILE as RECORDED
    from compiler.report.observed import read_run

    if given is not None:
        return read_run(given, plan)
    recorded = folder / RECORDED
    return read_run(recorded, plan) if recorded.is_file() else None


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(text, "utf-8", newline="\n")
        os.replace(aside, path)
    except OSError as error:
        raise RunError(
            f"--out {path}: cannot be written: {error.strerror}; name a file in a folder that is "
            "there"
        ) from None
    finally:
        aside.unlink(missing_ok=True)
