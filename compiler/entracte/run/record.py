"""run.json: what a run did, written beside its plan and read as what a stranger may have written.

The file is the encoded `entracte.ir.Run`. What reads it is `run_of`: a record of another plan, or
one that cannot be of this, is refused (`run/possible.py`).
"""

import json
import os
from bisect import bisect_right
from pathlib import Path

from entracte.clock.predict import Wait, cause_of
from entracte.clock.timeline import Timeline
from entracte.codec import decode, encode, parse_json
from entracte.disk.read import inside
from entracte.disk.write import write_text
from entracte.errors import PlanError, RunError
from entracte.ir import Plan, Run
from entracte.run.origin import is_of
from entracte.run.possible import fault_of

FILE = "run.json"
MAX_BYTES = 64 * 2**20
_OWN = {"wall_s", "stall_s"}
"""Fields of every record, and of no other file of ours."""
NULL = "null"
"""The device that computes nothing: what it counts is no observation."""


def place_for(folder: Path, given: Path | None, device: str) -> Path | None:
    """Where a run on a device is to be recorded: `given`, or beside the plan; None for nowhere.

    What the null device counts is recorded only where that is asked for, and never in the place of
    what was observed. Raises `RunError` for a place that cannot be, before anything is run.
    """
    if given is None:
        return None if device == NULL else folder / FILE
    try:
        if given.is_dir() or not given.parent.is_dir():
            what = "is a folder" if given.is_dir() else f"there is no folder {given.parent}"
            raise RunError(f"--record {given}: {what}; name a file")
        if not os.access(given.parent, os.W_OK):
            raise RunError(f"--record {given}: the folder cannot be written; name another")
        if device == NULL and given.exists() and not _is_null(given):
            raise RunError(
                f"--record {given}: is there and no record of the null device, which observes "
                "nothing; name another file"
            )
    except OSError as error:
        raise RunError(f"--record {given}: {error.strerror}; name another file") from None
    return given


def _is_null(path: Path) -> bool:
    try:
        run = read_run(path)
    except PlanError:
        return False
    return run is not None and run.device == NULL


def write_run(run: Run, path: Path, *, follow: bool = False) -> None:
    """Write a run, whole or not at all; `follow` a link that is the user's own. Raises
    `WriteError`."""
    text = json.dumps(encode(run), separators=(",", ":")) + "\n"
    write_text(path, text, follow=follow, durable=True, remedy="name another file with --record")


def read_run(place: Path) -> Run | None:
    """The recorded run of a build folder, None if there is none; or of the run file itself.

    Raises `PlanError` for a file that is not there, cannot be read or is no run.
    """
    path = place / FILE if place.is_dir() else place
    if place.is_dir() and os.path.lexists(path) and inside(place, FILE) is None:
        raise PlanError(f"{path}: a link out of the folder, a device or a pipe; this is no run")
    try:
        if place.is_dir() and not path.exists():
            return None
        body = _json(path)
    except OSError as error:
        raise PlanError(f"{path}: cannot be read ({error.strerror}); run again") from None
    if not isinstance(body, dict) or not _OWN & body.keys():
        raise PlanError(f"{path}: no record of a run; give what `plan run --record FILE` wrote")
    try:
        run: Run = decode(Run, body, str(path))
    except OverflowError:
        raise PlanError(f"{path}: a number in it is too large; run again") from None
    return run


def _json(path: Path) -> object:
    if path.exists() and not path.is_file():
        raise PlanError(f"{path}: is no file; give a recorded run")
    if not path.is_file():
        raise PlanError(f"{path}: there is no such file; `plan run BUILD --record {path}` makes it")
    if path.stat().st_size > MAX_BYTES:
        raise PlanError(f"{path}: larger than {MAX_BYTES} bytes; this is no recorded run")
    text = path.read_bytes()
    try:
        return parse_json(text)
    except ValueError as error:
        raise PlanError(
            f"{path}: not a whole JSON file ({error}); run again, or give a recorded run"
        ) from None


def run_of(plan: Plan, place: Path) -> Run | None:
    """A run that was recorded of this plan: `read_run`, and everything in it could be.

    Raises `PlanError` for a run of another plan, and where it says what cannot be of this one.
    """
    run = read_run(place)
    if run is None:
        return None
    where = place / FILE if place.is_dir() else place
    if not is_of(plan, run):
        raise PlanError(
            f"{where}: a record of another plan (it {_named(run)}); run this one again, or give "
            "its record with --run"
        )
    if fault := fault_of(plan, run):
        raise PlanError(f"{where}: {fault}: cannot be of this plan; run again")
    return run


def _named(run: Run) -> str:
    """Of a text that may be anything, only what may be printed."""
    known = run.plan.isascii() and run.plan.isalnum()
    return f"names {run.plan[:12]}" if known else "does not name this"


def observed_timeline(plan: Plan, run: Run) -> Timeline:
    """What was observed, as a prediction is told: with what each call waited for.

    A call waits from the end of the call before it to the end of its chunk's last load. (Host
    steps in between are no bars; their time counts as waiting where a load outlasts them.)
    """
    loads: dict[str, list[float]] = {}
    for e in sorted(run.bars, key=lambda e: e.end_s):
        if e.queue == "load":
            loads.setdefault(e.label, []).append(e.end_s)
    events = sorted(run.bars, key=lambda e: (e.start_s, e.end_s))
    waits, now = [], 0.0
    for e in events:
        if e.queue != "compute":
            continue
        ends = loads.get(e.label, [])
        before = bisect_right(ends, e.start_s)
        ready = ends[before - 1] if before else 0.0
        if ready > now:
            cause = cause_of(plan.program, e.segment, e.iteration, e.step)
            waits.append(Wait(e.label, e.segment, e.iteration, now, ready, cause))
        now = e.end_s
    return Timeline(tuple(events), tuple(waits), run.wall_s)
