"""A record of a run against its plan: the first thing in it that cannot be, as words.

The record may be a stranger's, or that of a runner in another language. Its types are checked
where it is decoded (`codec`).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import pairwise

from entracte.check.promise import QUEUES
from entracte.ir import Bar, By, Call, Input, Plan, Run, Segment
from entracte.run.origin import DATE
from entracte.units import MOST_BYTES

MOST_S = 1e9
"""Thirty years."""
_WORDS, _LONG = 200, 2000
_SLACK_S = 1e-6
"""Times may have been rounded when they were written."""


def fault_of(plan: Plan, run: Run) -> str | None:
    """What cannot be of this plan, with its place in the record; None where nothing is wrong."""
    parts = (_origin, _amounts, _names, _reused, _iterations, _outputs, _bars, _called, _held)
    return next((fault for part in parts for fault in part(plan, run)), None)


# ---------------------------------------------------------------- what it is of


def _origin(plan: Plan, run: Run) -> Iterator[str]:
    texts = [("device", run.device), ("arithmetic", run.arithmetic), ("date", run.date)]
    texts += [(f"versions.{i}", text) for i, pair in enumerate(run.versions) for text in pair]
    for name, text in texts:
        # What moves a terminal's cursor or turns text around could show what is not so.
        if len(text) > _WORDS or not text.isprintable():
            yield f"{name}: {text[:_WORDS]!r} is no name"
    if not run.device:
        yield "device: it has no name"
    if run.date and not _is_date(run.date):
        yield f"date: {run.date!r} is no time like 2026-11-28T09:30:00Z"
    yield from _twice("inputs", (name for name, _ in run.inputs))
    inputs = {i.name: i for i in plan.program.inputs}
    for name, value in run.inputs:
        if name not in inputs:
            yield f"inputs: there is no {name!r}"
        elif not _is_told(inputs[name], value):
            yield f"inputs: {name} is a {inputs[name].kind}, not {str(value)[:40]!r}"
    for note in run.notes:
        if not note or len(note) > _LONG or not note.isprintable():
            yield f"notes: {note[:_WORDS]!r} is no line"


def _is_told(i: Input, value: str | int | float) -> bool:
    """Whether a record names such an input so: a file by its digest, a choice by its name."""
    if i.kind == "text":
        return isinstance(value, str)
    if i.kind == "choice" and i.choices:
        return value in i.choices
    if i.port is not None and isinstance(value, str):
        return re.fullmatch("sha256:[0-9a-f]{64}", value) is not None
    return not isinstance(value, str)


def _is_date(text: str) -> bool:
    try:
        return re.fullmatch(r"[0-9TZ:-]{20}", text) is not None and bool(
            datetime.strptime(text, DATE)  # noqa: DTZ007 (the text says UTC)
        )
    except ValueError:
        return False


def _twice(where: str, names: Iterable[str]) -> Iterator[str]:
    for name, times in Counter(names).items():
        if times > 1:
            yield f"{where}: {name!r} is there {times} times"


# ---------------------------------------------------------------- figures


def _amounts(_: Plan, run: Run) -> Iterator[str]:
    for name, value in _figures(run):
        is_time = name.endswith("_s") or name.startswith("stage_s.")
        most = MOST_S if is_time else MOST_BYTES
        if abs(value) > most:
            yield f"{name}: too large"
        elif not value >= 0:
            yield f"{name}: {value:g} is no amount"


def _figures(run: Run) -> Iterator[tuple[str, float]]:
    for name in ("wall_s", "peak_bytes", "stall_s", "loaded_bytes"):
        yield name, getattr(run, name)
    yield "anonymous_peak_bytes", run.anonymous_peak_bytes or 0
    yield "start_bytes", run.start_bytes or 0
    for c in run.chunks:
        for name in ("loads", "calls", "load_s", "exec_s", "peak_activation_bytes"):
            yield f"chunks.{c.chunk[:_WORDS]!r}.{name}", getattr(c, name)
    for stage, seconds in run.stage_s:
        yield f"stage_s.{stage[:_WORDS]!r}", seconds
    for i, e in enumerate(run.bars):
        yield f"bars[{i}].size_bytes", e.size_bytes
    for i, r in enumerate(run.reused):
        yield f"reused[{i}].size_bytes", r.size_bytes
    for i, s in enumerate(run.settled):
        yield f"settled[{i}].expected_bytes", s.expected_bytes
        yield f"settled[{i}].returned_bytes", s.returned_bytes
        yield f"settled[{i}].wait_s", s.wait_s


# ---------------------------------------------------------------- names


def _names(plan: Plan, run: Run) -> Iterator[str]:
    chunks = {c.id for c in plan.chunks}
    known = (
        ("chunks", [c.chunk for c in run.chunks], chunks),
        ("bars", list(dict.fromkeys(e.label for e in run.bars)), chunks),
        ("iterations", [name for name, _ in run.iterations], set(_loops(plan))),
        ("stage_s", [name for name, _ in run.stage_s], _stages(plan)),
    )
    settled = dict.fromkeys(chunk for s in run.settled for chunk in s.chunks)
    yield from (f"settled: there is no {n[:_WORDS]!r}" for n in settled if n not in chunks)
    for where, names, allowed in known:
        yield from (f"{where}: there is no {n[:_WORDS]!r}" for n in names if n not in allowed)
        yield from _twice(where, names)


def _reused(plan: Plan, run: Run) -> Iterator[str]:
    """What was not computed is of the plan, and says by which key it was found."""
    chunks, inputs = {c.id for c in plan.chunks}, {i.name for i in plan.program.inputs}
    yield from _twice("reused", (r.key for r in run.reused))
    yield from _twice("carried", run.carried)
    yield from (f"carried: there is no {n[:_WORDS]!r}" for n in run.carried if n not in chunks)
    for i, r in enumerate(run.reused):
        if not re.fullmatch("[0-9a-f]{64}", r.key):
            yield f"reused[{i}].key: {r.key[:_WORDS]!r} is no SHA-256"
        for name in (*(c for c in r.chunks if c not in chunks), *(set(r.inputs) - inputs)):
            yield f"reused[{i}]: there is no {name[:_WORDS]!r}"


def _loops(plan: Plan) -> dict[str, Segment]:
    return {s.name: s for s in plan.program.segments}


def _stages(plan: Plan) -> set[str]:
    return {step.stage for s in plan.program.segments for step in s.steps}


def _iterations(plan: Plan, run: Run) -> Iterator[str]:
    loops = _loops(plan)
    if run.resumed is not None and not _is_position(plan, *run.resumed):
        yield f"resumed: there is no iteration {run.resumed[0]}.{run.resumed[1]}"
    for name, done in run.iterations:
        least = 1 if loops[name].until is not None else loops[name].count
        if not least <= done <= loops[name].count:
            yield f"iterations: loop {name} does {least} to {loops[name].count}, not {done}"


def _is_position(plan: Plan, segment: int, iteration: int) -> bool:
    segments = plan.program.segments
    return 0 <= segment < len(segments) and 0 <= iteration < segments[segment].count


def _outputs(plan: Plan, run: Run) -> Iterator[str]:
    """A writer takes whole parts once, and of what is streamed as many as were made."""
    done, streamed = dict(run.iterations), _streamed(plan)
    outputs = {o.name: o for o in plan.program.outputs}
    yield from _twice("outputs", (name for name, _ in run.outputs))
    for name, taken in run.outputs:
        if name not in outputs:
            yield f"outputs: there is no {name[:_WORDS]!r}"
            continue
        pieces = 0
        for part in outputs[name].values:
            loop, many = streamed.get(part, ("", 1))
            pieces += done.get(loop, many)
        if taken != pieces:
            yield f"outputs: the writer of {name} takes {pieces} pieces, not {taken}"


def _streamed(plan: Plan) -> dict[str, tuple[str, int]]:
    """Part of an output that is streamed -> the loop whose iterations make it, or none, and its
    pieces."""
    many = {t.name: t.streamed for t in plan.program.tensors if t.streamed}
    return {
        b.tensor: (segment.name if b.by is By.ITERATION else "", many[b.tensor])
        for segment in plan.program.segments
        for step in segment.steps
        for b in step.outputs
        if b.tensor in many
    }


# ---------------------------------------------------------------- bars


def _bars(plan: Plan, run: Run) -> Iterator[str]:
    for i, e in enumerate(run.bars):
        in_time = 0 <= e.start_s <= e.end_s <= run.wall_s + _SLACK_S
        if e.queue not in QUEUES or not in_time or not _is_in(plan, e):
            yield f"bars[{i}] of {e.label!r}: {_told(e)}"
    if any(a.end_s > b.end_s for a, b in pairwise(run.bars)):
        yield "bars: not in the order of their ends"


def _is_in(plan: Plan, e: Bar) -> bool:
    if not 0 <= e.segment < len(plan.program.segments):
        return False
    segment = plan.program.segments[e.segment]
    return 0 <= e.step < len(segment.steps) and 0 <= e.iteration < segment.count


def _called(plan: Plan, run: Run) -> Iterator[str]:
    """Every call is one of the plan's, made once, in an iteration that was done."""
    calls, done = _calls(plan), dict(run.iterations)
    seen: set[tuple[int, int, int]] = set()
    for i, e in enumerate(run.bars):
        if e.queue != "compute":
            continue
        segment, at = plan.program.segments[e.segment], (e.segment, e.iteration, e.step)
        call = calls.get((e.segment, e.step, e.label))
        if call is None:
            yield f"bars[{i}]: {e.label!r} is called where the plan does not"
        elif not call.is_called(e.iteration):
            yield f"bars[{i}]: {e.label!r} is called in iteration {e.iteration}, where it rests"
        if at in seen or e.iteration >= done.get(segment.name, segment.count):
            why = "twice in one" if at in seen else "in one that was not done"
            yield f"bars[{i}]: {e.label!r} is called {why}, iteration {e.iteration}"
        seen.add(at)


