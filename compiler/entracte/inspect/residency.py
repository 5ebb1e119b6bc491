"""What is in memory when: over time, chunk by chunk, and at its fullest moment by name.

Made from a plan and the bars of a run of it, predicted (`entracte.clock.timeline`) or observed
(`Run.bars`). Tensors between two calls are those that the first of them leaves. What can be in
memory for any timing is `entracte.inspect.peak`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from entracte.ir import Bar, Plan, Program
from entracte.program.steps import lifetimes


@dataclass(frozen=True, slots=True)
class Sample:
    """What memory holds from `at_s` until the next sample."""

    at_s: float
    resident_bytes: int
    """Weights of loaded chunks, called or not."""
    loading_bytes: int
    activation_bytes: int
    tensor_bytes: int

    @property
    def total_bytes(self) -> int:
        """The sum of all that is there."""
        return self.resident_bytes + self.loading_bytes + self.activation_bytes + self.tensor_bytes


@dataclass(frozen=True, slots=True)
class Stay:
    """A stay in memory: from the start of a load to the free of the chunk's last page."""

    chunk: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Fullest:
    """The largest moment of a run: its seconds, its bytes, and what they consist of: (name, kind,
    bytes), largest first. Kinds: `resident` and `loading` chunks, the `activations` of the chunk
    that runs, `tensors` (without a name)."""

    at_s: float
    total_bytes: int
    parts: tuple[tuple[str, str, int], ...]


# ---------------------------------------------------------------- over time


@dataclass(frozen=True, slots=True)
class _Change:
    """At a moment: bytes added to a part of the memory, or set where `absolute`."""

    at_s: float
    part: str
    size_bytes: int
    absolute: bool = False


def usage(
    plan: Plan, bars: Sequence[Bar], activations: Mapping[str, int] | None = None
) -> tuple[Sample, ...]:
    """Memory over time: one sample for each moment at which something changes.

    `activations`: bytes of chunks' calls where they were observed; else what the plan claims.
    """
    claimed = {f.id: f.activation_bytes for f in plan.facts}
    now = {"resident": 0, "loading": 0, "activation": 0, "tensor": 0}
    samples: list[Sample] = []
    for change in _changes(plan, bars, claimed | dict(activations or {})):
        before = 0 if change.absolute else now[change.part]
        now[change.part] = before + change.size_bytes
        sample = Sample(
            change.at_s, now["resident"], now["loading"], now["activation"], now["tensor"]
        )
        if samples and samples[-1].at_s == change.at_s:
            samples[-1] = sample
        else:
            samples.append(sample)
    return tuple(samples)


def _changes(plan: Plan, bars: Sequence[Bar], activations: Mapping[str, int]) -> list[_Change]:
    """By time; at one moment calls end, then memory is given back, then loads and calls begin."""
    calls, frees, loads, starts = [], [], [], []
    held = _Tensors(plan.program, bars)
    for e in sorted(bars, key=lambda e: (e.start_s, e.end_s)):
        if e.queue == "free":
            frees.append(_Change(e.start_s, "resident", -e.size_bytes))
        elif e.queue == "load":
            loads.append(_Change(e.start_s, "loading", e.size_bytes))
            loads.append(_Change(e.end_s, "loading", -e.size_bytes))
            loads.append(_Change(e.end_s, "resident", e.size_bytes))
        else:
            during, after = held.of(e)
            if e.start_s < e.end_s:
                starts.append(_Change(e.start_s, "activation", activations[e.label], True))
                starts.append(_Change(e.start_s, "tensor", during, True))
            calls.append(_Change(e.end_s, "activation", 0, True))
            calls.append(_Change(e.end_s, "tensor", after, True))
    return sorted(chain(calls, frees, loads, starts), key=lambda c: c.at_s)


