"""The online rule on a clock: one loader, one compute unit, contention, and a byte ledger.

Times are whole nanoseconds. While a load and a step overlap, both proceed at 1/gamma of their
speed. The ledger is kept from the decisions alone, apart from the rule's own: it raises
`AssertionError` at the first decision that breaks the budget, runs a step without its chunk or
tensors, loads what is there or evicts what is not or is in use; and at the end if anything is
left. (It is a test of the rule, not of its input: that is `Table`'s.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from entracte.clock.online import (
    Decision,
    Event,
    Evict,
    Ledger,
    LoadDone,
    Start,
    StepDone,
    begin,
    react,
)
from entracte.clock.table import Table
from entracte.ir import Call, Program
from entracte.program.assemble import reads, writes

Load_ns = Callable[[int, int], int]
"""(unit, how many loads were made before) -> nanoseconds without contention."""
Exec_ns = Callable[[int, int], int]
"""(step, how many steps were made before) -> nanoseconds without contention."""


@dataclass(frozen=True, slots=True)
class Happened:
    """One event, when it came, what the rule then decided, and its ledger after that."""

    at_ns: int
    event: Event | None
    decisions: tuple[Decision, ...]
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Bar:
    """What happened from when to when: queue `load` and `free` of a unit, `compute` of a step."""

    queue: str
    what: int
    """The unit, or the step's number."""
    step: int
    """Of a load the step that it serves; of a free the one that runs or comes next."""
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class OnlineRun:
    makespan_ns: int
    compute_ns: int
    """Time in which a step ran, contention included."""
    loading_ns: int
    loads: int
    loaded_bytes: int
    peak_bytes: int
    """Most bytes of units and of the running step's need at once."""
    history: tuple[Happened, ...]
    bars: tuple[Bar, ...] = ()
    """By end."""

    @property
    def stall_ns(self) -> int:
        return self.makespan_ns - self.compute_ns


@dataclass(frozen=True, slots=True)
class Gamma:
    """Mutual slow-down as a fraction, at least 1."""

    above: int = 1
    below: int = 1

    def __post_init__(self) -> None:
        assert self.above >= self.below >= 1


class Driver:
    """What decides: the online rule. A stand-in may replay a fixed schedule."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.ledger = Ledger()

    def begin(self) -> tuple[Decision, ...]:
        self.ledger, decisions = begin(self.table)
        return decisions

    def react(self, event: Event) -> tuple[Decision, ...]:
        self.ledger, decisions = react(self.table, self.ledger, event)
        return decisions


def simulate_online(
    table: Table,
    *,
    load_ns: Load_ns | None = None,
    exec_ns: Exec_ns | None = None,
    gamma: Gamma = Gamma(),  # noqa: B008 (frozen)
    ends: Mapping[int, int] | None = None,
    program: Program | None = None,
    driver: Driver | None = None,
    keep_history: bool = False,
) -> OnlineRun:
    """Run the rule to the end.

    Args:
        load_ns, exec_ns: what loads and steps really take; nominal where None, and a unit's first
            load is then cold.
        ends: segment -> iterations after which its loop is over; others do all of theirs.
        program: if given, tensors are followed too, between steps as well.
        driver: what decides instead of the online rule.
        keep_history: keep every event with its decisions.
    """
    times = (load_ns, exec_ns or (lambda step, _: table.exec_ns(step)))
    tensors = Tensors(program) if program is not None else None
    clock = _Clock(table, times, gamma, ends or {}, tensors, driver or Driver(table))
    clock.run(keep_history)
    return clock.result()


@dataclass
class _Work:
    """Something under way: nanoseconds left, times gamma's denominator for exactness."""

    what: int
    began_ns: int
    left: int


