"""Memory over a timeline, by what it is, from its events alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compiler.ir import Call, Event, Plan, Program
from compiler.slots import held_bytes

KINDS = ("resident", "tensors", "activations", "loading")
"""Chunks that are loaded; tensors of the program; what the running call needs beside both; chunks
(or pages) whose load is under way: their memory is taken when the load begins."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of each kind from `at_s[i]` up to the next; `kinds` in the order of `KINDS`."""

    at_s: tuple[float, ...]
    kinds: tuple[tuple[int, ...], ...]

    def total(self, i: int) -> int:
        return sum(series[i] for series in self.kinds)

    @property
    def peak(self) -> int:
        """The first index with the largest sum."""
        return max(range(len(self.at_s)), key=lambda i: (self.total(i), -i))


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest moment: its seconds, its bytes, and what they consist of (name, kind, bytes)."""

    at_s: float
    total_bytes: int
    parts: tuple[tuple[str, str, int], ...]


def memory_over(
    plan: Plan, events: Sequence[Event], activations: Mapping[str, int] | None = None
) -> Memory:
    """Memory at every change. Between two calls the tensors are those that both have alive: never
    less than what is really alive there. `activations`: bytes of each chunk's calls, where they
    were observed; else what the plan claims."""
    needs = {f.id: f.activation_bytes for f in plan.facts} | dict(activations or {})
    changes = sorted(_changes(plan.program, needs, events), key=lambda c: c[0])
    now = dict.fromkeys(KINDS, 0)
    at: list[float] = []
    rows: list[tuple[int, ...]] = []
    for time, kind, delta in changes:
        now[kind] += delta
        row = tuple(now[k] for k in KINDS)
        if at and at[-1] == time:
            rows[-1] = row
        else:
            at.append(time)
            rows.append(row)
    kinds = zip(*rows, strict=True) if rows else [()] * len(KINDS)
    return Memory(tuple(at), tuple(tuple(series) for series in kinds))


def peak_of(plan: Plan, events: Sequence[Event], memory: Memory) -> Peak | None:
    """What is in memory at the largest moment. None when nothing ever is."""
    if not memory.at_s:
        return None
    peak = memory.peak
    time = memory.at_s[peak]
    resident, loading = _weights_at(events, time)
    parts = [(name, "resident", size) for name, size in resident.items() if size > 0]
    parts += [(name, "loading", size) for name, size in loading.items() if size > 0]
    running = next(
        (e for e in events if e.queue == "compute" and e.start_s <= time < e.end_s), None
    )
    sizes = dict(zip(KINDS, (series[peak] for series in memory.kinds), strict=True))
    if running is not None:
        parts.append((running.label, "activations", sizes["activations"]))
    parts.append(("", "tensors", sizes["tensors"]))
    parts.sort(key=lambda p: (-p[2], p[0]))
    return Peak(time, memory.total(peak), tuple(p for p in parts if p[2] > 0))


def _weights_at(events: Sequence[Event], time: float) -> tuple[Counter[str], Counter[str]]:
    """Bytes of each chunk that are loaded, and that are being loaded, from `time` on."""
    resident: Counter[str] = Counter()
    loading: Counter[str] = Counter()
    for e in events:
        if e.queue == "load" and e.start_s <= time:
            (resident if e.end_s <= time else loading)[e.label] += e.size_bytes
        elif e.queue == "free" and e.start_s <= time:
            resident[e.label] -= e.size_bytes
    return resident, loading


def _changes(
    program: Program, needs: Mapping[str, int], events: Sequence[Event]
) -> list[tuple[float, str, int]]:
    changes: list[tuple[float, str, int]] = []
    for e in events:
        if e.queue == "load":
            changes.append((e.start_s, "loading", e.size_bytes))
            changes.append((e.end_s, "loading", -e.size_bytes))
            changes.append((e.end_s, "resident", e.size_bytes))
        elif e.queue == "free":
            changes.append((e.end_s, "resident", -e.size_bytes))
    return changes + _calls(program, needs, events)


def _calls(
    program: Program, needs: Mapping[str, int], events: Sequence[Event]
) -> list[tuple[float, str, int]]:
    """Activations while calls run; tensors during and between them."""
    changes: list[tuple[float, str, int]] = []
    held = 0
    calls = sorted((e for e in events if e.queue == "compute"), key=lambda e: e.start_s)
    for e, tensors in zip(calls, _tensors(program, calls), strict=True):
        between = min(held, tensors)
        if changes:
            changes.append((changes[-1][0], "tensors", between - held))
        changes.append((e.start_s, "tensors", tensors - (between if changes else 0)))
        changes.append((e.start_s, "activations", needs[e.label]))
        changes.append((e.end_s, "activations", -needs[e.label]))
        held = tensors
    return changes


def _tensors(program: Program, calls: Sequence[Event]) -> list[int]:
    """Bytes of the tensors alive during each call, given by start."""
    held = held_bytes(program)
    steps: dict[tuple[int, str], list[int]] = {}
    for s, segment in enumerate(program.segments):
        for k, step in enumerate(segment.steps):
            if isinstance(step, Call):
                steps.setdefault((s, step.chunk), []).append(k)
    # A chunk that an iteration calls twice: the first event is of the first call.
    seen: Counter[tuple[int, int, str]] = Counter()
    result = []
    for e in calls:
        own = steps[e.segment, e.label]
        place = (e.segment, e.iteration, e.label)
        result.append(held[e.segment, own[seen[place] % len(own)]])
        seen[place] += 1
    return result
