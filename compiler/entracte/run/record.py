"""run.json: what a run did, written beside its plan and read as what a stranger may have written.

The file is the encoded `entracte.ir.Run`.
"""

import json
import os
from dataclasses import fields, is_dataclass
from pathlib import Path

from entracte.clock.predict import Wait, cause_of
from entracte.clock.timeline import Timeline
from entracte.codec import decode, encode, parse_json
from entracte.errors import PlanError
from entracte.ir import Call, Plan, Run
from entracte.plan.file import check_texts
from entracte.units import MOST_BYTES

FILE = "run.json"
MAX_BYTES = 64 * 2**20
QUEUES = ("load", "compute", "free")


def write_run(run: Run, path: Path) -> None:
    """Write a run aside and rename it into place. Raises `OSError` where that is impossible."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(json.dumps(encode(run), separators=(",", ":")) + "\n")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def read_run(place: Path) -> Run | None:
    """The recorded run of a build folder, None if there is none; or of the run file itself.

    Raises `PlanError` for a file that is not there or is no run.
    """
    path = place / FILE if place.is_dir() else place
    if not path.is_file():
        if place.is_dir():
            return None
        raise PlanError(f"{path}: there is no such file; `plan run BUILD --record {path}` makes it")
    if path.stat().st_size > MAX_BYTES:
        raise PlanError(f"{path}: larger than {MAX_BYTES} bytes; this is no recorded run")
    try:
        body = parse_json(path.read_bytes())
    except OSError as error:
        raise PlanError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise PlanError(f"{path}: not a whole JSON file ({error}); run again") from None
    check_texts(body, str(path))
    run: Run = decode(Run, body, str(path))
    return run


def run_of(plan: Plan, place: Path) -> Run | None:
    """A run that was recorded of this plan: `read_run`, and every name in it is the plan's.

    Raises `PlanError` where it speaks of what the plan does not have.
    """
    run = read_run(place)
    if run is not None:
        _check(plan, run, str(place / FILE if place.is_dir() else place))
    return run


def _check(plan: Plan, run: Run, where: str) -> None:
    chunks = {c.id for c in plan.chunks}
    counts = [s.count for s in plan.program.segments]
    names = {c.chunk for c in run.chunks} | {e.label for e in run.bars}
    names |= {name for name, _ in run.iterations} - {s.name for s in plan.program.segments}
    stray = sorted(names - chunks)
    if stray:
        raise PlanError(f"{where}: a run of another plan, this one has no {stray[0]!r}; run again")
    calls = _calls(plan)
    for e in run.bars:
        if e.queue == "compute" and (e.segment, e.step, e.label) not in calls:
            raise PlanError(f"{where}: {e.label!r} is called where the plan does not; run again")
        inside = 0 <= e.segment < len(counts) and 0 <= e.iteration < counts[e.segment]
        inside = inside and 0 <= e.step < len(plan.program.segments[e.segment].steps)
        sane = e.queue in QUEUES and 0 <= e.start_s <= e.end_s and e.size_bytes >= 0
        if not inside or not sane:
            raise PlanError(
                f"{where}: a bar of {e.label!r} (queue {e.queue!r}, segment {e.segment}, "
                f"iteration {e.iteration}, step {e.step}, {e.start_s} to {e.end_s} s) "
                "cannot be of this plan; run again"
            )
    _check_sizes(run, where)


_MOST_S = 1e9
"""Thirty years."""


def _check_sizes(value: object, where: str) -> None:
    """Whatever is seconds or bytes by its name is no more than a run can take."""
    if isinstance(value, tuple):
        for item in value:
            _check_sizes(item, where)
    if not is_dataclass(value):
        return
    for f in fields(value):
        item = getattr(value, f.name)
        if isinstance(item, int | float) and f.name.endswith(("_s", "_bytes")):
            most = _MOST_S if f.name.endswith("_s") else MOST_BYTES
            if abs(item) > most:
                raise PlanError(f"{where}: {f.name} {item} is more than {most:g}; run again")
        _check_sizes(item, where)


def _calls(plan: Plan) -> set[tuple[int, int, str]]:
    """(segment, step, chunk) of every call."""
    return {
        (s, k, x.chunk)
        for s, g in enumerate(plan.program.segments)
        for k, x in enumerate(g.steps)
        if isinstance(x, Call)
    }


def observed_timeline(plan: Plan, run: Run) -> Timeline:
    """What was observed, as a prediction is told: with what each call waited for.

    A call waits from the end of the call before it to the end of its chunk's last load. (Host
    steps in between are no bars; their time counts as waiting where a load outlasts them.)
    """
    loads: dict[str, list[float]] = {}
    for e in run.bars:
        if e.queue == "load":
            loads.setdefault(e.label, []).append(e.end_s)
    events = sorted(run.bars, key=lambda e: (e.start_s, e.end_s))
    waits, now = [], 0.0
    for e in events:
        if e.queue != "compute":
            continue
        ready = max((end for end in loads.get(e.label, ()) if end <= e.start_s), default=0.0)
        if ready > now:
            cause = cause_of(plan.program, e.segment, e.iteration, e.step)
            waits.append(Wait(e.label, e.segment, e.iteration, now, ready, cause))
        now = e.end_s
    return Timeline(tuple(events), tuple(waits), run.wall_s)
