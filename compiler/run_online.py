"""The runner that follows the online rule: what to load or evict is decided while it runs.

The same two threads as in `run`, and the same ledger for both: whoever ends a load or a step tells
the rule (`online.react`) and carries out its decisions before anything else happens. Evictions come
first, so memory stays within what the plan claims: that claim, proven by the checker for the plan's
gates, is the rule's budget.
"""

import time
from dataclasses import dataclass

from compiler.ir import Segment
from compiler.online import Decision, Event, Evict, LoadDone, Start, StepDone, begin, react
from compiler.online_table import table_of
from compiler.run import Runner
from compiler.slots import START


@dataclass
class OnlineRunner(Runner):
    """Units of the table are whole packages; `handles` is by unit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.placements, self.freed_at = [], {}
        self.table = table_of(self.plan)
        self.copy_of = {c: units[0] for c, units in self.table.units_of.items()}
        self.fetch: int | None = None
        """The unit that the loader is to load, or is loading."""
        self.fetch_use = 0
        self.started = START
        """The last step that may run."""
        self.step_s = 0.0
        self.over = False
        self.ledger, decisions = begin(self.table)
        self._carry_out(decisions)

    # ------------------------------------------------------------ the rule

    def _react(self, event: Event) -> None:
        """Tell the rule what happened, with the lock held."""
        self.ledger, decisions = react(self.table, self.ledger, event)
        self._carry_out(decisions)
        self.change.notify_all()

    def _carry_out(self, decisions: tuple[Decision, ...]) -> None:
        for decision in decisions:
            if isinstance(decision, Evict):
                unit = self.table.units[decision.unit]
                self.device.free(self.handles.pop(decision.unit))
                self._freed(unit.chunk, unit.size_bytes)
            elif isinstance(decision, Start):
                self.started = decision.step
            else:
                chunk = self.table.units[decision.unit].chunk
                # Now: an early end may come before the loader looks, and then there is no use.
                self.fetch_use = self.table.next_use(chunk, self.ledger.at)
                self.fetch = decision.unit

    # ------------------------------------------------------------ loader

    def _load_all(self) -> None:
        try:
            while True:
                with self.change:
                    self.change.wait_for(lambda: self.fetch is not None or self.stopping)
                    if self.fetch is None or self.stopping:
                        return
                    unit, use = self.fetch, self.fetch_use
                handle, seconds = self._fetched(self.table.units[unit].chunk, use)
                with self.change:
                    self.handles[unit] = handle
                    self.fetch = None
                    self._react(LoadDone(_ns(seconds)))
        except BaseException as error:
            self._stop(error)

    # ------------------------------------------------------------ computer

    def _iteration(self, number: int, segment: Segment, iteration: int) -> None:
        total = self.plan.program.step_count
        last = number + len(segment.steps) - 1
        for step in segment.steps:
            self._wait_for_start(number)
            begun = time.perf_counter()
            self.doing = number
            self._step(step, iteration)
            self.step_s = time.perf_counter() - begun
            if number < last:
                self._end_step(number)
            self.progress(step.stage, number + 1, total)
            number += 1

    def _wait_for_start(self, number: int) -> None:
        begun = time.perf_counter()
        with self.change:
            self.change.wait_for(lambda: self.started >= number or self.stopping)
            self.stall_s += time.perf_counter() - begun
            if self.failure is not None:
                raise self.failure

    def _drop_copies(self, resume: int) -> None:
        """The loop ended early: the rule drops what nothing needs, when it hears of it."""
        self.over = True

    def _end_step(self, number: int) -> None:
        with self.change:
            self._react(StepDone(_ns(self.step_s), self.over))
            self.over = False


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
