"""The machine that predicts: a driver's decisions on a clock, with whole nanoseconds.

One loader and one compute unit. While a load and a step overlap, both proceed at 1/gamma of their
speed (shared reference scheduling.md, section 7). Of two ends at the same moment the step's comes
first: then what to load next is decided when all that ended is known, and the chunk that was in
use may go. Every decision is entered into accounts of its own (`Accounts`), which raise
`AssertionError` at the first that is wrong.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from entracte.clock.accounts import Accounts
from entracte.clock.driver import Decision, Driver, Event, Evict, LoadDone, Start, StepDone
from entracte.clock.table import Table

Times = Callable[[int, int], int]
"""(unit or step, how many loads or steps were begun before) -> nanoseconds without contention."""


@dataclass(frozen=True, slots=True)
class Gamma:
    """Mutual slow-down as a fraction, at least 1."""

    above: int = 1
    below: int = 1

    def __post_init__(self) -> None:
        assert self.above >= self.below >= 1

    @classmethod
    def of(cls, contention: float) -> "Gamma":
        """To a thousandth."""
        return cls(round(1000 * contention), 1000)


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened from when to when: queue `load` and `free` of a unit, `compute` of a step,
    `switch` of a unit that is loaded again for the function of a step."""

    queue: str
    what: int
    """The unit, or the step's number."""
    step: int
    """Of a load or a switch the step that it serves; of a free the one that runs or ran last."""
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a driver made of a program, in the numbers of its table."""

    table: Table
    makespan_ns: int
    compute_ns: int
    """Time in which a step ran, contention included."""
    loading_ns: int
    loads: int
    """Switches among them, each as a load; so in `loading_ns` and `loaded_bytes`."""
    loaded_bytes: int
    peak_bytes: int
    """Most bytes of units and of what steps need at once."""
    intervals: tuple[Interval, ...]
    """By end."""

    @property
    def stall_ns(self) -> int:
        """Time in which no step ran."""
        return self.makespan_ns - self.compute_ns


Watch = Callable[[int, Event | None, tuple[Decision, ...]], None]
"""Is told of every event (None at the beginning): its moment in ns, and what was decided then."""


def simulate(  # noqa: PLR0913 - what may be other than nominal
    driver: Driver,
    *,
    load_ns: Times | None = None,
    exec_ns: Times | None = None,
    gamma: Gamma = Gamma(),  # noqa: B008 (frozen)
    ends: Mapping[int, int] | None = None,
    functions: Callable[[int], str] | None = None,
    rests: Callable[[int], bool] | None = None,
    watch: Watch | None = None,
    at: int = 0,
) -> Simulation:
    """Run a driver to the end of its program.

    Args:
        load_ns, exec_ns: what loads and steps really take; nominal where None, and a unit's first
            load is then cold.
        ends: segment -> iterations after which its loop is over; others do all of theirs.
        functions: step -> the function that its call uses, on a device whose loaded copies serve
            one function: that of the step which a load serves. A step that calls another one waits
            until the copy was dropped and loaded again (a switch). None: copies serve all.
        rests: steps whose calls a tensor lets rest: they take no time. None: there are none.
        at: the step that comes first; those before it were done elsewhere.

    Raises `AssertionError` where the driver decides what is wrong, or stops before the end.
    """
    clock = _Clock(driver.table, load_ns, exec_ns, gamma, ends or {}, functions, rests)
    clock.accounts = Accounts(driver.table, at)
    event: Event | None = None
    while True:
        decisions = driver.begin(at) if event is None else driver.react(event)
        for decision in decisions:
            clock.carry_out(decision)
        if watch is not None:
            watch(clock.now, event, decisions)
        if clock.is_idle:
            clock.accounts.finish()
            return clock.result()
        event = clock.advance()


@dataclass(slots=True)
class _Work:
    """Something under way: nanoseconds left, times gamma's numerator so that they stay whole."""

    began_ns: int
    left: int


