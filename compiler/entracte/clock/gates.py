"""A plan's gates as a driver: every load in its order, each when its gate step has ended.

Copies are dropped when the step that frees them ends. Gates are the proof that a plan fits, the
runnable baselines, and what a runner without the online rule can follow. Chunks are loaded whole.
"""

from collections import defaultdict
from collections.abc import Iterator

from entracte.clock.driver import Decision, Event, Evict, Fetch, LoadDone, Start
from entracte.clock.table import Table
from entracte.ir import Program, Schedule
from entracte.program.steps import START, Placement, unroll


class Gates:
    """Follows a schedule's loads. `table` has one unit for each chunk."""

    def __init__(self, table: Table, program: Program, schedule: Schedule) -> None:
        self.table = table
        self._loads: Iterator[Placement] = unroll(program, schedule)
        self._next: Placement | None = None
        self._at, self._ended, self._running = 0, START, False
        self._there: set[int] = set()
        self._flying: int | None = None
        self._draining = False
        """A loop ended early while a load was in flight: it is finished first."""
        self._freed_at: defaultdict[int, list[int]] = defaultdict(list)
        """Step -> units whose copies go when it ends."""
        self._resting: set[int] = set()
        """Steps of this iteration that are known to rest."""

    def begin(self, at: int = 0) -> tuple[Decision, ...]:
        """See `Driver`. What served earlier steps only is left out; what serves later ones too is
        loaded now, in the same order: at no step is more in memory than from the beginning."""
        self._at, self._ended = at, at - 1
        self._loads = (load for load in self._loads if self._serves(load, at))
        self._next = next(self._loads, None)
        return tuple(self._decide())

    def _serves(self, load: Placement, at: int) -> bool:
        """Whether a call from a step on needs it: in what is left its calls may all rest."""
        return load.use >= at or self.table.next_use(load.chunk, at) <= load.free

    def react(self, event: Event) -> tuple[Decision, ...]:
        """See `Driver`."""
        if isinstance(event, LoadDone):
            return (*self._landed(), *self._decide())
        self._running = False
        self._resting = {n for n in self._resting if n > self._at} | set(event.resting)
        drops = self._end_early() if event.over else self._end_step()
        return (*drops, *self._decide())

    def _landed(self) -> list[Decision]:
        assert self._flying is not None
        unit, self._flying = self._flying, None
        if not self._draining:
            self._there.add(unit)
            return []
        self._draining, self._ended = False, self._at - 1
        return [Evict(unit)]

    def _end_step(self) -> list[Decision]:
        self._ended, self._at = self._at, self._at + 1
        freed = self._freed_at.pop(self._ended, [])
        self._there.difference_update(freed)
        return [Evict(u) for u in freed]

    def _end_early(self) -> list[Decision]:
        """None of the loop's copies and loads is left before any later gate opens."""
        self._at = self.table.after(self._at, True)
        while self._next is not None and self._next.use < self._at:
            self._next = next(self._loads, None)
        left = sorted(self._there)
        self._there.clear()
        self._freed_at.clear()
        self._draining = self._flying is not None
        if not self._draining:
            self._ended = self._at - 1
        return [Evict(u) for u in left]

    def _decide(self) -> Iterator[Decision]:
        if self._draining:
            return
        if not self._running and self._at < self.table.end and self._may_start():
            self._running = True
            yield Start(self._at)
        load = self._next_needed()
        if load is not None and self._flying is None and load.gate <= self._ended:
            self._flying = self._unit(load.chunk)
            self._freed_at[load.free].append(self._flying)
            self._next = next(self._loads, None)
            yield Fetch(self._flying)

    def _may_start(self) -> bool:
        """A step that rests needs no copy, but one on the way that goes with it must have come."""
        if self._at in self._resting:
            return self._flying not in self._freed_at.get(self._at, ())
        chunk = self.table.step(self._at).chunk
        return chunk is None or self._unit(chunk) in self._there

    def _next_needed(self) -> Placement | None:
        """The next load; those that would serve nothing but what rests are left out."""
        while (load := self._next) is not None and self._serves_rests_only(load):
            self._next = next(self._loads, None)
        return load

    def _serves_rests_only(self, load: Placement) -> bool:
        if not self._resting and load.use >= self._at:
            return False
        n = self.table.next_use(load.chunk, max(load.use, self._at))
        while n in self._resting:
            n = self.table.next_use(load.chunk, n + 1)
        return n > load.free

    def _unit(self, chunk: str) -> int:
        (unit,) = self.table.units_of[chunk]
        return unit
