"""The exact optimum for few chunks of any sizes and times, for hundreds of calls: a dynamic
programme over calls.

What the semantics leave to choose: which chunk is loaded next, for which others, and whether at
once or later. Of all schedules some best one follows these rules, each by moving things earlier:

    a load begins where a load or a call ends, or never (in between nothing changes)
    it gives up no more than it needs, and not what was just loaded before its first call
    while no call runs, the chunk of the next call is what is loaded

Any order of loads, any retention, nothing periodic; calls need no room of their own. Written from
the semantics alone, nothing of the planner's, its clock or its proof. Sets are bits of a number.

What cannot end sooner than a schedule that is known is left out: of each set that may be held, the
loads that must follow, as if memory were needed by calls alone, are found before (`_rest`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_NEVER = 1 << 60


@dataclass(frozen=True, slots=True)
class _State:
    """At the end of a call, `now`: chunks that have a place, the one of them that is being loaded
    (-1: none), and when the loader is free."""

    held: int
    loading: int
    now: int
    free: int


class Unlike:
    """`order`: the chunk of each call; `times` of each call; `weights` and `loads` of each chunk;
    all in whole numbers, and `budget` as well."""

    def __init__(
        self,
        order: Sequence[int],
        times: Sequence[int],
        weights: Sequence[int],
        loads: Sequence[int],
        budget: int,
    ) -> None:
        self.order, self.times, self.weights, self.loads = order, times, weights, loads
        self.budget = budget
        self.chunks = range(len(weights))
        self.bytes = lru_cache(None)(self._bytes)
        self.victims = lru_cache(None)(self._victims)
        self._seen: set[tuple[int, int, int]] = set()
        self.most = 0
        """The most states between two calls."""

    def optimum(self, known: int) -> int:
        """The end of the last call, where some schedule's is `known`."""
        assert max(self.weights) <= self.budget
        states, left, rest = [_State(0, -1, 0, 0)], sum(self.times), self._rest()
        for t in range(len(self.order)):
            left -= self.times[t]
            loads = rest[t + 1].tolist()
            self._seen.clear()
            after = {
                s
                for state in states
                for s in self._call(t, state)
                if s.now + left <= known and max(s.now, s.free) + loads[s.held] <= known
            }
            states = _undominated(after)
            self.most = max(self.most, len(states))
        return min(s.now for s in states)

    def _rest(self) -> list[NDArray[np.int64]]:
        """From each call on, and of each set that is held before it: at least so long from the
        moment when the loader is free to the end.

        Loads in the order of use; each is followed by its call and all later ones. Memory is asked
        for beside each call only, what is loaded ahead needs none. From the last call back: a chunk
        that is not held is loaded after giving up any of the others.
        """
        sets = 1 << len(self.weights)
        sizes = np.zeros(sets, np.int64)
        for c in self.chunks:
            sizes[1 << c : 2 << c] = sizes[: 1 << c] + self.weights[c]
        made, left = [np.zeros(sets, np.int64)], 0
        for t in reversed(range(len(self.order))):
            chunk, left, after = self.order[t], left + self.times[t], made[-1].copy()
            # Sets without the chunk, and the same with it.
            without, held = after.reshape(-1, 2, 1 << chunk).transpose(1, 0, 2)
            fits = sizes.reshape(-1, 2, 1 << chunk)[:, 1] <= self.budget
            best = np.where(fits, self.loads[chunk] + np.maximum(left, held), _NEVER).reshape(-1)
            for c in range(len(self.weights) - 1):
                pairs = best.reshape(-1, 2, 1 << c)
                np.minimum(pairs[:, 1], pairs[:, 0], out=pairs[:, 1])
            without[:] = best.reshape(without.shape)
            made.append(after)
        return made[::-1]

    def _call(self, t: int, state: _State) -> Iterator[_State]:
        """All ways through a call, from the end of the one before."""
        chunk, held, begin = self.order[t], state.held, state.now
        if state.loading >= 0 and state.free > begin:
            if state.loading != chunk and held >> chunk & 1:
                yield from self._through(t, state.held, state.loading, state.free, begin)
                return
            begin = state.free
        if held >> chunk & 1:
            yield from self._through(t, held, -1, begin, begin)
            return
        for more in self._with(held, chunk, self._bit(state.loading)):
            begun = begin + self.loads[chunk]
            yield from self._through(t, more, -1, begun, begun)

    def _through(self, t: int, held: int, loading: int, free: int, begin: int) -> Iterator[_State]:
        """The call runs from `begin` to its end; loads that end meanwhile may be followed."""
        end = begin + self.times[t]
        if loading >= 0 and free >= end:
            yield _State(held, loading, end, free)
            return
        if (held, free, end) in self._seen:
            return
        self._seen.add((held, free, end))
        yield _State(held, -1, end, end)
        stays = self._bit(self.order[t]) | self._bit(loading)
        for chunk in self.chunks:
            if not held >> chunk & 1:
                for more in self._with(held, chunk, stays):
                    yield from self._through(t, more, chunk, free + self.loads[chunk], begin)

    @staticmethod
    def _bit(chunk: int) -> int:
        return 1 << chunk if chunk >= 0 else 0

    def _with(self, held: int, chunk: int, stays: int) -> Iterator[int]:
        """What is held after giving up no more than is needed to load a chunk."""
        short = self.bytes(held) + self.weights[chunk] - self.budget
        for given in self.victims(held & ~stays, max(0, short)):
            yield held & ~given | 1 << chunk

    def _bytes(self, held: int) -> int:
        return sum(self.weights[c] for c in self.chunks if held >> c & 1)

    def _victims(self, held: int, short: int) -> list[int]:
        """All sets of at least `short` bytes of which none can be left out."""
        found, given = [], held
        while True:
            spare = self.bytes(given) - short
            if spare >= 0 and all(self.weights[c] > spare for c in self.chunks if given >> c & 1):
                found.append(given)
            if not given:
                return found
            given = (given - 1) & held


def _undominated(states: set[_State]) -> list[_State]:
    """Of those that load the same, the ones than which no other is earlier and holds no less."""
    kept: list[_State] = []
    least: dict[int, dict[int, int]] = {}
    for s in sorted(states, key=lambda s: (s.now, s.free, -s.held.bit_count())):
        others = least.setdefault(s.loading, {})
        if all(free > s.free or held & s.held != s.held for held, free in others.items()):
            others[s.held] = s.free
            kept.append(s)
    return kept
