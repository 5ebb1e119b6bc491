"""What holds a plan up: one word and one sentence, for the page, `plan show` and `advise`.

What takes more of the predicted time is the bottleneck: computing, or waiting for loads. First
loads of packages are cold (`cost.py`), so what they cost is told apart from loading again.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from entracte.clock.predict import Prediction, Wait
from entracte.clock.timeline import Timeline
from entracte.inspect.causes import CAUSES
from entracte.ir import Bar, ChunkFacts, Forecast
from entracte.units import format_bytes, format_seconds

COMPUTING, LOADING, ACTIVATIONS = "computing", "loading", "activations"

FITS = "All of the loop fits: nothing to schedule in it; try less memory (target.memory)."
"""Said where all that loops call stays loaded: every policy that keeps what fits does the same."""


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What holds a run up. `kind`: `computing`, `loading`, or `activations` where these keep chunks
    from staying loaded; `sentence`: with figures, one or two sentences."""

    kind: str
    sentence: str


@dataclass(frozen=True, slots=True)
class FirstLoads:
    """The first loads of packages, which are cold: seconds of all of them, each alone.

    `wait_s`: the compute unit waits while one of them is under way. Of pages those count as first
    that bring in as many bytes as the chunk has.
    """

    chunks: int
    warm_s: float
    """If none of them were cold."""
    cold_s: float
    wait_s: float


def bottleneck_of(
    figures: Forecast | Prediction,
    run: Timeline | Prediction,
    facts: Sequence[ChunkFacts],
    budget_bytes: int,
) -> Bottleneck:
    """Of a plan, its forecast and predicted run; or of a prediction, which is both.

    A chunk that is loaded again and needs more than half of the budget for its activations is held
    up by these, not by what it weighs.
    """
    if figures.stall_s <= figures.compute_s:
        return Bottleneck(COMPUTING, _computing(figures, run, facts))
    again = loaded_again(run.bars, facts)
    need_bytes = max((f.activation_bytes for f in facts if f.id in again), default=0)
    waits = f"the compute unit waits {_waits(figures, run, facts)}"
    if need_bytes > budget_bytes // 2:
        return Bottleneck(
            ACTIVATIONS,
            f"Activations are the bottleneck: they take up to {format_bytes(need_bytes)} of the "
            f"budget's {format_bytes(budget_bytes)}, so chunks are loaded again and again; "
            f"{waits}.",
        )
    return Bottleneck(LOADING, f"Loading is the bottleneck: {waits}.")


def _computing(
    figures: Forecast | Prediction, run: Timeline | Prediction, facts: Sequence[ChunkFacts]
) -> str:
    stage, seconds = max(figures.stage_s, key=lambda s: s[1], default=("nothing", 0.0))
    if figures.stall_s <= 0:
        return f"Computing is the bottleneck, {stage} most of all; no call ever waits for a load."
    share = 100 * seconds / max(figures.makespan_s, 1e-12)
    return (
        f"Computing is the bottleneck: {stage} alone takes {share:.0f} % of the time. "
        f"Waiting for loads is {_waits(figures, run, facts)}."
    )


def _waits(
    figures: Forecast | Prediction, run: Timeline | Prediction, facts: Sequence[ChunkFacts]
) -> str:
    """`18.0 s of 20.0 s (90 %), all of it outside loops`, and why, if first loads are."""
    whole_s, stall_s = figures.makespan_s, figures.stall_s
    share = f"{100 * stall_s / max(whole_s, 1e-12):.0f} %"
    cause, most_s = max(figures.stalls, key=lambda s: s[1], default=("start", stall_s))
    part = "all of it" if len(figures.stalls) <= 1 else "most of it"
    seconds = "" if len(figures.stalls) <= 1 else f" ({format_seconds(most_s)})"
    first_s = first_loads(run, facts).wait_s
    why = f"; {format_seconds(first_s)} of it during first loads, which are cold"
    return (
        f"{format_seconds(stall_s)} of {format_seconds(whole_s)} ({share}), "
        f"{part} {CAUSES[cause]}{seconds}{why if first_s > stall_s / 2 else ''}"
    )


# ---------------------------------------------------------------- loads


def first_loads(run: Timeline | Prediction, facts: Sequence[ChunkFacts]) -> FirstLoads:
    """Of a run; all zero where the target knows no cold loads."""
    cold = {f.id: f for f in facts if f.cold_s > 0}
    loads = cold_loads(run.bars, facts)
    loaded = [cold[chunk] for chunk in dict.fromkeys(b.label for b in loads)]
    return FirstLoads(
        chunks=len(loaded),
        warm_s=sum(f.load_s for f in loaded),
        cold_s=sum(f.load_s + f.cold_s for f in loaded),
        wait_s=while_s(run.waits, loads),
    )


def cold_loads(bars: Sequence[Bar], facts: Sequence[ChunkFacts]) -> tuple[Bar, ...]:
    """By start: loads of each chunk with a cold one, until all of its bytes were there once."""
    sizes = {f.id: f.weight_bytes for f in facts if f.cold_s > 0}
    seen = Counter[str]()
    found = []
    loads = (b for b in bars if b.queue == "load" and b.label in sizes)
    for bar in sorted(loads, key=lambda b: b.start_s):
        if seen[bar.label] < sizes[bar.label]:
            found.append(bar)
        seen[bar.label] += bar.size_bytes
    return tuple(found)


def while_s(waits: Sequence[Wait], loads: Sequence[Bar]) -> float:
    """Seconds of waits in which one of the loads is under way. There is one loader, so no two of
    them are at once."""
    starts, ends = [b.start_s for b in loads], [b.end_s for b in loads]
    return sum(
        min(w.end_s, b.end_s) - max(w.start_s, b.start_s)
        for w in waits
        for b in loads[bisect_right(ends, w.start_s) : bisect_left(starts, w.end_s)]
    )


def loaded_again(bars: Sequence[Bar], facts: Sequence[ChunkFacts]) -> frozenset[str]:
    """Chunks with weights that a run loads more than once."""
    total = Counter[str]()
    for bar in bars:
        total[bar.label] += bar.size_bytes if bar.queue == "load" else 0
    return frozenset(f.id for f in facts if total[f.id] > f.weight_bytes)
