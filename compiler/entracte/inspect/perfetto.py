"""A plan's runs as a trace for Perfetto and chrome://tracing.

The Trace Event Format, JSON object form (Duan, Kumar, "Trace Event Format", Google, 2016): each
run is a process, its threads are the loops' iterations, the loader, the compute unit and what it
waits for; memory is a counter. Times are microseconds since the run began, sizes are bytes.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from entracte.clock.predict import Wait
from entracte.clock.timeline import Timeline, predicted
from entracte.inspect.bottleneck import cold_loads, while_s
from entracte.inspect.residency import usage
from entracte.ir import Bar, Plan, Run
from entracte.run.record import observed_timeline

ITERATIONS, LOADER, COMPUTE, WAITS = 1, 2, 3, 4
_THREADS = {ITERATIONS: "iterations", LOADER: "loader", COMPUTE: "compute", WAITS: "waits"}
_THREAD_OF = {"iteration": ITERATIONS, "load": LOADER, "compute": COMPUTE, "wait": WAITS}

TraceEvent = dict[str, object]


def trace(plan: Plan, run: Run | None = None) -> str:
    """The whole file; `run` is a recorded run of this plan."""
    entries = list(_process(plan, 1, f"predicted for {plan.target.name}", predicted(plan)))
    if run is not None:
        name = f"observed on device {run.device}"
        entries += _process(plan, 2, name, observed_timeline(plan, run))
    head = {
        "plan": plan.title,
        "pipeline": plan.pipeline,
        "target": plan.target.name,
        "policy": plan.schedule.policy.name,
        "budget_bytes": plan.target.budget_bytes,
        "peak_bytes": plan.forecast.peak_bytes,
    }
    lines = ",\n".join(json.dumps(e, separators=(",", ":")) for e in entries)
    tail = json.dumps(head)
    return f'{{"displayTimeUnit":"ms","otherData":{tail},"traceEvents":[\n{lines}\n]}}\n'


def _process(plan: Plan, pid: int, name: str, run: Timeline) -> Iterator[TraceEvent]:
    yield _name(pid, 0, "process_name", {"name": name})
    yield _name(pid, 0, "process_sort_index", {"sort_index": pid})
    for tid, thread in _THREADS.items():
        yield _name(pid, tid, "thread_name", {"name": thread})
        yield _name(pid, tid, "thread_sort_index", {"sort_index": tid})
    yield from _iterations(plan, pid, run.bars)
    cold = cold_loads(run.bars, plan.facts)
    first = frozenset(cold)
    for event in run.bars:
        if event.queue != "free":
            yield _work(plan, pid, event, is_cold=event in first)
    yield from (_wait(plan, pid, w, cold) for w in run.waits)
    yield from _memory(plan, pid, run)


def _name(pid: int, tid: int, kind: str, args: TraceEvent) -> TraceEvent:
    return {"ph": "M", "pid": pid, "tid": tid, "name": kind, "args": args}


def _work(plan: Plan, pid: int, e: Bar, *, is_cold: bool) -> TraceEvent:
    """A load, told where it is cold, or a call."""
    args: TraceEvent = {"chunk": e.label, **_where(plan, e.segment, e.iteration)}
    if e.queue == "load":
        if is_cold:
            args["cold"] = True
        return _bar(pid, "load", e.label, _between(e), args | {"bytes": e.size_bytes})
    return _bar(pid, "compute", e.label, _between(e), args)


def _where(plan: Plan, segment: int, iteration: int) -> TraceEvent:
    return {"segment": plan.program.segments[segment].name, "iteration": iteration}


def _wait(plan: Plan, pid: int, w: Wait, cold: Sequence[Bar]) -> TraceEvent:
    args = {"waits_for": w.chunk, "cause": w.cause, **_where(plan, w.segment, w.iteration)}
    cold_s = while_s((w,), cold)
    if cold_s:
        args["cold_s"] = round(cold_s, 9)
    return _bar(pid, "wait", f"waits for {w.chunk}", _between(w), args)


def _between(e: Bar | Wait) -> tuple[float, float]:
    return e.start_s, e.end_s


def _bar(
    pid: int, category: str, name: str, between_s: tuple[float, float], args: TraceEvent
) -> TraceEvent:
    """A bar in its category's thread, from and to these seconds.

    Ends are rounded, not lengths: bars that touch must not overlap by a rounding error."""
    start, end = map(_ns, between_s)
    return {
        "ph": "X",
        "pid": pid,
        "tid": _THREAD_OF[category],
        "ts": start / 1000,
        "dur": (end - start) / 1000,
        "cat": category,
        "name": name,
        "args": args,
    }


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _iterations(plan: Plan, pid: int, events: Iterable[Bar]) -> Iterator[TraceEvent]:
    """From the first call of an iteration to the end of its last one."""
    ends: dict[tuple[int, int], tuple[float, float]] = {}
    for e in events:
        if e.queue == "compute":
            key = (e.segment, e.iteration)
            start = ends.get(key, (e.start_s, 0.0))[0]
            ends[key] = (start, e.end_s)
    for (segment, iteration), between_s in sorted(ends.items()):
        args = _where(plan, segment, iteration)
        s = plan.program.segments[segment]
        slice_ = "slice " if s.sliced else ""
        name = f"{s.name} {slice_}{iteration}" if s.is_loop else s.name
        yield _bar(pid, "iteration", name, between_s, args)


def _memory(plan: Plan, pid: int, run: Timeline) -> Iterator[TraceEvent]:
    """What memory holds, at each change; and the budget, from the beginning to the end."""
    for s in usage(plan, run.bars):
        args: TraceEvent = {
            "loaded": s.resident_bytes,
            "loading": s.loading_bytes,
            "activations": s.activation_bytes,
            "tensors": s.tensor_bytes,
        }
        yield _counter(pid, "memory", s.at_s, args)
    for at_s in (0.0, run.makespan_s):
        yield _counter(pid, "budget", at_s, {"bytes": plan.target.budget_bytes})


def _counter(pid: int, name: str, at_s: float, args: TraceEvent) -> TraceEvent:
    return {"ph": "C", "pid": pid, "tid": 0, "ts": _ns(at_s) / 1000, "name": name, "args": args}
