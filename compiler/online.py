"""The online rule: which unit to load or evict, and when a step may start.

Just-in-time Belady (shared reference scheduling.md, section 6): load what is needed next, evict
what is needed last, and start a load only when waiting for the end of the running step would
make some load late. A pure function of the program's table, the ledger and one event; no clock
is read. Specified, with the proof that it keeps the budget and never deadlocks for any timing,
in docs/online-rule.md; tests/vectors holds its test vectors.
"""

from dataclasses import dataclass, replace

from compiler.online_table import SCALE, Table

ONE = SCALE
SMALLEST, LARGEST = ONE // 64, ONE * 64
"""What one observation may say at most."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that the rule remembers."""

    at: int = 0
    """The step that runs or comes next; `Table.end` when all are done."""
    running: bool = False
    resident: tuple[int, ...] = ()
    """Units in memory, by rising number."""
    loading: int | None = None
    seen: tuple[int, ...] = ()
    """Units that were loaded at least once, by rising number: their next load is not cold."""
    exec_scale: int = ONE
    """Observed over nominal times of steps, in 1/4096."""
    load_scale: int = ONE


@dataclass(frozen=True, slots=True)
class LoadDone:
    """The load in flight ended; it took so long."""

    ns: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """The running step ended. `over`: it was the last of its loop, whose `until` says stop."""

    ns: int
    over: bool = False


Event = LoadDone | StepDone


@dataclass(frozen=True, slots=True)
class Evict:
    unit: int


@dataclass(frozen=True, slots=True)
class Start:
    step: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Start to load a unit."""

    unit: int


Decision = Evict | Start | Fetch
"""To be carried out in the given order."""


def begin(table: Table) -> tuple[Ledger, tuple[Decision, ...]]:
    """The ledger before the first event, and the first decisions."""
    return _decide(table, Ledger())


def react(table: Table, ledger: Ledger, event: Event) -> tuple[Ledger, tuple[Decision, ...]]:
    """What to do after one event. The event must be possible: what ends was under way."""
    return _decide(table, _note(table, ledger, event))


# ---------------------------------------------------------------- events


def _note(table: Table, ledger: Ledger, event: Event) -> Ledger:
    if isinstance(event, LoadDone):
        assert ledger.loading is not None
        nominal = _load_ns(table, ledger, ledger.loading)
        return replace(
            ledger,
            resident=tuple(sorted((*ledger.resident, ledger.loading))),
            loading=None,
            seen=tuple(sorted({*ledger.seen, ledger.loading})),
            load_scale=learned(ledger.load_scale, event.ns, nominal),
        )
    assert ledger.running
    return replace(
        ledger,
        at=table.after(ledger.at, event.over),
        running=False,
        exec_scale=learned(ledger.exec_scale, event.ns, table.exec_ns(ledger.at)),
    )


def _load_ns(table: Table, ledger: Ledger, unit: int) -> int:
    """Nominal time of the unit's next load."""
    u = table.units[unit]
    return u.load_ns + (0 if unit in ledger.seen else u.cold_ns)


