"""A timeline as columns of whole numbers: small in the page, exact to a billionth of the run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10

from entracte.clock.timeline import Timeline
from entracte.inspect.residency import Fullest, Sample, fullest, usage
from entracte.ir import Bar, Plan
from entracte.report.lanes import LoopTimes, Stall, View, bars, loops, stalls, windows

KINDS = ("resident", "tensors", "activations", "loading")
"""The picture's layers, from below: chunks that are loaded; tensors of the program; what the
running call needs beside both; chunks (or pages) being loaded: their memory is taken at once."""


def by_kind(sample: Sample) -> tuple[int, ...]:
    """Bytes in the order of `KINDS`."""
    s = sample
    return (s.resident_bytes, s.tensor_bytes, s.activation_bytes, s.loading_bytes)


@dataclass(frozen=True, slots=True)
class Columns:
    """Bars or waits. `starts` are differences to the one before; with `spans` in ticks."""

    chunks: tuple[int, ...]
    segments: tuple[int, ...]
    iterations: tuple[int, ...]
    starts: tuple[int, ...]
    spans: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    """Bytes loaded; the chunk's own where left out."""
    whys: tuple[int, ...] = ()
    """Of waits: which sentence of `Track.sentences`."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Memory over time: differences, `at` in ticks and each kind in `unit_bytes`, which is a
    millionth of the largest sum or less. The peak is told in bytes."""

    unit_bytes: int
    at: tuple[int, ...]
    kinds: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A chunk's weights in memory over time, also while they load: differences, `at` in ticks and
    `sizes` in the `unit_bytes` of `Drawn`."""

    at: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Track:
    """One run, predicted or observed."""

    name: str
    tick_s: float
    makespan_s: float
    loads: Columns
    calls: Columns
    waits: Columns
    sentences: tuple[str, ...]
    memory: Drawn
    held: tuple[Held, ...]
    """Of each chunk of the plan."""
    peak: Fullest | None
    windows: tuple[View, ...]
    loops: tuple[LoopTimes, ...]
    limits: tuple[tuple[str, int], ...]
    """Lines in the picture of memory, (name, bytes): the budget, and a peak where it is another."""
    planned: bool = True
    """It is a prediction, and no observation."""
    plan: int = 0
    """Which of the page's plans it is of."""


def track_of(
    plan: Plan,
    name: str,
    timeline: Timeline,
    limits: tuple[tuple[str, int], ...],
    activations: Mapping[str, int] | None = None,
) -> Track:
    """The columns of a run, whose chunks are numbered as in `plan.chunks`."""
    events, makespan_s = timeline.bars, timeline.makespan_s
    index = {c.id: i for i, c in enumerate(plan.chunks)}
    sizes = {f.id: f.weight_bytes for f in plan.facts}
    tick = 10.0 ** (floor(log10(makespan_s)) - 8) if makespan_s > 0 else 1e-9
    shown = bars(events)
    explained = stalls(events, timeline.waits, makespan_s)
    sentences = tuple(dict.fromkeys(s.why for s in explained))
    samples = usage(plan, events, activations)
    found = loops(plan.program, events)
    memory = _drawn(samples, tick)
    loads = [e for e in shown if e.queue == "load"]
    return Track(
        name=name,
        tick_s=tick,
        makespan_s=makespan_s,
        loads=_columns(loads, index, tick, sizes),
        calls=_columns([e for e in shown if e.queue == "compute"], index, tick, None),
        waits=_waits(explained, index, tick, {w: i for i, w in enumerate(sentences)}),
        sentences=sentences,
        memory=memory,
        held=_held(events, list(index), tick, memory.unit_bytes),
        peak=fullest(events, samples),
        windows=windows(found, makespan_s),
        loops=found,
        limits=limits,
    )


def _columns(
    events: Sequence[Bar], index: dict[str, int], tick: float, own: dict[str, int] | None
) -> Columns:
    starts = [round(e.start_s / tick) for e in events]
    whole = own is None or all(e.size_bytes == own[e.label] for e in events)
    return Columns(
        tuple(index[e.label] for e in events),
        tuple(e.segment for e in events),
        tuple(e.iteration for e in events),
        _differences(starts),
        tuple(round(e.end_s / tick) - s for e, s in zip(events, starts, strict=True)),
        () if whole else tuple(e.size_bytes for e in events),
    )


def _waits(
    found: Sequence[Stall], index: dict[str, int], tick: float, why: dict[str, int]
) -> Columns:
    starts = [round(s.wait.start_s / tick) for s in found]
    return Columns(
        tuple(index[s.wait.chunk] for s in found),
        tuple(s.wait.segment for s in found),
        tuple(s.wait.iteration for s in found),
        _differences(starts),
        tuple(round(s.wait.end_s / tick) - t for s, t in zip(found, starts, strict=True)),
        whys=tuple(why[s.why] for s in found),
    )


def _drawn(samples: Sequence[Sample], tick: float) -> Drawn:
    most = max((s.total_bytes for s in samples), default=0)
    unit = 2 ** max(0, most.bit_length() - 21)
    return Drawn(
        unit,
        _differences(round(s.at_s / tick) for s in samples),
        tuple(
            _differences(round(b / unit) for b in k)
            for k in zip(*map(by_kind, samples), strict=True)
        ),
    )


def _held(events: Sequence[Bar], chunks: Sequence[str], tick: float, unit: int) -> tuple[Held, ...]:
    """A load's memory is taken at its start. At one moment the last change counts."""
    changes: dict[str, list[tuple[float, int]]] = {c: [] for c in chunks}
    for e in events:
        if e.queue != "compute":
            size = e.size_bytes if e.queue == "load" else -e.size_bytes
            changes[e.label].append((e.start_s, size))
    return tuple(_held_one(sorted(changes[c]), tick, unit) for c in chunks)


def _held_one(changes: Sequence[tuple[float, int]], tick: float, unit: int) -> Held:
    there, sums = 0, dict[int, int]()
    for at_s, size in changes:
        there += size
        sums[round(at_s / tick)] = round(there / unit)
    return Held(_differences(sums), _differences(sums.values()))


def _differences(values: Iterable[int]) -> tuple[int, ...]:
    result, before = [], 0
    for value in values:
        result.append(value - before)
        before = value
    return tuple(result)
