"""A plan and a run of it -> what was observed of each chunk: its loads and calls, one by one.

A load and a call that overlap slow each other down (`Target.contention`). What a bar would have
taken alone is what it took outside the other queue's bars, and 1 / contention of the rest: the
inverse of what the clock does.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from entracte.cost import MATMUL
from entracte.ir import Bar, Call, Chunk, Plan, Run, Variant, Work

FIRST_LOAD, LOAD, CALL = "first load", "load", "call"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Loads, or calls, of one chunk that are alike.

    Attributes:
        kind: `first load` of a package or page in the run, any other `load`, or `call`.
        part: what is called; of loads the chunk.
        share: of the package that one load brings in: 1, or less for a page.
        size_bytes: of weights, that one load brings in; 0 of calls.
        work: of one call, by class of operations.
        seconds: of each, if nothing had run beside it; a call of a map's slices is one of each.
    """

    kind: str
    chunk: str
    part: Chunk | Variant
    share: float = 1.0
    size_bytes: int = 0
    work: tuple[Work, ...] = ()
    seconds: tuple[float, ...] = field(default=())

    @property
    def typical_s(self) -> float:
        """The median."""
        return median(self.seconds)


def observations(plan: Plan, run: Run) -> tuple[Observation, ...]:
    """Everything that is of the target's own compute unit, by chunk in the plan's order.

    Args:
        run: of this plan (`run.record.run_of`).
    """
    unit = plan.target.compute_unit
    own = {c.id: c for c in plan.chunks if c.compute_unit in ("", unit)}
    alone = _alone(run.bars, plan.target.contention)
    found: dict[tuple[str, str, float, int], list[float]] = defaultdict(list)
    parts: dict[tuple[str, str, float, int], Chunk | Variant] = {}
    for kind, chunk, part, share, size, seconds in _each(plan, run, alone):
        if chunk in own:
            key = (kind, chunk if part is own[chunk] else f"{chunk}@{part_name(part)}", share, size)
            parts[key] = part
            found[key].append(seconds)
    place = {c: i for i, c in enumerate(own)}
    order = sorted(found, key=lambda k: (place[k[1].partition("@")[0]], k))
    return tuple(
        Observation(
            kind=key[0],
            chunk=key[1].partition("@")[0],
            part=parts[key],
            share=key[2],
            size_bytes=key[3],
            work=work_of(parts[key]) if key[0] == CALL else (),
            seconds=tuple(found[key]),
        )
        for key in order
    )


def part_name(part: Chunk | Variant) -> str:
    """The function; of a chunk itself `main`."""
    return part.name if isinstance(part, Variant) else "main"


def work_of(part: Chunk | Variant) -> tuple[Work, ...]:
    """By class; all of it matrix products where it is not told apart, as in `cost.exec_seconds`."""
    return part.work or (Work(MATMUL, part.flops, part.moved_bytes),)


_Each = tuple[str, str, Chunk | Variant, float, int, float]


def _each(plan: Plan, run: Run, alone: Sequence[float]) -> Iterator[_Each]:
    chunks = {c.id: c for c in plan.chunks}
    size = {f.id: f.weight_bytes for f in plan.facts}
    # Of what an earlier run left in memory, no load is the package's first.
    loaded = dict.fromkeys(size, 0) | {name: size[name] for name in run.carried}
    for bar, seconds in zip(run.bars, alone, strict=True):
        chunk = chunks[bar.label]
        if bar.queue == "load":
            if bar.label in run.carried and bar.start_s == bar.end_s:
                continue
            whole = size[bar.label]
            kind = FIRST_LOAD if loaded[bar.label] < max(whole, 1) else LOAD
            loaded[bar.label] += max(bar.size_bytes, 1)
            share = bar.size_bytes / whole if whole else 1.0
            yield kind, bar.label, chunk, share, bar.size_bytes, seconds
        elif bar.queue == "compute":
            step = plan.program.segments[bar.segment].steps[bar.step]
            assert isinstance(step, Call)
            part = chunk.part_of(step.function_at(bar.iteration))
            yield CALL, bar.label, part, 1.0, 0, seconds / step.repeat


def _alone(bars: Sequence[Bar], contention: float) -> list[float]:
    """Seconds of each bar, if nothing had run beside it."""
    took = [b.end_s - b.start_s for b in bars]
    if contention <= 1:
        return took
    busy = {queue: _busy(bars, queue) for queue in ("load", "compute")}
    other = {"load": "compute", "compute": "load"}
    kept = 1 - 1 / contention
    return [
        seconds
        if b.queue not in other
        else seconds - kept * min(seconds, _between(*busy[other[b.queue]], b))
        for b, seconds in zip(bars, took, strict=True)
    ]


_Curve = tuple[np.ndarray, np.ndarray]


def _busy(bars: Sequence[Bar], queue: str) -> _Curve:
    """Times, and the seconds before each in which a queue had a bar."""
    mine = sorted((b.start_s, b.end_s) for b in bars if b.queue == queue)
    times, sums = [0.0], [0.0]
    for start, end in mine:
        begin = max(start, times[-1])
        times += [begin, max(begin, end)]
        sums += [sums[-1], sums[-1] + max(0.0, end - begin)]
    return np.array(times), np.array(sums)


def _between(times: np.ndarray, sums: np.ndarray, bar: Bar) -> float:
    begin, end = np.interp([bar.start_s, bar.end_s], times, sums)
    return float(end - begin)
