"""Equal blocks of a stage: which chunks can be one graph that takes their weights as inputs.

Equality is of what is computed, never of names: operations in the same order, each with the same
code (its kind, arguments, shapes and types), wired alike, with weights of the same shapes. That is
what a chunk's form says (`entracte.store.form`).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from entracte.decide.partition import Measured
from entracte.ir import Chunk
from entracte.store.form import form_of

__all__ = ["LEAST_BLOCKS", "LEAST_BYTES", "equal_blocks", "with_shares"]

LEAST_BYTES = 32 << 10
"""Of a block's weights: a graph takes about as much, and would save nothing."""
LEAST_BLOCKS = 3
"""That share a graph: two conversions show where the weights are in it."""


def equal_blocks(measured: Measured) -> tuple[int, ...]:
    """Positions at which blocks that repeat begin and end, by rising number; none where none do.

    The longest stretch of operations that repeats with any period is cut into periods, at the
    cheapest of the places that are legal for all of them; then what is left on both sides.
    """
    codes: dict[str, int] = {}
    numbers = [codes.setdefault(op.code, len(codes)) for op in measured.graph.ops]
    return tuple(sorted(_blocks(measured, numbers, 0, len(numbers))))


def with_shares(measured: Measured, chunks: Sequence[Chunk]) -> tuple[Chunk, ...]:
    """The chunks of a graph, each equal one with the first chunk that is like it."""
    alike: dict[str, list[str]] = {}
    keys = [form_of(measured.graph, c).twin_key for c in chunks]
    for chunk, key in zip(chunks, keys, strict=True):
        if chunk.weight_bytes >= LEAST_BYTES:
            alike.setdefault(key, []).append(chunk.id)
    shared = {key: ids[0] for key, ids in alike.items() if len(ids) >= LEAST_BLOCKS}
    return tuple(
        replace(c, shares=shared.get(key, "") if c.weight_bytes >= LEAST_BYTES else "")
        for c, key in zip(chunks, keys, strict=True)
    )


def _blocks(measured: Measured, numbers: Sequence[int], start: int, stop: int) -> set[int]:
    found = _repeated(measured, numbers, start, stop)
    if not found:
        return set()
    left = _blocks(measured, numbers, start, found[0])
    return left | set(found) | _blocks(measured, numbers, found[-1], stop)


def _repeated(measured: Measured, numbers: Sequence[int], start: int, stop: int) -> tuple[int, ...]:
    """The bounds of the blocks that hold most weights of all that repeat inside [start, stop)."""
    weights = measured.position_weights

    def held(low: int, high: int) -> int:
        return weights[high] - weights[low]

    # What most can be had of first; of equally much the shortest period: most blocks of a graph.
    tried = [(start + low, start + high, p) for p, low, high in _stretches(numbers[start:stop])]
    best: tuple[int, ...] = ()
    for low, high, period in sorted(tried, key=lambda t: (-held(t[0], t[1]), t[2])):
        if best and held(low, high) <= held(best[0], best[-1]):
            break
        bounds = _cut(measured, low, high, period)
        is_worth = bounds and held(bounds[0], bounds[1]) >= LEAST_BYTES
        if is_worth and (not best or held(bounds[0], bounds[-1]) > held(best[0], best[-1])):
            best = bounds
    return best


def _stretches(numbers: Sequence[int]) -> list[tuple[int, int, int]]:
    """(period, start, stop) of the longest stretch that repeats with each period at least once."""
    import numpy as np

    codes, found = np.array(numbers), []
    for period in range(1, len(codes) // 2 + 1):
        same = np.concatenate(([0], codes[:-period] == codes[period:], [0]))
        edges = np.flatnonzero(np.diff(same))
        runs = list(zip(edges[::2], edges[1::2], strict=True))
        low, high = max(runs, key=lambda r: r[1] - r[0], default=(0, 0))
        if high - low >= period:
            found.append((period, int(low), int(high) + period))
    return found


def _cut(measured: Measured, low: int, high: int, period: int) -> tuple[int, ...]:
    """Bounds of equal blocks in a stretch: the cheapest of the places in its first period at which
    most of them begin and end at legal cuts."""
    legal = {c.position: c.size_bytes for c in measured.cuts}
    legal |= {0: 0, len(measured.graph.ops): 0}
    places = [
        tuple(b for b in range(at, high + 1, period) if b in legal)
        for at in range(low, min(low + period, high) + 1)
    ]
    best: tuple[int, ...] = ()
    for tried in sorted(places, key=lambda t: (-len(t), sum(legal[b] for b in t), t)):
        if len(tried) <= max(len(best), LEAST_BLOCKS):
            break
        best = max(best, _alike(measured, tried, period), key=len)
    return best if len(best) > LEAST_BLOCKS else ()


def _alike(measured: Measured, bounds: Sequence[int], period: int) -> tuple[int, ...]:
    """The longest run of neighbouring blocks with one form."""
    best: list[int] = []
    run: list[int] = []
    before = ""
    for start, stop in pairwise(bounds):
        is_whole = stop - start == period
        key = form_of(measured.graph, measured.chunk(start, stop, 0)).twin_key if is_whole else ""
        run = [*run, stop] if key and key == before and run else [start, stop]
        before = key
        if key and len(run) > len(best):
            best = run
    return tuple(best)
