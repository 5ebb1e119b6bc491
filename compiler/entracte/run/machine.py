"""The machine that runs: a driver's decisions carried out by a loader thread and the computing one.

Whoever ends a load or a step tells the driver and carries out its decisions, with the lock held,
before anything else happens: memory given back comes first, so what is in memory stays within
what the plan claims whatever the timings. Accounts are kept beside the driver's own, as on the
clock, and refuse its first wrong decision.
"""

import threading
import time
from collections.abc import Collection
from types import TracebackType
from typing import Self

from entracte.clock.accounts import Accounts
from entracte.clock.driver import Decision, Driver, Event, Evict, LoadDone, Start, StepDone
from entracte.devices import Handle
from entracte.program.steps import START
from entracte.run.copies import Copies, Left
from entracte.run.journal import Journal


class Machine:
    """Inside `with` the loader works. What it raised is raised by `wait_for`, or at the end."""

    def __init__(
        self,
        driver: Driver,
        copies: Copies,
        journal: Journal,
        *,
        at: int = 0,
        end: int | None = None,
        carried: Collection[int] = (),
    ) -> None:
        """
        Args:
            at: the step that comes first; those before it were done by a run before this.
            end: the number after the last step that is run here, where the table goes on behind
                it: what is loaded then stays in memory, as `left`.
            carried: units that are in memory already.
        """
        self._driver, self._copies, self._journal, self._at = driver, copies, journal, at
        self._table, self._accounts = driver.table, Accounts(driver.table, at)
        self._change = threading.Condition()
        self._loader = threading.Thread(target=self._load_all, name="entracte-loader")
        self._wanted: tuple[int, int] | None = None
        """The unit that the loader is to load or is loading, and the step that it is for."""
        self._started = START
        """The last step that may run."""
        self._failure: BaseException | None = None
        self._stopping = False
        self._end = self._table.end if end is None else end
        self._carried = carried
        self.left: Left = {}
        """After a run that ended well before the table's end."""
        self.left_units: frozenset[int] = frozenset()

    @property
    def _goes_on(self) -> bool:
        """All steps that are run here are done, and the table's are not: the driver, which would
        start the next one, is not told any more."""
        return self._end < self._table.end and self._accounts.next_step >= self._end

    def __enter__(self) -> Self:
        for unit in sorted(self._carried):
            u = self._table.units[unit]
            self._journal.carried(u.chunk, u.size_bytes)
        self._accounts.carry(self._carried)
        with self._change:
            self._carry_out(self._driver.begin(self._at))
        self._loader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            # A loop that ended early at the very end may have left a load in flight: it is
            # finished and dropped like any other.
            with self._change:
                self._change.wait_for(lambda: self._accounts.flying is None or self._stopping)
        self._stop(error)
        self._loader.join()
        if error is None and self._failure is None and self._goes_on:
            self._leave()
            return
        self._copies.free_all()
        if error is None:
            if self._failure is not None:
                raise self._failure
            self._accounts.finish()

    def _leave(self) -> None:
        """What is loaded stays. In the journal it is given back: to whoever runs next."""
        self.left_units = frozenset(self._accounts.there)
        for unit in sorted(self.left_units):
            u = self._table.units[unit]
            self._journal.handed_on(u.chunk, u.size_bytes, self._end - 1)
        self.left = self._copies.leave()

    # ------------------------------------------------------------ for the computing thread

    def wait_for(self, step: int) -> None:
        """Until the driver starts this step."""
        begun = time.perf_counter()
        with self._change:
            self._change.wait_for(lambda: self._started >= step or self._stopping)
            self._journal.waited(time.perf_counter() - begun)
            if self._failure is not None:
                raise self._failure

    def handle(self, chunk: str) -> Handle:
        """Of a chunk whose call was started."""
        return self._copies.handle(chunk)

    def switch(self, chunk: str, step: int) -> None:
        """Before a started step calls its chunk: a copy that serves one function is loaded again
        for another one. The driver does not hear of it; what is in memory stays the same."""
        begun = time.perf_counter()
        if not self._copies.switch(chunk, step):
            return
        ended, units = time.perf_counter(), self._table.units_of[chunk]
        size_bytes = sum(self._table.units[u].size_bytes for u in units)
        self._journal.freed(chunk, size_bytes, step, begun)
        self._journal.loaded(chunk, size_bytes, step, begun, ended)
        self._journal.waited(ended - begun)

    def step_done(self, seconds: float, *, over: bool, resting: tuple[int, ...] = ()) -> None:
        """The started step ended, and with it, if `over`, its loop. `resting`: see `StepDone`."""
        with self._change:
            self._accounts.step_done(over, resting)
            if not self._goes_on:
                self._tell(StepDone(_ns(seconds), over, resting))

    # ------------------------------------------------------------ both threads, with the lock

    def _tell(self, event: Event) -> None:
        self._carry_out(self._driver.react(event))
        self._change.notify_all()

    def _carry_out(self, decisions: tuple[Decision, ...]) -> None:
        for decision in decisions:
            self._accounts.decided(decision)
            if isinstance(decision, Evict):
                self._free(decision.unit)
            elif isinstance(decision, Start):
                self._started = decision.step
            else:
                chunk = self._table.units[decision.unit].chunk
                # Now: an early end may come before the loader looks, and then there is no use.
                self._wanted = decision.unit, self._table.next_use(chunk, self._accounts.at)

    def _free(self, unit: int) -> None:
        u = self._table.units[unit]
        self._copies.free(unit, self._accounts.flying)
        self._journal.freed(u.chunk, u.size_bytes, min(self._accounts.doing, self._end - 1))

    def _stop(self, error: BaseException | None) -> None:
        with self._change:
            self._failure = self._failure or error
            self._stopping = True
            self._change.notify_all()

    # ------------------------------------------------------------ loader

    def _load_all(self) -> None:
        try:
            while True:
                with self._change:
                    self._change.wait_for(lambda: self._wanted is not None or self._stopping)
                    if self._wanted is None or self._stopping:
                        return
                    unit, step = self._wanted
                seconds = self._load(unit, step)
                with self._change:
                    self._wanted = None
                    self._accounts.load_done()
                    if self._goes_on:
                        self._change.notify_all()
                    else:
                        self._tell(LoadDone(_ns(seconds)))
        except BaseException as error:
            self._stop(error)

    def _load(self, unit: int, step: int) -> float:
        u, begun = self._table.units[unit], time.perf_counter()
        self._copies.load(unit, step)
        ended = time.perf_counter()
        self._journal.loaded(u.chunk, u.size_bytes, min(step, self._end - 1), begun, ended)
        return ended - begun


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
