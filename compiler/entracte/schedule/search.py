"""Chooses which chunks to keep over each loop: the search behind every policy that keeps any.

Loops are treated one after the other, in order. For each, sets are tried that the policy names,
and `searched` then climbs from the best of them by changing one chunk at a time. A set is judged by
the makespan of the whole program under nominal times, at equal time by the bytes it loads. The
work is bounded by counts, never by a clock, so the same input always gives the same schedule.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from entracte.ir import Load, Policy
from entracte.program.workload import Workload
from entracte.schedule.given import Conflict, Given
from entracte.schedule.loop import Loop
from entracte.schedule.pace import Cost
from entracte.schedule.place import loads_of
from entracte.schedule.retention import (
    Positions,
    belady,
    evenly,
    few,
    neighbours,
    prefixes,
    subsets,
    sweep,
)

_SUBSETS = 8
"""Loops of so few chunks are searched whole."""
_FEW = 5
"""And of so few even at a first look, where which one is kept decides."""
_WORK = 50_000
"""Steps placed while climbing, in each loop: about half a second."""


@dataclass(frozen=True, slots=True)
class Found:
    """A safe list of loads, the chunks it keeps, and what it costs."""

    loads: tuple[Load, ...]
    kept: dict[int, frozenset[str]]
    cost: Cost


class Searcher:
    """One program under one budget. Attempts that were made are remembered."""

    def __init__(
        self,
        workload: Workload,
        policy: Policy,
        effort: float = 1.0,
        given: Given | None = None,
    ) -> None:
        """`given`: of this workload, if it was made before, perhaps with other times."""
        self.workload, self.policy = workload, policy
        self.work, self.hurries = int(effort * _WORK), effort < 1
        self.given = given or Given(workload)
        self.pace = self.given.pace(workload)
        self._others: tuple[Found | None, Loop | None, float] = (None, None, 0.0)
        """Seconds of loads again in all loops but one."""
        self.loops = self.given.loops(workload)

    def attempt(self, kept: Mapping[int, Iterable[str]]) -> Found | Conflict:
        """Keep these chunks of each loop: the loads and their cost, or what is in the way."""
        chosen = {s: frozenset(chunks) for s, chunks in kept.items()}
        loads = loads_of(self.given, self.policy, chosen)
        if isinstance(loads, Conflict):
            return loads
        return Found(loads, chosen, self.pace.cost(loads))

    def best(self, base: Found) -> Found:
        """The best that the policy's search finds, from a schedule that keeps nothing."""
        best = base
        for loop in self.loops:
            seen: set[Positions] = set()
            best = self._best_of(loop, self._candidates(loop), best, seen)
            if not self._searches_all(loop, best) and self.policy.keep == "searched":
                best = self._climb(loop, best, seen)
        return best

    def first_look(self, base: Found) -> Found:
        """The best of few sets, remembered: where loops have many chunks, policies try the same."""
        subsets_too = any(self._few_subsets(x) for x in self.loops)
        key = (self.policy.lookahead, self.policy.keep == "even", subsets_too)
        known = self.pace.first_looks.get(key)
        if known is None:
            best = base
            for loop in self.loops:
                best = self._best_of(loop, self._few_candidates(loop), best, set())
            known = self.pace.first_looks[key] = best.loads, best.kept, best.cost
        return Found(*known)

    def _few_subsets(self, loop: Loop) -> bool:
        return self.policy.keep == "searched" and len(loop.chunks) <= _FEW

    def _best_of(
        self, loop: Loop, sets: Iterable[Positions], best: Found, seen: set[Positions]
    ) -> Found:
        """Of `best` and those with the loop's sets; everything kept is not improved on."""
        for kept in sets:
            best = self._better(loop, kept, best, seen)
            if len(kept) == len(loop.chunks) and loop.keeps_all(best.kept):
                break
        return best

    def _searches_all(self, loop: Loop, best: Found) -> bool:
        """Nothing is left to be found by climbing."""
        return len(loop.chunks) <= _SUBSETS or loop.keeps_all(best.kept)

    def _few_candidates(self, loop: Loop) -> Iterator[Positions]:
        total = len(loop.chunks)
        if self.policy.keep == "even":
            yield from few([x for x in evenly(total) if loop.can_keep(x)])
            return
        yield from sweep(loop.weights, loop.load_s, coarse=True)
        if self._few_subsets(loop):
            yield from subsets(total)

    def _candidates(self, loop: Loop) -> Iterator[Positions]:
        total = len(loop.chunks)
        if self.policy.keep == "even":
            yield from evenly(total)
            return
        yield from sweep(loop.weights, loop.load_s, by_count=self.hurries)
        if self.policy.keep != "searched":
            return
        if total <= _SUBSETS:
            yield from subsets(total)
            return
        if not self.hurries:
            yield from prefixes(total)
        for lookahead in (1, 2, 4, total):
            yield from belady(loop.weights, loop.load_s, loop.exec_s, loop.room, lookahead)

    def _better(self, loop: Loop, kept: Positions, best: Found, seen: set[Positions]) -> Found:
        if kept in seen or not loop.can_keep(kept):
            return best
        seen.add(kept)
        # One loader: nothing is faster than this set's own loads in the loop's later iterations.
        again_s = loop.reload_s(kept)
        if again_s > best.cost[0] or self._least_s(loop, again_s, best) > best.cost[0]:
            return best
        trial = self.attempt(best.kept | {loop.segment: [loop.chunks[i] for i in kept]})
        if isinstance(trial, Conflict) or trial.cost >= best.cost:
            return best
        return trial

    def _least_s(self, loop: Loop, again_s: float, best: Found) -> float:
        """Of all that keeps what `best` does in the other loops."""
        if self._others[0] is not best or self._others[1] is not loop:
            others = (x for x in self.loops if x is not loop)
            self._others = best, loop, sum(x.reloading_s(best.kept) for x in others)
        return self.pace.least_s(again_s + self._others[2])

    def _climb(self, loop: Loop, best: Found, seen: set[Positions]) -> Found:
        """First improvement, until a whole round brings nothing or the work is used up."""
        left = max(1, self.work // len(self.given.unrolled))
        improved = True
        while improved:
            improved = False
            own = best.kept.get(loop.segment, frozenset())
            kept = tuple(i for i, c in enumerate(loop.chunks) if c in own)
            for trial in neighbours(kept, loop.load_s):
                before = len(seen)
                found = self._better(loop, trial, best, seen)
                left -= len(seen) - before
                if left <= 0:
                    return found
                if found is not best:
                    best, improved = found, True
                    break
        return best
