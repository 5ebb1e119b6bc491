"""The online rule: which unit to load or evict, and when a step may start.

Just-in-time Belady (shared reference scheduling.md, section 6): load what is needed next, evict
what is needed last, and start a load only when waiting for the end of the running step would
make some load late. A pure function of the program's table, the ledger and one event; no clock
is read. Specified, with the proof that it keeps the budget and never deadlocks for any timing,
in docs/online-rule.md; tests/vectors holds its test vectors.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import chain, takewhile

from entracte.clock.driver import Decision, Event, Evict, Fetch, LoadDone, Start
from entracte.clock.table import SCALE, Table, Use
from entracte.errors import PlanError

ONE = SCALE
SMALLEST, LARGEST = ONE // 64, ONE * 64
"""What one observation may say at most."""
MAX_NS = 2**44
"""Most nominal time of a program (4.9 hours): times a scale it fits into 64 bits."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that the rule remembers."""

    at: int = 0
    """The step that runs or comes next; `Table.end` when all are done."""
    running: bool = False
    resident: frozenset[int] = frozenset()
    """Units in memory."""
    loading: int | None = None
    seen: frozenset[int] = frozenset()
    """Units that were loaded at least once: their next load is not cold."""
    exec_scale: int = ONE
    """Observed over nominal times of steps, in 1/4096."""
    load_scale: int = ONE
    resting: frozenset[int] = frozenset()
    """Steps from `at` on, of its iteration, that are known to rest."""
    held_bytes: int = 0
    """Of `resident` and `loading`: their sum, kept so that it need not be made again."""


class OnlineRule:
    """The rule as a driver. Raises `PlanError` for a program that is beyond it (`check_table`)."""

    def __init__(self, table: Table, ledger: Ledger | None = None) -> None:
        """`ledger`: what it remembers at the begin, where something is in memory already."""
        check_table(table)
        self.table = table
        self.ledger = ledger or Ledger()

    def begin(self, at: int = 0) -> tuple[Decision, ...]:
        """See `Driver`."""
        self.ledger, decisions = begin(self.table, replace(self.ledger, at=at))
        return decisions

    def react(self, event: Event) -> tuple[Decision, ...]:
        """See `Driver`."""
        self.ledger, decisions = react(self.table, self.ledger, event)
        return decisions


def check_table(table: Table) -> None:
    """The rule's preconditions. Raises `PlanError` where a step alone exceeds the budget (no rule
    could run it), or times are beyond the rule's numbers."""
    loads_ns = sum(u.load_ns + u.cold_ns for u in table.units)
    if max(table.total_ns, loads_ns) > MAX_NS:
        raise PlanError(f"online rule: nominal times exceed {MAX_NS} ns")
    for s, segment in enumerate(table.segments):
        for k, step in enumerate(segment.steps):
            own = table.size_bytes(step.chunk) if step.chunk is not None else 0
            if own + step.need_bytes > table.budget_bytes:
                raise PlanError(
                    f"online rule: step {s}.{k} ({step.chunk or 'host'}) needs "
                    f"{own + step.need_bytes} bytes alone, the budget is "
                    f"{table.budget_bytes} bytes"
                )


def begin(table: Table, ledger: Ledger | None = None) -> tuple[Ledger, tuple[Decision, ...]]:
    """The ledger before the first event, and the first decisions; it names the first step."""
    return _decide(table, ledger or Ledger())


def react(table: Table, ledger: Ledger, event: Event) -> tuple[Ledger, tuple[Decision, ...]]:
    """What to do after one event. The event must be possible: what ends was under way."""
    return _decide(table, _note(table, ledger, event))


# ---------------------------------------------------------------- events


def _note(table: Table, ledger: Ledger, event: Event) -> Ledger:
    if isinstance(event, LoadDone):
        assert ledger.loading is not None
        nominal = _load_ns(table, ledger, ledger.loading)
        new = frozenset((ledger.loading,))
        return Ledger(
            at=ledger.at,
            running=ledger.running,
            resident=ledger.resident | new,
            loading=None,
            seen=ledger.seen if new <= ledger.seen else ledger.seen | new,
            exec_scale=ledger.exec_scale,
            load_scale=learned(ledger.load_scale, event.ns, nominal),
            resting=ledger.resting,
            held_bytes=ledger.held_bytes,
        )
    assert ledger.running
    scale, at = ledger.exec_scale, table.after(ledger.at, event.over)
    if ledger.at not in ledger.resting:
        scale = learned(scale, event.ns, table.exec_ns(ledger.at))
    resting = frozenset(n for n in (*ledger.resting, *event.resting) if n >= at)
    return replace(ledger, at=at, running=False, exec_scale=scale, resting=resting)


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
    uses = table.uses(ledger.at, ledger.resting)
    never = takewhile(lambda x: x.use == table.end, reversed(uses))
    dead = sorted(u for x in never for u in x.units if u in ledger.resident)
    ledger, decisions = _evicted(table, ledger, dead)
    ledger, more = _start(table, ledger, uses)
    decisions += more
    ledger, more = _fetch(table, ledger, uses)
    return ledger, (*decisions, *more)


