"""What is in memory by a driver's decisions alone, in bytes; the first wrong decision is an error.

Kept by every machine, the clock and the runner, apart from whatever the driver itself remembers.
Raises `AssertionError` at the first decision that breaks the budget, runs a step without its
chunk, loads what is there, or drops what is not there, on the way or in use. (It tests the
driver, not the program: that is the checker's.)
"""

from collections.abc import Iterable

from entracte.clock.driver import Decision, Evict, Start
from entracte.clock.table import Table


class Accounts:
    """Working state of a machine: units in memory, the load in flight, the step that runs."""

    def __init__(self, table: Table, at: int = 0) -> None:
        """`at`: the step that runs first; what those before it left is in memory."""
        self._table = table
        self.there: set[int] = set()
        """Units that are loaded."""
        self.flying: int | None = None
        """The unit whose load is in flight."""
        self.running: int | None = None
        """The step that runs."""
        self.next_step = at
        """What runs next; the table's `end` when all steps are done."""
        self.peak_bytes = 0
        """Most bytes of units and of what steps need at once."""
        self._last_step = at
        self._resting: tuple[int, ...] = ()
        """Steps whose calls do not happen."""
        self._units_bytes = 0
        self._left_bytes = self._left_by(at - 1) if at else 0

    def carry(self, units: Iterable[int]) -> None:
        """These are in memory before anything is decided."""
        self.there.update(units)
        self._units_bytes += sum(self._table.units[u].size_bytes for u in self.there)
        self._weigh()

    @property
    def at(self) -> int:
        """The step that runs or comes next."""
        return self.next_step if self.running is None else self.running

    @property
    def doing(self) -> int:
        """The step that runs or ran last; the first one before that."""
        return self._last_step if self.running is None else self.running

    def decided(self, decision: Decision) -> None:
        """Enter one decision."""
        if isinstance(decision, Evict):
            self._evict(decision.unit)
        elif isinstance(decision, Start):
            self._start(decision.step)
        else:
            self._fetch(decision.unit)
        self._weigh()

    def load_done(self) -> int:
        """The load in flight ended; returns its unit."""
        unit, self.flying = self.flying, None
        if unit is None:
            raise AssertionError("a load ended that was not begun")
        self.there.add(unit)
        return unit

    def step_done(self, over: bool, resting: tuple[int, ...] = ()) -> int:
        """The running step ended, and its loop too if `over`; returns its number. `resting`: see
        `StepDone`."""
        step, self.running = self.running, None
        if step is None:
            raise AssertionError("a step ended that was not begun")
        self._resting = (*(n for n in self._resting if n > step), *resting)
        self._last_step, self.next_step = step, self._table.after(step, over)
        self._left_bytes = self._left_by(step)
        self._weigh()
        return step

    def _left_by(self, step: int) -> int:
        """Bytes of the tensors that are alive when a step has ended."""
        done, over = self._table.step(step), self.next_step == self._table.segment_end(step)
        return done.end_bytes if over else done.left_bytes

    def finish(self) -> None:
        """All is done: no step is left, and nothing is left in memory."""
        if self.next_step != self._table.end:
            raise AssertionError(f"deadlock before step {self.next_step}")
        left = self.there if self.flying is None else self.there | {self.flying}
        if left:
            raise AssertionError(f"left in memory: units {sorted(left)}")

    def _evict(self, unit: int) -> None:
        if unit == self.flying:
            raise AssertionError(f"unit {unit} is evicted in flight")
        if unit not in self.there:
            raise AssertionError(f"unit {unit} is evicted but not there")
        if self.running is not None and unit in self._units_of(self.running):
            raise AssertionError(f"unit {unit} is evicted in use")
        self.there.remove(unit)
        self._units_bytes -= self._table.units[unit].size_bytes

    def _start(self, step: int) -> None:
        if self.running is not None or step != self.next_step:
            raise AssertionError(f"step {step} is out of order")
        if not self.there.issuperset(self._units_of(step)):
            raise AssertionError(f"step {step} starts without {self._table.step(step).chunk}")
        self.running = step

    def _fetch(self, unit: int) -> None:
        if self.flying is not None:
            raise AssertionError("two loads at once")
        if unit in self.there:
            raise AssertionError(f"unit {unit} is loaded twice")
        self.flying = unit
        self._units_bytes += self._table.units[unit].size_bytes

    def _units_of(self, step: int) -> tuple[int, ...]:
        chunk = self._table.step(step).chunk
        return () if chunk is None or step in self._resting else self._table.units_of[chunk]

    def _weigh(self) -> None:
        """Between steps the tensors are those that the last one left."""
        own = self._left_bytes
        if self.running is not None:
            own = self._table.step(self.running).need_bytes
        held = self._units_bytes + own
        self.peak_bytes = max(self.peak_bytes, held)
        if held > self._table.budget_bytes:
            raise AssertionError(
                f"{held} bytes in memory at step {self.at}, the budget is "
                f"{self._table.budget_bytes} bytes"
            )
