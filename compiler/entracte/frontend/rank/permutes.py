"""A permutation of many axes as a few permutations of few axes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

__all__ = ["merged", "steps_of"]

Order = tuple[int, ...]


def merged(order: Sequence[int]) -> list[list[int]]:
    """The axes that stay side by side, together: (0, 3, 1, 2) -> [[0], [3], [1, 2]]."""
    runs: list[list[int]] = []
    for axis in order:
        if runs and runs[-1][-1] + 1 == axis:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


def steps_of(order: Sequence[int], most: int) -> tuple[Order, ...]:
    """Permutations that give `order` one after the other, each of at most `most` merged axes.

    One where it suffices, else two wherever two do.
    """
    runs = merged(order)
    if len(runs) == 1:
        return ()
    if len(runs) <= most:
        return (tuple(order),)
    blocks = sorted(runs)
    found = _steps(tuple(blocks.index(run) for run in runs), most)
    steps: list[Order] = []
    for step in found:
        steps.append(tuple(_unmerged(step, [len(block) for block in blocks])))
        blocks = [blocks[i] for i in step]
    return tuple(steps)


def _unmerged(order: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """The same of the axes that the blocks of these sizes are made of."""
    starts = list(itertools.accumulate(sizes, initial=0))
    return [axis for block in order for axis in range(starts[block], starts[block + 1])]


@functools.cache
def _steps(order: Order, most: int) -> tuple[Order, ...]:
    if len(merged(order)) <= most:
        return (order,)
    first = min(_first_steps(len(order), most), key=lambda step: _left(step, order))
    rest = _rest(first, order)
    return (first, *_steps(rest, most))


def _first_steps(count: int, most: int) -> list[Order]:
    """Every permutation of `most` blocks of neighbours."""
    found: list[Order] = []
    for cuts in itertools.combinations(range(1, count), most - 1):
        ends = [*cuts, count]
        sizes = [b - a for a, b in zip([0, *cuts], ends, strict=True)]
        orders = itertools.permutations(range(most))
        found += [tuple(_unmerged(blocks, sizes)) for blocks in orders]
    return found


def _rest(first: Order, order: Order) -> Order:
    """What is still to be done."""
    place = {axis: position for position, axis in enumerate(first)}
    return tuple(place[axis] for axis in order)


def _left(first: Order, order: Order) -> int:
    return len(merged(_rest(first, order)))