def _evicted(table: Table, ledger: Ledger, units: list[int]) -> tuple[Ledger, list[Decision]]:
    if not units:
        return ledger, []
    given = sum(table.units[u].size_bytes for u in units)
    left = ledger.resident.difference(units)
    ledger = replace(ledger, resident=left, held_bytes=ledger.held_bytes - given)
    return ledger, [Evict(u) for u in units]


def _start(table: Table, ledger: Ledger, uses: tuple[Use, ...]) -> tuple[Ledger, list[Decision]]:
    """Start the step that comes next if its chunk is there and memory allows."""
    if ledger.running or ledger.at == table.end:
        return ledger, []
    step = table.step(ledger.at)
    rests = step.chunk is None or ledger.at in ledger.resting
    own = () if rests else table.units_of[step.chunk or ""]
    if not ledger.resident.issuperset(own):
        return ledger, []
    victims = _victims(table, ledger, uses, step.need_bytes, ledger.at)
    if victims is None:
        # Only after an early end: a load in flight takes the room, and will end.
        return ledger, []
    ledger, decisions = _evicted(table, ledger, victims)
    return replace(ledger, running=True), [*decisions, Start(ledger.at)]


def _fetch(table: Table, ledger: Ledger, uses: tuple[Use, ...]) -> tuple[Ledger, list[Decision]]:
    """Start the load of the first missing unit if it is due and memory allows."""
    if ledger.loading is not None:
        return ledger, []
    missing = (x for x in uses if not ledger.resident.issuperset(x.units))
    first = next(missing, None)
    if first is None or first.use == table.end:
        return ledger, []
    if ledger.running and not _is_due(table, ledger, first, missing):
        return ledger, []
    use = first.use
    unit = next(u for u in first.units if u not in ledger.resident)
    room = table.units[unit].size_bytes + table.most_need(ledger.at, use)
    victims = _victims(table, ledger, uses, room, use)
    if victims is None:
        return ledger, []
    ledger, decisions = _evicted(table, ledger, victims)
    held = ledger.held_bytes + table.units[unit].size_bytes
    return replace(ledger, loading=unit, held_bytes=held), [*decisions, Fetch(unit)]


def _is_due(table: Table, ledger: Ledger, first: Use, others: Iterator[Use]) -> bool:
    """Would some pending load be late if loading began only when the running step ends?

    Of the units of one chunk, all with the same use, the last one is late first.
    """
    margin = table.margin_ns(first.use)
    begin_ns = table.nominal_before(ledger.at + 1)
    load_ns = 0
    for x in chain((first,), others):
        if x.use == table.end:
            return False
        load_ns += sum(_load_ns(table, ledger, u) for u in x.units if u not in ledger.resident)
        until_ns = (x.before_ns - begin_ns) * ledger.exec_scale // ONE
        if until_ns <= (load_ns + margin) * ledger.load_scale // ONE:
            return True
    return False


def _victims(
    table: Table, ledger: Ledger, uses: tuple[Use, ...], room: int, use: int
) -> list[int] | None:
    """Units to evict so that `room` bytes are free: all of them used only after step `use`, and not
    of chunks that are kept in the loop of step `at`. None where that is impossible. Furthest next
    use first, then the higher number."""
    short = ledger.held_bytes + room - table.budget_bytes
    if short <= 0:
        return []
    stop = table.segment_end(ledger.at)
    kept = table.kept(ledger.load_scale * ONE // ledger.exec_scale)
    chosen: list[int] = []
    for unit in _by_last_use(ledger, uses, use, stop, kept):
        chosen.append(unit)
        short -= table.units[unit].size_bytes
        if short <= 0:
            break
    if short > 0:
        return None
    # Sizes differ: the last one chosen may have made earlier ones unnecessary.
    for unit in reversed(list(chosen)):
        if short + table.units[unit].size_bytes <= 0:
            chosen.remove(unit)
            short += table.units[unit].size_bytes
    return chosen


def _by_last_use(
    ledger: Ledger, uses: tuple[Use, ...], limit: int, stop: int, kept: Collection[str]
) -> Iterator[int]:
    """Units that may be evicted, the furthest next use first."""
    for x in reversed(uses):
        if x.use <= limit:
            return
        if x.use < stop and x.chunk in kept:
            continue
        yield from (u for u in reversed(x.units) if u in ledger.resident)
