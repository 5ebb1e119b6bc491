"""The exact optimum for chunks of one size and one load time, for hundreds of calls.

With those, some optimal schedule follows four rules (Cao, Felten, Karlin, Li 1995, "A study of
integrated prefetching and caching strategies", by exchange): it loads the chunk that is missed
next; gives up the one that is needed last; never one that is needed before the one it loads; and
makes no load later than the same load for the same chunk was possible. So all that is left to choose
is whether to load or to wait, whenever the loader is free and a call or a load has ended: a
dynamic programme over calls. Written from the semantics alone, nothing of the planner's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NEVER = 10**9


@dataclass(frozen=True, slots=True)
class _State:
    """Between two events: chunks that have a place, the one of them that is being loaded (-1:
    none), and when that is done."""

    held: frozenset[int]
    loading: int
    done: int


class Equal:
    """`order`: the chunk of each call; `times` of each call; `load` of every chunk, all in whole
    numbers; `slots`: how many chunks fit at once."""

    def __init__(self, order: Sequence[int], times: Sequence[int], load: int, slots: int) -> None:
        self.order, self.times, self.load, self.slots = order, times, load, slots
        self.uses: dict[int, list[int]] = {}
        for t, chunk in enumerate(order):
            self.uses.setdefault(chunk, []).append(t)
        self.most = 0
        """The most states between two calls."""

    def optimum(self) -> int:
        """The end of the last call."""
        states = {_State(frozenset(), -1, 0): 0}
        for t in range(len(self.order)):
            after: dict[_State, int] = {}
            for state, now in states.items():
                for made, end in self._call(t, state, now):
                    after[made] = min(end, after.get(made, NEVER * NEVER))
            states = _undominated(after)
            self.most = max(self.most, len(states))
        return min(states.values())

    def _call(self, t: int, state: _State, now: int) -> Iterator[tuple[_State, int]]:
        """All ways through a call, from the end of the one before."""
        chunk = self.order[t]
        for begun in self._choices(t, state, now, running=-1):
            if chunk not in begun.held:
                continue
            if begun.loading == chunk:
                there = _State(begun.held, -1, 0)
                for other in self._choices(t, there, begun.done, running=chunk):
                    yield from self._through(t, other, begun.done, begun.done + self.times[t])
            else:
                yield from self._through(t, begun, now, now + self.times[t])

    def _through(self, t: int, state: _State, now: int, end: int) -> Iterator[tuple[_State, int]]:
        """The call runs from now to its end; loads that are done meanwhile may be followed."""
        if state.loading < 0 or state.done > end:
            yield state, end
            return
        there = _State(state.held, -1, 0)
        for other in self._choices(t, there, state.done, running=self.order[t]):
            if other.loading < 0:
                yield other, end
            else:
                yield from self._through(t, other, state.done, end)

    def _choices(self, t: int, state: _State, now: int, running: int) -> Iterator[_State]:
        """To wait, or to load what is missed next if something may be given up for it."""
        yield state
        if state.loading >= 0:
            return
        since = t if running < 0 else t + 1
        missing = next((c for c in self.order[since:] if c not in state.held), None)
        if missing is None:
            return
        held = state.held
        if len(held) == self.slots:
            last = max(held - {running}, key=lambda c: self._next(c, since), default=None)
            if last is None or self._next(last, since) < self._next(missing, since):
                return
            held = held - {last}
        yield _State(held | {missing}, missing, now + self.load)

    def _next(self, chunk: int, since: int) -> int:
        return next((t for t in self.uses[chunk] if t >= since), NEVER + chunk)


def _undominated(states: dict[_State, int]) -> dict[_State, int]:
    """Of those that hold and load the same, the ones that no other is as early as in both."""
    kept: dict[_State, int] = {}
    least: dict[tuple[frozenset[int], int], int] = {}
    for state, now in sorted(states.items(), key=lambda x: (x[1], x[0].done)):
        key = (state.held, state.loading)
        done = max(state.done, now)
        if done < least.get(key, NEVER * NEVER):
            least[key] = done
            kept[state] = now
    return kept
