"""Which chunks of a loop to keep loaded: sets worth trying, as tuples of positions.

Positions are 0 .. K - 1 in order of use; weights and times are lists of that length.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

Positions = tuple[int, ...]

_SMALL = 8
"""A chunk of less than an eighth of the average is small."""
_COARSE = 12
"""Sizes looked at where few are enough."""


def strided(shares: Sequence[float], streamed: float) -> Positions:
    """Keep what an error diffusion over the cycle does not stream: interleaved pinning.

    `shares` are what each chunk counts for (ones, bytes or load seconds), `streamed` in [0, 1] is
    the share of their sum to stream. Source: Bresenham 1965, as `dither` in the shared reference
    scheduling.md, section 2: spread streamed chunks evenly, so that each load has the same
    computing to hide behind; a kept prefix would leave one long run of loads.
    """
    kept, error = [], 0.0
    for position, share in enumerate(shares):
        error += streamed * share
        # Streaming this chunk overshoots by less than keeping it falls behind.
        if share > 0 and streamed > 0 and error >= share / 2:
            error -= share
        else:
            kept.append(position)
    return tuple(kept)


def spread(total: int, keep: int) -> Positions:
    """`keep` of `total` positions at even distances."""
    return tuple(i for i in range(total) if (i + 1) * keep // total > i * keep // total)


def evenly(total: int) -> Iterator[Positions]:
    """Of every size but none, the largest first."""
    return (spread(total, keep) for keep in range(total, 0, -1))


def few(sets: Sequence[Positions]) -> Iterator[Positions]:
    """Of the first ones more than of the others: 0, 1, 3, 9, 27 and so on."""
    at = 0
    while at < len(sets):
        yield sets[at]
        at = 3 * at or 1


def sweep(
    weights: Sequence[int], load_s: Sequence[float], *, coarse: bool = False, by_count: bool = False
) -> Iterator[Positions]:
    """Strided sets of every size: by count, by bytes and by load time. The fullest come first.

    Chunks far smaller than the average cost little to keep and a load each to stream: always
    kept. `by_count` leaves out the others, which for equal chunks are the same; `coarse` is for a
    first look: a dozen sizes, by count.
    """
    mean = sum(weights) / len(weights)
    large = [i for i, w in enumerate(weights) if w * _SMALL > mean]
    small = sorted(set(range(len(weights))) - set(large))
    step = max(1, len(large) // _COARSE) if coarse else 1
    for keep in range(len(large), -1, -step):
        streamed = 1 - keep / max(1, len(large))
        sets = [spread(len(large), keep)]
        if not coarse and not by_count:
            sets.append(strided([weights[i] for i in large], streamed))
            sets.append(strided([load_s[i] for i in large], streamed))
        for chosen in sets:
            yield tuple(sorted([*small, *(large[i] for i in chosen)]))


def prefixes(total: int) -> Iterator[Positions]:
    """The first chunks, as the published rule keeps them, and the last ones."""
    for keep in range(total, 0, -1):
        yield tuple(range(keep))
        yield tuple(range(total - keep, total))


def neighbours(kept: Positions, load_s: Sequence[float]) -> Iterator[Positions]:
    """Sets that differ by one chunk more, one exchanged, or one less; slow loads first."""
    own = set(kept)
    outside = sorted((c for c in range(len(load_s)) if c not in own), key=lambda c: -load_s[c])
    for new in outside:
        yield tuple(sorted([*kept, new]))
    for new in outside:
        for old in kept:
            yield tuple(sorted([*(own - {old}), new]))
    for old in kept:
        yield tuple(sorted(own - {old}))


def subsets(total: int) -> Iterator[Positions]:
    """All of them, the largest first: for loops of few chunks."""
    for size in range(total, -1, -1):
        yield from combinations(range(total), size)


def belady(
    weights: Sequence[int],
    load_s: Sequence[float],
    exec_s: Sequence[float],
    room: Sequence[int],
    lookahead: int,
) -> Iterator[Positions]:
    """What furthest-next-use eviction keeps when loads run `lookahead` uses ahead.

    Runs the loop under nominal times (Cao, Felten, Karlin, Li 1995: Aggressive is `lookahead` of
    a whole cycle) and yields, for every size, the chunks that were reloaded least often. `room[k]`
    is what chunks may take while step k runs, in bytes.
    """
    reloads = _reloads(weights, load_s, exec_s, room, lookahead)
    order = sorted(range(len(weights)), key=lambda c: (reloads[c], c))
    for keep in sorted({sum(r <= level for r in reloads) for level in set(reloads)}):
        yield tuple(sorted(order[:keep]))


_CYCLES = 8


def _reloads(
    weights: Sequence[int],
    load_s: Sequence[float],
    exec_s: Sequence[float],
    room: Sequence[int],
    lookahead: int,
) -> list[int]:
    """How often each chunk is loaded in `_CYCLES` cycles."""
    total = len(weights)
    present: dict[int, float] = {}
    reloads = [0] * total
    now = loader = 0.0
    for t in range(_CYCLES * total):
        # Loads that start before step t ends: while the loader would be idle.
        for use in range(t, min(t + lookahead, t + total - 1) + 1):
            chunk = use % total
            if chunk in present:
                continue
            start = max(loader, now)
            ends = max(now, present.get(t % total, now)) + exec_s[t % total]
            if use > t and start >= ends:
                break
            if not _make_room(present, weights, room, t, use):
                break
            loader = start + load_s[chunk]
            present[chunk] = loader
            reloads[chunk] += 1
        now = max(now, present[t % total]) + exec_s[t % total]
    return reloads


def _make_room(
    present: dict[int, float], weights: Sequence[int], room: Sequence[int], t: int, use: int
) -> bool:
    """Drop chunks used later than step `use`, the furthest first, until it fits; or say no."""
    total = len(weights)
    limit = min(room[x % total] for x in range(t, use + 1)) - weights[use % total]

    def ahead(chunk: int) -> int:
        return (chunk - t) % total

    gone: list[int] = []
    held = sum(weights[c] for c in present)
    for chunk in sorted(present, key=ahead, reverse=True):
        if held <= limit:
            break
        if ahead(chunk) <= use - t:
            return False
        gone.append(chunk)
        held -= weights[chunk]
    if held > limit:
        return False
    for chunk in gone:
        del present[chunk]
    return True
