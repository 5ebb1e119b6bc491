"""Our own pages beside Gradio's: a plan's report, and the files that runs made.

A report is shown with a policy that puts it into a sandbox: its scripts run and reach nothing of
the UI, also where it is opened in a page of its own. Files have the endings of `shown.MEDIA`, lie
below `runs/`, and are never run as a page.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from entracte.errors import ConfigError, EntracteError
from entracte.plan.file import read_plan
from entracte.report.helps import helps
from entracte.report.model import page_of
from entracte.report.page import render
from entracte.report.pair import Given, pair_of, render_pair
from entracte.report.policies import compared
from entracte.run.record import run_of
from entracte.ui.compared import Thing, thing
from entracte.ui.guard import SHOWN
from entracte.ui.history import History
from entracte.ui.places import RUNS, Root
from entracte.ui.shown import MEDIA

_SANDBOX = "sandbox allow-scripts allow-popups; frame-ancestors 'self'"
_NO_SCRIPTS = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"


def report_page(root: Root, build: str, record: str = "") -> str:
    """The page of a plan that lies in the root, with the run of a record or the build's own.

    Raises `ConfigError` or `PlanError`.
    """
    folder = root.build(build)
    run = root.existing(record) if record else folder
    marks = (_mark(folder / "plan.json"), _mark(run / "run.json" if run.is_dir() else run))
    return _made(folder, run, marks)


@lru_cache(maxsize=4)
def _made(folder: Path, run: Path, marks: tuple[object, ...]) -> str:  # noqa: ARG001 - the key
    plan = read_plan(folder)
    return render(page_of(plan, compared(plan), run_of(plan, run), helps(plan)))


def _mark(path: Path) -> tuple[int, int]:
    """Changes where the file does."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def pair_page(root: Root, before: str, after: str) -> str:
    """The page of two plans, builds or runs that lie in the root, as `plan report A B` makes it.

    Raises `ConfigError` or `PlanError`.
    """
    entries = History(root.folder).entries()
    return render_pair(pair_of(*(_given(thing(root, name, entries)) for name in (before, after))))


def _given(one: Thing) -> Given:
    return Given(one.name, one.plan, one.run, None)


def media_file(root: Root, name: str) -> Path:
    """A file that a run made. Raises `ConfigError`."""
    path = root.existing(name)
    if not path.is_relative_to(root.folder / RUNS) or not path.is_file():
        raise ConfigError(f"{name[:200]!r}: is no file of a run")
    if path.suffix.lower() not in MEDIA:
        raise ConfigError(f"{name[:200]!r}: is not shown; of {', '.join(MEDIA)}")
    return path


def add_routes(app: Any, root: Root) -> None:
    """`/shown/report`, `/shown/pair` and `/shown/file` of a Starlette application."""
    from starlette.requests import Request
    from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response

    def refused(error: EntracteError) -> Response:
        headers = {"content-security-policy": _NO_SCRIPTS}
        return PlainTextResponse(str(error), status_code=404, headers=headers)

    def page(make: Callable[[Root, str, str], str], *names: str) -> Callable[[Request], Response]:
        def shown(request: Request) -> Response:
            one, two = (request.query_params.get(name, "") for name in names)
            try:
                text = make(root, one, two)
            except EntracteError as error:
                return refused(error)
            return HTMLResponse(text, headers={"content-security-policy": _SANDBOX})

        return shown

    def file(request: Request) -> Response:
        try:
            path = media_file(root, request.query_params.get("name", ""))
        except EntracteError as error:
            return refused(error)
        kind = "text/plain; charset=utf-8" if path.suffix.lower() == ".txt" else None
        headers = {"content-security-policy": _NO_SCRIPTS}
        return FileResponse(path, media_type=kind, headers=headers)

    app.add_route(f"{SHOWN}report", page(report_page, "build", "record"), methods=["GET"])
    app.add_route(f"{SHOWN}pair", page(pair_page, "before", "after"), methods=["GET"])
    app.add_route(f"{SHOWN}file", file, methods=["GET", "HEAD"])