def _told(e: Bar) -> str:
    return (
        f"queue {e.queue[:_WORDS]!r}, segment {e.segment}, iteration {e.iteration}, step {e.step}, "
        f"{e.start_s:g} to {e.end_s:g} s"
    )


def _calls(plan: Plan) -> dict[tuple[int, int, str], Call]:
    """By segment, step and chunk."""
    return {
        (s, k, x.chunk): x
        for s, g in enumerate(plan.program.segments)
        for k, x in enumerate(g.steps)
        if isinstance(x, Call)
    }


def _held(plan: Plan, run: Run) -> Iterator[str]:
    """What is given back was there, and no more of a chunk is there than there is of it."""
    weights = {f.id: f.weight_bytes for f in plan.facts}
    held, copies = Counter[str](), Counter[str]()
    for i, e in enumerate(run.bars):
        if e.queue == "compute":
            continue
        sign = 1 if e.queue == "load" else -1
        held[e.label] += sign * e.size_bytes
        copies[e.label] += sign
        if copies[e.label] < 0:
            yield f"bars[{i}]: {e.label!r} is given back and was not loaded"
        if not 0 <= held[e.label] <= weights[e.label]:
            yield (
                f"bars[{i}]: {held[e.label]} bytes of {e.label!r} are in memory, which has "
                f"{weights[e.label]}"
            )
