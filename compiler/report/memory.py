"""A run's memory for the picture: by kind, and its largest moment with names.

Memory over time itself is `compiler.residency.usage`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from compiler.ir import Event
from compiler.residency import Sample

KINDS = ("resident", "tensors", "activations", "loading")
"""Chunks that are loaded; tensors of the program; what the running call needs beside both; chunks
(or pages) whose load is under way: their memory is taken when the load begins."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The largest moment: its seconds, its bytes, and what they consist of: (name, kind, bytes),
    largest first."""

    at_s: float
    total_bytes: int
    parts: tuple[tuple[str, str, int], ...]


def by_kind(sample: Sample) -> tuple[int, ...]:
    """Bytes in the order of `KINDS`."""
    return (
        sample.resident_bytes,
        sample.tensor_bytes,
        sample.activation_bytes,
        sample.loading_bytes,
    )


def largest(events: Sequence[Event], samples: Sequence[Sample]) -> Moment | None:
    """What is in memory at the first of the largest moments. None when nothing ever is."""
    peak = max(samples, key=lambda s: s.total_bytes, default=None)
    if peak is None:
        return None
    time = peak.at_s
    resident, loading = _weights_at(events, time)
    parts = [(name, "resident", size) for name, size in resident.items()]
    parts += [(name, "loading", size) for name, size in loading.items()]
    running = next(
        (e for e in events if e.queue == "compute" and e.start_s <= time < e.end_s), None
    )
    if running is not None:
        parts.append((running.label, "activations", peak.activation_bytes))
    parts.append(("", "tensors", peak.tensor_bytes))
    parts.sort(key=lambda p: (-p[2], p[0]))
    return Moment(time, peak.total_bytes, tuple(p for p in parts if p[2] > 0))


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
