"""The online rule on the clock with nothing but times: for judging many sets of kept chunks.

The same whole nanoseconds and loads as `simulate` with the driver `OnlineRule` (`clock/rule.py`,
which is the specification), contention and switches included; no ledger, no accounts, no
intervals, several times faster. Packages load whole, loops do all their iterations.
tests/planner/test_quick.py compares the two.
"""

from bisect import insort
from collections.abc import Callable, Iterator
from itertools import islice

from entracte.clock.clock import Gamma
from entracte.clock.rule import ONE, check_table, learned
from entracte.clock.table import Table

Order = tuple[tuple[int, int], ...]
"""(next use, unit), rising."""


class Course:
    """What is the same for every run of a program: its steps in numbers, and next uses."""

    def __init__(self, table: Table, functions: Callable[[int], str] | None = None) -> None:
        """`table` has one unit for each chunk; `functions` as in `simulate`. Raises `PlanError` as
        the rule does."""
        check_table(table)
        self.table, self.end = table, table.end
        number = {u.chunk: n for n, u in enumerate(table.units)}
        assert len(number) == len(table.units), "a chunk in several pages"
        self.number = number
        self.units: list[int] = []
        """Of each step; -1 where it calls no chunk."""
        self.need: list[int] = []
        self.exec_ns: list[int] = []
        self.stop: list[int] = []
        """The end of each step's segment."""
        for n in range(table.end):
            step = table.step(n)
            self.units.append(-1 if step.chunk is None else number[step.chunk])
            self.need.append(step.need_bytes)
            self.exec_ns.append(table.exec_ns(n))
            self.stop.append(table.segment_end(n))
        self.function: list[str] | None = None
        """Of each step, where copies serve one function."""
        if functions is not None:
            self.function = [functions(n) if u >= 0 else "" for n, u in enumerate(self.units)]
        self.before = [table.nominal_before(n) for n in range(table.end + 2)]
        self.margin_ns = [table.margin_ns(n) for n in range(table.end)]
        self.size = [u.size_bytes for u in table.units]
        self.load_ns = [u.load_ns for u in table.units]
        self.cold_ns = [u.cold_ns for u in table.units]
        self.after = self._next_uses()
        """Of each step's unit, the next use after the step."""
        self.orders = list(self._orders())
        self._most: dict[tuple[int, int], int] = {}

    def _orders(self) -> Iterator[Order]:
        """From each step on, and from the end."""
        after = self.after
        first = {u: n for n, u in reversed(list(enumerate(self.units)))}
        order = sorted((first.get(u, self.end), u) for u in range(len(self.size)))
        yield tuple(order)
        for n, unit in enumerate(self.units):
            if unit >= 0:
                order.remove((n, unit))
                insort(order, (after[n], unit))
            yield tuple(order)

    def _next_uses(self) -> list[int]:
        after, seen = [self.end] * self.end, dict[int, int]()
        for n in range(self.end - 1, -1, -1):
            after[n] = seen.get(self.units[n], self.end)
            seen[self.units[n]] = n
        return after

    def most_need(self, first: int, last: int) -> int:
        """`Table.most_need`, remembered."""
        if (first, last) not in self._most:
            self._most[first, last] = self.table.most_need(first, last)
        return self._most[first, last]