class _Clock:
    """Working state of `simulate`."""

    def __init__(  # noqa: PLR0913 - as of `simulate`
        self,
        table: Table,
        load_ns: Times | None,
        exec_ns: Times | None,
        gamma: Gamma,
        ends: Mapping[int, int],
        functions: Callable[[int], str] | None,
        rests: Callable[[int], bool] | None,
    ) -> None:
        self.table, self.gamma, self.ends, self.functions = table, gamma, ends, functions
        self.rests = rests or (lambda _: False)
        self.load_ns, self.exec_ns = load_ns or self._nominal_load, exec_ns or self._nominal_step
        self.accounts = Accounts(table)
        self.now = 0
        self.load: _Work | None = None
        self.step: _Work | None = None
        self.switch: _Work | None = None
        """What the step that was started waits for."""
        self.bound: dict[str, str] = {}
        """Chunk -> the function that its copy was loaded for."""
        self.serves = 0
        """The step that the load in flight is for."""
        self.seen: set[int] = set()
        self.steps = self.loads = self.loaded_bytes = 0
        self.computing = self.loading = 0
        self.intervals: list[Interval] = []

    def carry_out(self, decision: Decision) -> None:
        self.accounts.decided(decision)
        if isinstance(decision, Evict):
            doing = self.accounts.doing
            self.intervals.append(Interval("free", decision.unit, doing, self.now, self.now))
        elif isinstance(decision, Start):
            self._start(decision.step)
        else:
            self._fetch(decision.unit)

    def _fetch(self, unit: int) -> None:
        u = self.table.units[unit]
        self.load = self._work(self.load_ns(unit, self.loads))
        self.serves = self.table.next_use(u.chunk, self.accounts.at)
        if self.functions is not None and self.serves < self.table.end:
            self.bound[u.chunk] = self.functions(self.serves)
        self.seen.add(unit)
        self.loads += 1
        self.loaded_bytes += u.size_bytes

    def _start(self, step: int) -> None:
        """The step, or first the switch that it needs."""
        chunk = self.table.step(step).chunk
        if self.functions is not None and chunk is not None and not self.rests(step):
            function = self.functions(step)
            if self.bound[chunk] != function:
                self.bound[chunk] = function
                self.switch = self._work(self._switch_ns(chunk))
                return
        self._begin(step)

    def _switch_ns(self, chunk: str) -> int:
        """All units of a chunk, one after the other; memory is the same before and after."""
        total = 0
        for unit in self.table.units_of[chunk]:
            total += self.load_ns(unit, self.loads)
            self.loads += 1
            self.loaded_bytes += self.table.units[unit].size_bytes
            doing = self.accounts.doing
            self.intervals.append(Interval("free", unit, doing, self.now, self.now))
        return total

    def _begin(self, step: int) -> None:
        self.step = self._work(0 if self.rests(step) else self.exec_ns(step, self.steps))
        self.steps += 1

    @property
    def is_idle(self) -> bool:
        """Nothing is under way."""
        return self.load is None and self.step is None and self.switch is None

    def _work(self, ns: int) -> _Work:
        return _Work(self.now, ns * self.gamma.above)

    def _nominal_load(self, unit: int, _: int) -> int:
        u = self.table.units[unit]
        return u.load_ns + (0 if unit in self.seen else u.cold_ns)

    def _nominal_step(self, step: int, _: int) -> int:
        return self.table.exec_ns(step)

    def advance(self) -> Event:
        """To the next end of a load or a step; of two at once, the step's comes first."""
        while True:
            load, switch, step = self.load, self.switch, self.step
            self._pass([w for w in (load, switch, step) if w is not None])
            if step is not None and step.left <= 0:
                return self._end_step(step)
            if switch is not None and switch.left <= 0:
                self._end_switch(switch)
                continue
            assert load is not None
            return self._end_load(load)

    def _pass(self, under_way: list[_Work]) -> None:
        """To the next end of any of them: one, or two of which each slows the other down."""
        speed = self.gamma.below if len(under_way) > 1 else self.gamma.above
        passed = -(-min(w.left for w in under_way) // speed)
        self.now += passed
        for work in under_way:
            work.left -= passed * speed
        self.computing += 0 if self.step is None else passed
        self.loading += 0 if self.load is None and self.switch is None else passed

    def _end_switch(self, work: _Work) -> None:
        """No driver hears of it."""
        self.switch = None
        step = self.accounts.at
        chunk = self.table.step(step).chunk
        assert chunk is not None
        for unit in self.table.units_of[chunk]:
            self.intervals.append(Interval("switch", unit, step, work.began_ns, self.now))
        self._begin(step)

    def _end_load(self, work: _Work) -> LoadDone:
        self.load = None
        unit = self.accounts.load_done()
        self.intervals.append(Interval("load", unit, self.serves, work.began_ns, self.now))
        return LoadDone(self.now - work.began_ns)

    def _end_step(self, work: _Work) -> StepDone:
        self.step = None
        number = self.accounts.at
        s, iteration, k = self.table.where(number)
        segment = self.table.segments[s]
        last = k + 1 == len(segment.steps) and iteration + 1 < segment.count
        over = last and self.ends.get(s) == iteration + 1
        resting = tuple(n for n in self.table.asking(number) if self.rests(n))
        self.accounts.step_done(over, resting)
        self.intervals.append(Interval("compute", number, number, work.began_ns, self.now))
        return StepDone(self.now - work.began_ns, over, resting)

    def result(self) -> Simulation:
        return Simulation(
            table=self.table,
            makespan_ns=self.now,
            compute_ns=self.computing,
            loading_ns=self.loading,
            loads=self.loads,
            loaded_bytes=self.loaded_bytes,
            peak_bytes=self.accounts.peak_bytes,
            intervals=tuple(self.intervals),
        )