@dataclass
class _Clock:
    """Working state of `simulate_online`, and its own ledger of bytes."""

    table: Table
    times: tuple[Load_ns | None, Exec_ns]
    gamma: Gamma
    ends: Mapping[int, int]
    tensors: "Tensors | None"
    driver: Driver
    now: int = 0
    load: _Work | None = None
    step: _Work | None = None
    next_step: int = 0
    units: dict[int, int] = field(default_factory=dict)
    """In memory or on the way -> bytes."""
    loads: int = 0
    steps: int = 0
    loaded_bytes: int = 0
    computing: int = 0
    loading: int = 0
    peak: int = 0
    seen: set[int] = field(default_factory=set)
    serves: int = 0
    """The step that the load in flight is for."""
    history: list[Happened] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def run(self, keep_history: bool) -> None:
        event: Event | None = None
        while True:
            decided = self.driver.begin() if event is None else self.driver.react(event)
            for decision in decided:
                self.carry_out(decision)
            if keep_history:
                self.history.append(Happened(self.now, event, decided, self.driver.ledger))
            if self.load is None and self.step is None:
                break
            event = self.advance()
        assert self.next_step == self.table.end, f"deadlock before step {self.next_step}"
        assert not self.units, f"left in memory: {sorted(self.units)}"
        if self.tensors is not None:
            self.tensors.finish()

    # ------------------------------------------------------------ decisions

    def carry_out(self, decision: Decision) -> None:
        if isinstance(decision, Evict):
            self.evict(decision.unit)
        elif isinstance(decision, Start):
            self.start(decision.step)
        else:
            self.fetch(decision.unit)
        self.weigh()

    def evict(self, unit: int) -> None:
        assert unit in self.units, f"unit {unit} is evicted but not there"
        assert self.load is None or self.load.what != unit, f"unit {unit} is evicted in flight"
        busy = self.table.step(self.step.what).chunk if self.step is not None else None
        assert self.table.units[unit].chunk != busy, f"unit {unit} is evicted in use"
        del self.units[unit]
        self.bars.append(Bar("free", unit, self.current(), self.now, self.now))

    def fetch(self, unit: int) -> None:
        assert self.load is None, "two loads at once"
        assert unit not in self.units, f"unit {unit} is loaded twice"
        size = self.table.units[unit].size_bytes
        self.units[unit] = size
        self.load = _Work(unit, self.now, self.load_ns(unit) * self.gamma.above)
        self.serves = self.table.next_use(self.table.units[unit].chunk, self.current())
        self.seen.add(unit)
        self.loads += 1
        self.loaded_bytes += size

    def load_ns(self, unit: int) -> int:
        """Without contention."""
        if self.times[0] is not None:
            return self.times[0](unit, self.loads)
        u = self.table.units[unit]
        return u.load_ns + (0 if unit in self.seen else u.cold_ns)

    def current(self) -> int:
        """The step that runs or comes next."""
        return self.step.what if self.step is not None else self.next_step

    def start(self, step: int) -> None:
        assert self.step is None and step == self.next_step, f"step {step} out of order"
        chunk = self.table.step(step).chunk
        there = set(self.units) - ({self.load.what} if self.load is not None else set())
        own = self.table.units_of[chunk] if chunk is not None else ()
        assert set(own) <= there, f"step {step} starts without {chunk}"
        self.step = _Work(step, self.now, self.times[1](step, self.steps) * self.gamma.above)
        self.steps += 1
        if self.tensors is not None:
            self.tensors.start(*self.table.where(step))

    def weigh(self) -> None:
        """What is in memory now, against the budget."""
        held = sum(self.units.values())
        if self.step is not None:
            held += self.table.step(self.step.what).need_bytes
        elif self.tensors is not None:
            held += self.tensors.held_bytes()
        self.peak = max(self.peak, held)
        assert held <= self.table.budget_bytes, f"{held} bytes at {self.now} ns"

    # ------------------------------------------------------------ time

    def advance(self) -> Event:
        """To the next end of a load or a step; of two at once, the load's comes first."""
        both = self.load is not None and self.step is not None
        speed = self.gamma.below if both else self.gamma.above
        left = min(w.left for w in (self.load, self.step) if w is not None)
        passed = -(-left // speed)
        self.now += passed
        self.computing += passed if self.step is not None else 0
        self.loading += passed if self.load is not None else 0
        for work in (self.load, self.step):
            if work is not None:
                work.left -= passed * speed
        if self.load is not None and self.load.left <= 0:
            done, self.load = self.load, None
            self.bars.append(Bar("load", done.what, self.serves, done.began_ns, self.now))
            return LoadDone(self.now - done.began_ns)
        assert self.step is not None
        done, self.step = self.step, None
        return self.end_step(done)

    def end_step(self, done: _Work) -> StepDone:
        self.bars.append(Bar("compute", done.what, done.what, done.began_ns, self.now))
        s, iteration, k = self.table.where(done.what)
        length = len(self.table.segments[s].steps)
        more = iteration + 1 < self.table.segments[s].count
        over = k + 1 == length and more and self.ends.get(s) == iteration + 1
        self.next_step = self.table.after(done.what, over)
        if self.tensors is not None:
            self.tensors.end(s, k, over or (k + 1 == length and not more))
        self.weigh()
        return StepDone(self.now - done.began_ns, over)

    def result(self) -> OnlineRun:
        return OnlineRun(
            makespan_ns=self.now,
            compute_ns=self.computing,
            loading_ns=self.loading,
            loads=self.loads,
            loaded_bytes=self.loaded_bytes,
            peak_bytes=self.peak,
            history=tuple(self.history),
            bars=tuple(self.bars),
        )


class Tensors:
    """Which tensors are alive now, followed step by step."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.size = {t.name: t.size_bytes for t in program.tensors}
        self.alive = {i.name for i in program.inputs} | {c.name for c in program.constants}
        self.given = set(self.alive)

    def held_bytes(self) -> int:
        return sum(self.size.get(x, 0) for x in self.alive)

    def start(self, s: int, iteration: int, k: int) -> None:
        """What the step reads is there; what it writes is made."""
        segment = self.program.segments[s]
        if k == 0 and iteration == 0:
            self.alive |= {name for name, _, _ in segment.state}
        step = segment.steps[k]
        lost = reads(step) - self.alive
        assert not lost, f"step {s}.{iteration}.{k} reads {sorted(lost)}"
        self.alive |= writes(step)

    def end(self, s: int, k: int, leaves: bool) -> None:
        """The step's frees, and after an iteration the state's move."""
        segment = self.program.segments[s]
        step = segment.steps[k]
        self.alive -= set(step.frees)
        if k + 1 < len(segment.steps):
            return
        self.alive -= {following for _, _, following in segment.state}
        self.alive.discard(segment.until or "")
        if leaves:
            self.alive -= set(segment.frees)

    def finish(self) -> None:
        left = self.alive - self.given - {self.program.output}
        assert not left, f"tensors left: {sorted(left)}"


def calls_of(program: Program, ends: Mapping[int, int] | None = None) -> list[str]:
    """The chunks that a run calls, in order; a map counts once."""
    return [
        x.chunk
        for s, g in enumerate(program.segments)
        for _ in range(min((ends or {}).get(s, g.count), g.count))
        for x in g.steps
        if isinstance(x, Call)
    ]
