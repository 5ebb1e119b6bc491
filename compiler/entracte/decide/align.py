"""Where two stage graphs with the same weights may be cut alike.

Two positions are alike if the same weights are used before them and the same after them; only the
weights that both graphs have count. What two graphs compute between two such pairs of positions
uses the same weights, so it can be two functions of one package.
"""

from collections.abc import Iterator, Mapping, Sequence

from entracte.ir import Cut, StageGraph

__all__ = ["aligned", "rising"]

_Class = tuple[frozenset[str], frozenset[str]]
"""Weights used before a position, and after it."""


def aligned(main: StageGraph, other: StageGraph) -> dict[int, int]:
    """Cut of `main` -> the cheapest cut of `other` that is alike; the ends of both included.

    Cuts before which, or after which, no weight is used are left out.
    """
    shared = frozenset(w.name for w in main.weights) & {w.name for w in other.weights}
    cheapest: dict[_Class, tuple[int, int]] = {}
    for cut, place in _placed(other, shared):
        at = (cut.size_bytes, cut.position)
        cheapest[place] = min(at, cheapest.get(place, at))
    found = {0: 0, len(main.ops): len(other.ops)}
    for cut, place in _placed(main, shared):
        if place in cheapest and all(place):
            found[cut.position] = cheapest[place][1]
    return found


def _placed(graph: StageGraph, shared: frozenset[str]) -> Iterator[tuple[Cut, _Class]]:
    uses = [frozenset(op.weights) & shared for op in graph.ops]
    before, after = _unions(uses), _unions(uses[::-1])[::-1]
    total = len(graph.ops)
    for cut in graph.cuts:
        if 0 < cut.position < total:
            yield cut, (before[cut.position], after[cut.position])


def _unions(uses: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    """Of the first 0, 1, 2, ... sets."""
    made = [frozenset[str]()]
    for use in uses:
        made.append(made[-1] | use if use else made[-1])
    return made


def rising(pairs: Sequence[Mapping[int, int]], price: Mapping[int, int]) -> list[int]:
    """The cuts, in order, at which every chunk has operations in all of the graphs.

    Args:
        pairs: `aligned` of each other graph.
        price: bytes that cross a cut of the main graph; of cuts that are alike in all other graphs
            the cheapest stays.
    """
    ends = {0, max(pairs[0])}
    inner = set(pairs[0]).intersection(*pairs[1:]) - ends
    best: dict[tuple[int, ...], int] = {}
    for position in sorted(inner):
        place = tuple(p[position] for p in pairs)
        if place not in best or price[position] < price[best[place]]:
            best[place] = position
    kept, last = [], tuple(0 for _ in pairs)
    for place, position in sorted(best.items(), key=lambda item: item[1]):
        if all(a < b for a, b in zip(last, place, strict=True)):
            kept.append(position)
            last = place
    return kept