class QuickRule:
    """One run. `ends` are those of all steps, `loads` (end, unit), in nanoseconds; `serves` is
    the step that each load is for, `switches` the units loaded again for another function."""

    def __init__(self, course: Course, table: Table, gamma: Gamma) -> None:
        """`table`: the course's, perhaps with other chunks to keep."""
        self.course, self.table, self.gamma = course, table, gamma
        self.ends: list[int] = []
        self.loads: list[tuple[int, int]] = []
        self.serves: list[int] = []
        self.switches: list[int] = []
        self.bound: dict[int, str] = {}
        self.there: set[int] = set()
        self.seen: set[int] = set()
        self.exec_scale = self.load_scale = ONE
        self.held = 0
        self.loading = -1
        self.running = False
        self._kept: tuple[tuple[str, ...], frozenset[int]] = ((), frozenset())
        self._run()

    @property
    def loaded_bytes(self) -> int:
        """Of all loads and switches."""
        size = self.course.size
        return sum(size[u] for _, u in self.loads) + sum(size[u] for u in self.switches)

    def _run(self) -> None:
        """Each `left` is nanoseconds times gamma's numerator; below zero: nothing under way."""
        above, below = self.gamma.above, self.gamma.below
        now = load_began = step_began = 0
        load = step = -1
        switching = False
        while True:
            was_running, was_loading = self.running, self.loading
            self._decide()
            if self.running and not was_running:
                step_began, ns = now, self._switch_ns()
                switching = ns >= 0
                step = (ns if switching else self.course.exec_ns[len(self.ends)]) * above
            if self.loading != was_loading:
                load_began, load = now, self._nominal(self.loading) * above
            if load < 0 and step < 0:
                break
            while True:
                both = load >= 0 and step >= 0
                speed = below if both else above
                passed = -(-(min(load, step) if both else max(load, step)) // speed)
                now += passed
                load = max(0, load - passed * speed) if load >= 0 else load
                step = max(0, step - passed * speed) if step >= 0 else step
                if step != 0 or not switching:
                    break
                # Of a switch the rule does not hear.
                switching, step_began = False, now
                step = self.course.exec_ns[len(self.ends)] * above
            # Of two ends at once the step's comes first.
            if step == 0:
                step = -1
                self._stepped(now, now - step_began)
            else:
                load = -1
                self._loaded(now, now - load_began)
        if len(self.ends) < self.course.end:
            raise AssertionError(f"deadlock before step {len(self.ends)}")

    def _switch_ns(self) -> int:
        """What the step waits for before it runs; -1 where its copy serves it."""
        at, functions = len(self.ends), self.course.function
        unit = self.course.units[at]
        if functions is None or unit < 0 or self.bound[unit] == functions[at]:
            return -1
        self.bound[unit] = functions[at]
        self.switches.append(unit)
        return self._nominal(unit)

    def _nominal(self, unit: int) -> int:
        course = self.course
        return course.load_ns[unit] + (0 if unit in self.seen else course.cold_ns[unit])

    def _loaded(self, now: int, ns: int) -> None:
        unit, self.loading = self.loading, -1
        self.load_scale = learned(self.load_scale, ns, self._nominal(unit))
        self.there.add(unit)
        self.seen.add(unit)
        self.loads.append((now, unit))

    def _stepped(self, now: int, ns: int) -> None:
        at, course = len(self.ends), self.course
        self.exec_scale = learned(self.exec_scale, ns, course.exec_ns[at])
        self.running = False
        self.ends.append(now)
        # What is never used again is dropped at once, and nothing of the kind is loaded.
        if course.units[at] >= 0 and course.after[at] >= course.end:
            self._evict(course.units[at])

    def _decide(self) -> None:
        at, end = len(self.ends), self.course.end
        order = self.course.orders[at]
        if not self.running and at < end:
            unit = self.course.units[at]
            if unit < 0 or unit in self.there:
                self.running = self._make_room(order, at, self.course.need[at], at)
        if self.loading < 0:
            self._fetch(at, order)

    def _fetch(self, at: int, order: Order) -> None:
        there = self.there
        first = 0
        for _, unit in order:
            if unit not in there:
                break
            first += 1
        if first == len(order) or order[first][0] >= self.course.end:
            return
        if self.running and not self._is_due(at, order, first):
            return
        use, unit = order[first]
        room = self.course.size[unit] + self.course.most_need(at, use)
        if self._make_room(order, at, room, use):
            self.loading = unit
            self.serves.append(use)
            if self.course.function is not None:
                self.bound[unit] = self.course.function[use]
            self.held += self.course.size[unit]

    def _is_due(self, at: int, order: Order, first: int) -> bool:
        """`first`: where the first missing unit stands in the order."""
        course, there, seen, end = self.course, self.there, self.seen, self.course.end
        before, load_ns, cold_ns = course.before, course.load_ns, course.cold_ns
        begin, execs, loads = before[at + 1], self.exec_scale, self.load_scale
        ahead = course.margin_ns[order[first][0]]
        for use, unit in islice(order, first, None):
            if unit in there:
                continue
            if use >= end:
                return False
            ahead += load_ns[unit] if unit in seen else load_ns[unit] + cold_ns[unit]
            if (before[use] - begin) * execs // ONE <= ahead * loads // ONE:
                return True
        return False

    def _make_room(self, order: Order, at: int, room: int, limit: int) -> bool:
        """Evict what the rule would, so that `room` bytes are free; nothing where it cannot."""
        short = self.held + room - self.table.budget_bytes
        if short <= 0:
            return True
        stop, size, kept = self.course.stop[at], self.course.size, self._kept_units()
        chosen: list[int] = []
        for use, unit in reversed(order):
            if use <= limit or short <= 0:
                break
            if unit in self.there and (use >= stop or unit not in kept):
                chosen.append(unit)
                short -= size[unit]
        if short > 0:
            return False
        for unit in reversed(chosen):
            if short + size[unit] <= 0:
                short += size[unit]
            else:
                self._evict(unit)
        return True

    def _kept_units(self) -> frozenset[int]:
        chunks = self.table.kept(self.load_scale * ONE // self.exec_scale)
        if chunks is not self._kept[0]:
            self._kept = chunks, frozenset(self.course.number[c] for c in chunks)
        return self._kept[1]

    def _evict(self, unit: int) -> None:
        if unit in self.there:
            self.there.remove(unit)
            self.held -= self.course.size[unit]
