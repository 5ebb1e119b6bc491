"""What fits into a room at once, as rows of a linear program: the knapsack's convex hull.

A set of whole chunks beside a call is a point of 0 and 1 for each; averages of such sets (over
iterations, or as an LP mixes them) are convex combinations of them. Chunks of one weight are
alike: which of them are there does not matter, so a combination is of counts by weight. That is
exact: points of 0 to 1 with a given sum are averages of sets of that many (a uniform matroid).
"""

from collections.abc import Sequence

Counts = tuple[int, ...]
"""How many of each weight."""


def fullest(room: int, weights: Sequence[int], numbers: Sequence[int], limit: int) -> list[Counts]:
    """All counts of chunks that fit and to which none can be added; empty where they are more
    than `limit`.

    Args:
        room: bytes.
        weights: bytes, falling, each once.
        numbers: how many chunks have each weight.
    """
    rest = [0]
    for weight, number in zip(reversed(weights), reversed(numbers), strict=True):
        rest.append(rest[-1] + weight * number)
    rest.reverse()
    found: list[Counts] = []
    stack: list[tuple[Counts, int, int | None]] = [((), room, None)]
    while stack:
        chosen, left, spared = stack.pop()
        k = len(chosen)
        # Even all of the smaller ones leave room for one that was left out.
        if spared is not None and left - rest[k] >= spared:
            continue
        if k == len(weights):
            found.append(chosen)
            if len(found) > limit:
                return []
            continue
        most = min(numbers[k], left // weights[k] if weights[k] else numbers[k])
        for n in range(most + 1):
            least = weights[k] if n < numbers[k] else spared
            stack.append(((*chosen, n), left - n * weights[k], least))
    return found
