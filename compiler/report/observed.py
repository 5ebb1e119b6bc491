"""A recorded run: read as what a stranger may have written, and set beside the plan's claims."""

import json
from dataclasses import dataclass
from pathlib import Path

from compiler.codec import decode
from compiler.errors import RunError
from compiler.ir import Call, Event, Plan, Run
from compiler.simulate import Wait

FILE = "run.json"
MAX_BYTES = 256 * 2**20
_QUEUES = ("load", "compute", "free")


@dataclass(frozen=True, slots=True)
class Claim:
    """A figure, claimed and observed. `kind` is bytes, seconds or count."""

    name: str
    kind: str
    claimed: float
    observed: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class ChunkClaim:
    """Seconds of one load and one call, and activation bytes: claimed and observed."""

    chunk: str
    calls: int
    loads: int
    load_s: tuple[float, float]
    exec_s: tuple[float, float]
    activation_bytes: tuple[int, int]


def read_run(path: Path, plan: Plan) -> Run:
    """The run that `plan run` recorded. Raises `RunError` for anything else, or another plan's."""
    if not path.is_file():
        raise RunError(f"--run {path}: there is no such file; `plan run` records one")
    if path.stat().st_size > MAX_BYTES:
        raise RunError(f"{path}: larger than {MAX_BYTES} bytes; this is no recorded run")
    try:
        body = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunError(f"{path}: not a whole JSON file ({error}); run the plan again") from None
    try:
        run = decode(Run, body, "run")
    except ValueError as error:
        raise RunError(f"{path}: {error}; run the plan again with this Entracte") from None
    _check(run, plan, path)
    return run


def _check(run: Run, plan: Plan, path: Path) -> None:
    """It speaks of this plan's chunks and loops, and its times make sense."""
    known = {f.id for f in plan.facts}
    named = {c.chunk for c in run.chunks} | {e.label for e in run.events}
    if stray := sorted(named - known):
        raise RunError(
            f"{path}: observes chunk {stray[0]!r}, which the plan does not have; it is of another "
            "build, run this one again"
        )
    calls = {
        (s, step.chunk)
        for s, segment in enumerate(plan.program.segments)
        for step in segment.steps
        if isinstance(step, Call)
    }
    for n, e in enumerate(run.events):
        where = f"{path}: event {n}"
        if e.queue not in _QUEUES:
            raise RunError(f"{where} is of queue {e.queue!r}; allowed: {', '.join(_QUEUES)}")
        if not 0 <= e.segment < len(plan.program.segments):
            raise RunError(f"{where} is in segment {e.segment}, which the plan does not have")
        if not 0 <= e.iteration < plan.program.segments[e.segment].count:
            raise RunError(f"{where} is in iteration {e.iteration}, which its loop does not have")
        if e.queue == "compute" and (e.segment, e.label) not in calls:
            raise RunError(f"{where} calls {e.label} where the plan does not")
        if not 0 <= e.start_s <= e.end_s or e.size_bytes < 0:
            raise RunError(f"{where} ends before it starts, or has a negative figure")


def claims(plan: Plan, run: Run) -> tuple[Claim, ...]:
    """The whole run: what the plan promised and what was seen."""
    f = plan.forecast
    device = f"claimed for {plan.target.name}, observed on device {run.device}"
    bound = "claimed: at most, for any timing"
    loads = sum(c.loads for c in run.chunks)
    rows = [
        Claim("time", "seconds", f.makespan_s, run.wall_s, device),
        Claim("peak memory", "bytes", f.peak_bytes, run.peak_bytes, bound),
        Claim("waiting for loads", "seconds", f.stall_s, run.stall_s),
        Claim("bytes loaded", "bytes", f.loaded_bytes, run.loaded_bytes),
        Claim("loads", "count", f.loads, loads),
    ]
    counts = {g.name: g.count for g in plan.program.segments}
    rows += [
        Claim(f"iterations of {name}", "count", counts.get(name, 0), done, "ended early")
        for name, done in run.iterations
    ]
    return tuple(rows)


def chunk_claims(plan: Plan, run: Run) -> tuple[ChunkClaim, ...]:
    """One load and one call of each chunk, on average."""
    facts = {f.id: f for f in plan.facts}
    rows = []
    for c in run.chunks:
        f = facts[c.chunk]
        rows.append(
            ChunkClaim(
                c.chunk,
                c.calls,
                c.loads,
                (f.load_s, c.load_s / max(1, c.loads)),
                (f.exec_s, c.exec_s / max(1, c.calls)),
                (f.activation_bytes, c.peak_activation_bytes),
            )
        )
    return tuple(rows)


def waits_of(plan: Plan, events: tuple[Event, ...]) -> tuple[Wait, ...]:
    """Pauses of the compute unit that end with a call, where the call's chunk was still being
    loaded when the call before had ended."""
    calls = sorted((e for e in events if e.queue == "compute"), key=lambda e: e.start_s)
    ready: dict[str, list[float]] = {}
    for e in events:
        if e.queue == "load":
            ready.setdefault(e.label, []).append(e.end_s)
    waits, before = [], 0.0
    for n, e in enumerate(calls):
        late = [t for t in ready.get(e.label, ()) if before < t <= e.start_s]
        if late:
            cause = _cause(plan, e, n)
            waits.append(Wait(e.label, e.segment, e.iteration, before, max(late), cause))
        before = max(before, e.end_s)
    return tuple(waits)


def _cause(plan: Plan, e: Event, number: int) -> str:
    if number == 0:
        return "start"
    if not plan.program.segments[e.segment].is_loop:
        return "straight"
    return "first" if e.iteration == 0 else "steady"
