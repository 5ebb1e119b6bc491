"""The runner that follows the online rule: what to load or evict is decided while it runs.

The same two threads as in `run`, and the same ledger for both: whoever ends a load or a step tells
the rule (`online.react`) and carries out its decisions before anything else happens. Evictions come
first, so memory stays within what the plan claims: that claim, proven by the checker for the plan's
gates, is the rule's budget.
"""

import time
from dataclasses import dataclass
from typing import Any

from entracte.clock.online import Decision, Event, Evict, LoadDone, Start, StepDone, begin, react
from entracte.clock.table import Unit, table_of
from entracte.devices import Device, PagedDevice
from entracte.ir import Plan, Segment
from entracte.program.steps import START
from entracte.run.runner import Runner
from entracte.units import format_bytes


@dataclass
class OnlineRunner(Runner):
    """Units of the table are the target's pages where the device can load them, else whole
    packages; `handles` is by unit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.placements, self.freed_at = [], {}
        self.paged = by_pages(self.plan, self.device)
        self.table = table_of(self.plan, self.paged is not None)
        self.opened: dict[str, Any] = {}
        """Chunk -> its handle, while any of its pages is there or on the way."""
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
                self._evict(decision.unit)
            elif isinstance(decision, Start):
                self.started = decision.step
            else:
                chunk = self.table.units[decision.unit].chunk
                # Now: an early end may come before the loader looks, and then there is no use.
                self.fetch_use = self.table.next_use(chunk, self.ledger.at)
                self.fetch = decision.unit

    def _evict(self, unit: int) -> None:
        handle, u = self.handles.pop(unit), self.table.units[unit]
        chunk = u.chunk
        if self.paged is None:
            self.device.free(handle)
            self._freed(chunk, u.size_bytes)
            return
        self.paged.free_page(handle, u.page)
        self._freed(chunk, u.size_bytes)
        fetched = None if self.fetch is None else self.table.units[self.fetch].chunk
        if chunk != fetched and not self.handles.keys() & set(self.table.units_of[chunk]):
            self.paged.free(self.opened.pop(chunk))

    def _free_everything(self) -> None:
        if self.paged is None:
            super()._free_everything()
            return
        for handle in self.opened.values():
            self.paged.free(handle)
        self.handles.clear()
        self.opened.clear()

    # ------------------------------------------------------------ loader

    def _load_all(self) -> None:
        try:
            while True:
                with self.change:
                    self.change.wait_for(lambda: self.fetch is not None or self.stopping)
                    if self.fetch is None or self.stopping:
                        return
                    unit, use = self.fetch, self.fetch_use
                handle, seconds = self._fetched_unit(unit, use)
                with self.change:
                    self.handles[unit] = handle
                    self.fetch = None
                    self._react(LoadDone(_ns(seconds)))
        except BaseException as error:
            self._stop(error)

    def _fetched_unit(self, unit: int, use: int) -> tuple[Any, float]:
        """A chunk's handle with this unit loaded, and the seconds that it took."""
        u = self.table.units[unit]
        if self.paged is None:
            return self._fetched(u.chunk, use)
        return self._timed(u.chunk, u.size_bytes, use, lambda: self._load_page(u, use))

    def _load_page(self, unit: Unit, use: int) -> Any:
        assert self.paged is not None
        with self.change:
            handle = self.opened.get(unit.chunk)
        if handle is None:
            sizes = [self.table.units[u].size_bytes for u in self.table.units_of[unit.chunk]]
            package = self.packages[unit.chunk]
            handle = self.paged.open(package, self.folder, sizes, self._function_at(use))
            with self.change:
                self.opened[unit.chunk] = handle
        self.paged.load_page(handle, unit.page)
        return handle

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


def by_pages(plan: Plan, device: Device) -> PagedDevice | None:
    """The device, if the plan's target has pages and it can load them."""
    if plan.target.page_bytes and isinstance(device, PagedDevice):
        return device
    return None


def whole_note(plan: Plan, device: Device) -> str | None:
    """What to say before a run whose device does not load the pages that the plan counts on.

    Whole packages are just as safe: the rule keeps the same budget, in which every step fits.
    """
    if plan.schedule.rule != "online" or not plan.target.page_bytes:
        return None
    if by_pages(plan, device) is not None:
        return None
    return (
        f"note: device {device.name} loads packages whole, not in the pages of "
        f"{format_bytes(plan.target.page_bytes)} that target {plan.target.name} has; memory stays "
        "within the claim, times may not (`target.page_bytes=0` plans for whole packages)"
    )


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