def learned(scale: int, observed_ns: int, nominal_ns: int) -> int:
    """The scale after one more observation, which counts one fifth. Whole numbers only."""
    if nominal_ns == 0:
        return scale
    seen = min(max(observed_ns * ONE // nominal_ns, SMALLEST), LARGEST)
    return (4 * scale + seen) // 5


# ---------------------------------------------------------------- decisions


def _decide(table: Table, ledger: Ledger) -> tuple[Ledger, tuple[Decision, ...]]:
    """Drop what is never used again; start the next step; start a load."""
    uses = {c: table.next_use(c, ledger.at) for c in table.units_of}
    dead = [u for u in ledger.resident if uses[table.units[u].chunk] == table.end]
    ledger, decisions = _evicted(ledger, dead)
    ledger, more = _start(table, ledger, uses)
    decisions += more
    ledger, more = _fetch(table, ledger, uses)
    return ledger, (*decisions, *more)


def _evicted(ledger: Ledger, units: list[int]) -> tuple[Ledger, list[Decision]]:
    if not units:
        return ledger, []
    left = tuple(u for u in ledger.resident if u not in units)
    return replace(ledger, resident=left), [Evict(u) for u in units]


def _start(table: Table, ledger: Ledger, uses: dict[str, int]) -> tuple[Ledger, list[Decision]]:
    """Start the step that comes next if its chunk is there and memory allows."""
    if ledger.running or ledger.at == table.end:
        return ledger, []
    step = table.step(ledger.at)
    own = table.units_of[step.chunk] if step.chunk is not None else ()
    if not set(own) <= set(ledger.resident):
        return ledger, []
    victims = _victims(table, ledger, uses, step.need_bytes, ledger.at)
    if victims is None:
        # Only after an early end: a load in flight takes the room, and will end.
        return ledger, []
    ledger, decisions = _evicted(ledger, victims)
    return replace(ledger, running=True), [*decisions, Start(ledger.at)]


def _fetch(table: Table, ledger: Ledger, uses: dict[str, int]) -> tuple[Ledger, list[Decision]]:
    """Start the load of the first missing unit if it is due and memory allows."""
    if ledger.loading is not None:
        return ledger, []
    there = set(ledger.resident)
    missing = [u for u in range(len(table.units)) if u not in there]
    pending = sorted((uses[table.units[u].chunk], u) for u in missing)
    pending = [(use, u) for use, u in pending if use < table.end]
    if not pending or (ledger.running and not _is_due(table, ledger, pending)):
        return ledger, []
    use, unit = pending[0]
    room = table.units[unit].size_bytes + table.most_need(ledger.at, use)
    victims = _victims(table, ledger, uses, room, use)
    if victims is None:
        return ledger, []
    ledger, decisions = _evicted(ledger, victims)
    return replace(ledger, loading=unit), [*decisions, Fetch(unit)]


def _is_due(table: Table, ledger: Ledger, pending: list[tuple[int, int]]) -> bool:
    """Would some pending load be late if loading began only when the running step ends?"""
    margin = table.margin_ns(pending[0][0])
    begin_ns = table.nominal_before(ledger.at + 1)
    load_ns = 0
    for use, unit in pending:
        load_ns += _load_ns(table, ledger, unit)
        until_ns = (table.nominal_before(use) - begin_ns) * ledger.exec_scale // ONE
        if until_ns <= (load_ns + margin) * ledger.load_scale // ONE:
            return True
    return False


def _victims(
    table: Table, ledger: Ledger, uses: dict[str, int], room: int, use: int
) -> list[int] | None:
    """Units to evict so that `room` bytes are free: all of them used only after step `use`, and not
    of chunks that are kept in the loop of step `at`. None where that is impossible. Furthest next
    use first, then the higher number."""
    stop = table.segment_end(ledger.at)
    slower = ledger.load_scale * ONE // ledger.exec_scale
    kept = {c for c in table.kept(slower) if uses[c] < stop}
    units = table.units
    taken = sum(units[u].size_bytes for u in ledger.resident)
    if ledger.loading is not None:
        taken += units[ledger.loading].size_bytes
    short = taken + room - table.budget_bytes
    free = [(uses[units[u].chunk], u) for u in ledger.resident if units[u].chunk not in kept]
    chosen: list[int] = []
    for when, unit in sorted(free, reverse=True):
        if short <= 0 or when <= use:
            break
        chosen.append(unit)
        short -= units[unit].size_bytes
    if short > 0:
        return None
    # Sizes differ: the last one chosen may have made earlier ones unnecessary.
    for unit in reversed(list(chosen)):
        if short + units[unit].size_bytes <= 0:
            chosen.remove(unit)
            short += units[unit].size_bytes
    return chosen
