"""Chooses which chunks to keep over each loop: the search behind every policy that keeps any.

Loops are treated one after the other, in order. For each, sets are tried that the policy names,
and `searched` then climbs from the best of them by changing one chunk at a time. A set is judged by
the makespan of the whole program under nominal times, at equal time by the bytes it loads. The
work is bounded by counts, never by a clock, so the same input always gives the same schedule.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from entracte.ir import Call, ChunkFacts, Load, Policy
from entracte.program.workload import Workload
from entracte.schedule.pace import Cost
from entracte.schedule.place import Conflict, Given, loads_of
from entracte.schedule.retention import (
    Positions,
    belady,
    neighbours,
    prefixes,
    spread,
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
        self.work = int(effort * _WORK)
        self.given = given or Given(workload)
        self.pace = self.given.pace(workload)
        self._others: tuple[Found | None, _Loop | None, float] = (None, None, 0.0)
        """Seconds of loads again in all loops but one."""
        segments = workload.program.segments
        self.loops = [
            _Loop(self.given, s, workload.facts) for s, g in enumerate(segments) if g.is_loop
        ]

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

    def _few_subsets(self, loop: "_Loop") -> bool:
        return self.policy.keep == "searched" and len(loop.chunks) <= _FEW

    def _best_of(
        self, loop: "_Loop", sets: Iterable[Positions], best: Found, seen: set[Positions]
    ) -> Found:
        """Of `best` and those with the loop's sets; everything kept is not improved on."""
        for kept in sets:
            best = self._better(loop, kept, best, seen)
            if len(kept) == len(loop.chunks) and loop.keeps_all(best):
                break
        return best

    def _searches_all(self, loop: "_Loop", best: Found) -> bool:
        """Nothing is left to be found by climbing."""
        return len(loop.chunks) <= _SUBSETS or loop.keeps_all(best)

    def _few_candidates(self, loop: "_Loop") -> Iterator[Positions]:
        total = len(loop.chunks)
        if self.policy.keep == "even":
            yield from (spread(total, keep) for keep in range(total, 0, -1))
            return
        yield from sweep(loop.weights, loop.load_s, coarse=True)
        if self._few_subsets(loop):
            yield from subsets(total)

    def _candidates(self, loop: "_Loop") -> Iterator[Positions]:
        total = len(loop.chunks)
        if self.policy.keep == "even":
            yield from (spread(total, keep) for keep in range(total, 0, -1))
            return
        yield from sweep(loop.weights, loop.load_s)
        if self.policy.keep != "searched":
            return
        if total <= _SUBSETS:
            yield from subsets(total)
            return
        yield from prefixes(total)
        for lookahead in (1, 2, 4, total):
            yield from belady(loop.weights, loop.load_s, loop.exec_s, loop.room, lookahead)

    def _better(self, loop: "_Loop", kept: Positions, best: Found, seen: set[Positions]) -> Found:
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

    def _least_s(self, loop: "_Loop", again_s: float, best: Found) -> float:
        """Of all that keeps what `best` does in the other loops."""
        if self._others[0] is not best or self._others[1] is not loop:
            others = (x for x in self.loops if x is not loop)
            self._others = best, loop, sum(x.reloading_s(best) for x in others)
        return self.pace.least_s(again_s + self._others[2])

    def _climb(self, loop: "_Loop", best: Found, seen: set[Positions]) -> Found:
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


class _Loop:
    """The chunks of a loop in order of use, in numbers."""

    def __init__(self, given: Given, segment: int, facts_of: Mapping[str, ChunkFacts]) -> None:
        self.segment, own = segment, given.program.segments[segment]
        calls: dict[str, float] = {}
        again: dict[str, set[int]] = {}
        for step in own.steps:
            if isinstance(step, Call):
                seconds = step.repeat * facts_of[step.chunk].exec_s
                share = (len(step.at) or own.count) / own.count
                calls[step.chunk] = calls.get(step.chunk, 0.0) + share * seconds
                again.setdefault(step.chunk, set()).update(step.at or range(own.count))
        self.chunks = list(calls)
        self.is_twice = own.count == 2 and not any(isinstance(x, Call) and x.at for x in own.steps)
        self.again = [len(again[c] - {0}) for c in self.chunks]
        """In how many iterations after the first each chunk is called."""
        facts = [facts_of[c] for c in self.chunks]
        self.weights = [f.weight_bytes for f in facts]
        self.load_s = [f.load_s for f in facts]
        self.exec_s = list(calls.values())
        self.room = [given.budget - given.most[segment, c] for c in self.chunks]
        """Bytes that chunks may take while each is called."""

    def can_keep(self, kept: Positions) -> bool:
        """All that are there beside each chunk's own call: necessary, cheap to ask."""
        total, own = sum(self.weights[i] for i in kept), set(kept)
        if self.is_twice:
            return self._can_keep_once(own, total)
        return all(
            total + (0 if i in own else w) <= room
            for i, (w, room) in enumerate(zip(self.weights, self.room, strict=True))
        )

    def _can_keep_once(self, own: set[int], total: int) -> bool:
        """Of two iterations the first has only those that were called already, the second only
        those that are still to be called: together they may be more than fit."""
        before = 0
        for i, (w, room) in enumerate(zip(self.weights, self.room, strict=True)):
            mine = w if i in own else 0
            if max(before, total - before - mine) + w > room:
                return False
            before += mine
        return True

    def keeps_all(self, found: Found) -> bool:
        return len(found.kept.get(self.segment, ())) == len(self.chunks)

    def reloading_s(self, found: Found) -> float:
        kept = found.kept.get(self.segment, ())
        return self.reload_s(tuple(i for i, c in enumerate(self.chunks) if c in kept))

    def reload_s(self, kept: Positions) -> float:
        own = set(kept)
        each = enumerate(zip(self.again, self.load_s, strict=True))
        return sum(times * s for i, (times, s) in each if i not in own)