class _Tensors:
    """Bytes of tensors during and after each call."""

    def __init__(self, program: Program, bars: Sequence[Bar]) -> None:
        self.last: dict[int, int] = {}
        """Segment -> its last iteration, which may have come early."""
        for bar in bars:
            if bar.queue == "compute":
                self.last[bar.segment] = max(bar.iteration, self.last.get(bar.segment, 0))
        self.size = {t.name: t.size_bytes for t in program.tensors}
        self.alive = lifetimes(program)
        self.made: dict[str, tuple[int, int]] = {}
        """Tensor -> segment and step of the first that writes it."""
        for i, segment in enumerate(program.segments):
            for k, step in enumerate(segment.steps):
                for binding in step.outputs:
                    self.made.setdefault(binding.tensor, (i, k))

    def of(self, bar: Bar) -> tuple[int, int]:
        """During a call, and after it."""
        alive = self.alive[bar.segment, bar.step]
        last = bar.iteration == self.last[bar.segment]
        ends = alive.at_end if last else alive.after
        return self._bytes(alive.during, bar), self._bytes(ends, bar)

    def _bytes(self, names: frozenset[str], bar: Bar) -> int:
        return sum(self.size[x] for x in names if not self._is_to_come(x, bar))

    def _is_to_come(self, name: str, bar: Bar) -> bool:
        """What a loop writes piece by piece is alive in all of its later iterations; in the first
        one it is not there before its writer."""
        segment, step = self.made.get(name, (-1, -1))
        return bar.iteration == 0 and segment == bar.segment and step > bar.step


# ---------------------------------------------------------------- moments and stays


def fullest(bars: Sequence[Bar], samples: Sequence[Sample]) -> Fullest | None:
    """What is in memory at the first of the largest moments. None when nothing ever is."""
    peak = max(samples, key=lambda s: s.total_bytes, default=None)
    if peak is None:
        return None
    time = peak.at_s
    resident, loading = _weights_at(bars, time)
    parts = [(name, "resident", size) for name, size in resident.items()]
    parts += [(name, "loading", size) for name, size in loading.items()]
    running = next((e for e in bars if e.queue == "compute" and e.start_s <= time < e.end_s), None)
    if running is not None:
        parts.append((running.label, "activations", peak.activation_bytes))
    parts.append(("", "tensors", peak.tensor_bytes))
    parts.sort(key=lambda p: (-p[2], p[0]))
    return Fullest(time, peak.total_bytes, tuple(p for p in parts if p[2] > 0))


def _weights_at(bars: Sequence[Bar], time: float) -> tuple[Counter[str], Counter[str]]:
    """Bytes of each chunk that are loaded, and that are being loaded, from `time` on."""
    resident: Counter[str] = Counter()
    loading: Counter[str] = Counter()
    for e in bars:
        if e.queue == "load" and e.start_s <= time:
            (resident if e.end_s <= time else loading)[e.label] += e.size_bytes
        elif e.queue == "free" and e.start_s <= time:
            resident[e.label] -= e.size_bytes
    return resident, loading


def stays_of(bars: Sequence[Bar]) -> tuple[Stay, ...]:
    """Every stay of every chunk, by its start. Pages of a chunk make one stay."""
    copies: dict[str, int] = {}
    begun: dict[str, float] = {}
    made: list[Stay] = []
    order = {"free": 0, "load": 1}
    changes = [e for e in bars if e.queue in order]
    for e in sorted(changes, key=lambda e: (e.start_s, order[e.queue])):
        before = copies.get(e.label, 0)
        copies[e.label] = before + (1 if e.queue == "load" else -1)
        if before == 0:
            begun[e.label] = e.start_s
        if copies[e.label] == 0:
            made.append(Stay(e.label, begun.pop(e.label), e.end_s))
    last = max((e.end_s for e in bars), default=0.0)
    made += [Stay(chunk, start, last) for chunk, start in begun.items()]
    return tuple(sorted(made, key=lambda s: (s.start_s, s.chunk)))
