"""Runs of one plan, one after another: what is in memory and needed next is not loaded again.

The online rule keeps its budget for any program in which each step fits alone, from any begin
within it (docs/proof.md). So a run's table goes on with the steps of the next one: what these need
is kept, and fetched, as far as there is room for it; the run ends where its own steps do, and hands
on what is loaded. The budget is the plan's claim, so no run of a series takes more than one alone.

Of a plan's gates each copy has its end in the plan, and that is what is proven: such plans hand
nothing on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from entracte.clock.rule import Ledger, OnlineRule
from entracte.clock.table import Table, followed, make_table, pages_of
from entracte.devices import Device, PagedDevice
from entracte.ir import Plan, Program
from entracte.program.conditions import Rest
from entracte.program.steps import functions_of
from entracte.program.workload import Workload
from entracte.run.copies import Build, Left, PagedCopies, WholeCopies
from entracte.run.journal import Journal
from entracte.run.machine import Machine

Page = tuple[str, int]
"""A chunk, and which page of it."""


@dataclass
class _Memory:
    """What a run has left, and what its rule has learned."""

    copies: Left = field(default_factory=dict)
    pages: frozenset[Page] = frozenset()
    ledger: Ledger = field(default_factory=Ledger)
    """Its scales are of use; its units are those of another table."""
    seen: frozenset[Page] = frozenset()


class Series:
    """Inside `with` runs hand on what they leave; at its end all is given back."""

    def __init__(self, plan: Plan, device: Device) -> None:
        self._plan, self._device = plan, device
        self._memory = _Memory()

    @staticmethod
    def suits(plan: Plan) -> bool:
        """Whether runs of a plan may hand something on."""
        return plan.schedule.driver == "online"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back(self._memory.copies)
        self._memory = _Memory()

    @property
    def has_left(self) -> bool:
        """Whether something is in memory."""
        return bool(self._memory.copies)

    def machine(
        self,
        rest: Rest,
        following: Rest | None,
        build: Build,
        paged: PagedDevice | None,
        journal: Journal,
    ) -> "Ongoing":
        """For a run of a part of the plan, and of what is expected of the one after it."""
        own = self._table(rest.program, paged)
        table = own if following is None else self._then(own, following, paged)
        build = replace(build, function_at=_functions(rest, following, own.end))
        memory, self._memory = self._memory, _Memory()
        # What neither of the two calls is of no use any more.
        strays = {c: memory.copies.pop(c) for c in [*memory.copies] if c not in table.units_of}
        self._give_back(strays)
        units = {(u.chunk, u.page): n for n, u in enumerate(table.units)}
        carried = frozenset(units[p] for p in memory.pages if p in units)
        ledger = replace(
            memory.ledger,
            at=0,
            running=False,
            loading=None,
            resident=carried,
            seen=frozenset(units[p] for p in memory.seen if p in units),
            held_bytes=sum(table.units[u].size_bytes for u in carried),
        )
        copies = WholeCopies(self._device, build, table) if paged is None else PagedCopies(
            paged, build, table
        )  # fmt: skip
        copies.take(memory.copies)
        rule = OnlineRule(table, ledger)
        machine = Machine(rule, copies, journal, end=own.end, carried=carried)
        return Ongoing(self, machine, rule, memory.seen)

    def _table(self, program: Program, paged: PagedDevice | None) -> Table:
        """Under the plan's claim."""
        plan = self._plan
        workload = replace(
            Workload.of(plan), program=program, budget_bytes=plan.forecast.peak_bytes
        )
        pages = {} if paged is None else pages_of(workload)
        return make_table(workload, pages=pages, kept=plan.schedule.kept)

    def _then(self, own: Table, following: Rest, paged: PagedDevice | None) -> Table:
        then = self._table(following.program, paged)
        return followed(own, then, own.budget_bytes, self._plan.schedule.kept)

    def keep(self, machine: Machine, rule: OnlineRule, seen: frozenset[Page]) -> None:
        """What a machine has left."""
        units = rule.table.units
        new = {(units[u].chunk, units[u].page) for u in rule.ledger.seen | machine.left_units}
        pages = frozenset((units[u].chunk, units[u].page) for u in machine.left_units)
        self._memory = _Memory(machine.left, pages, rule.ledger, seen | new)

    def _give_back(self, copies: Left) -> None:
        for handle, _ in copies.values():
            self._device.free(handle)


@dataclass
class Ongoing:
    """A machine of a series: what it leaves is the series' again."""

    series: Series
    machine: Machine
    rule: OnlineRule
    seen: frozenset[Page]

    def __enter__(self) -> Machine:
        return self.machine.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.machine.__exit__(kind, error, trace)
        self.series.keep(self.machine, self.rule, self.seen)


def _functions(rest: Rest, following: Rest | None, end: int) -> Callable[[int], str]:
    """By the number of a step, of this run's or of the next one's."""
    own = functions_of(rest.program)
    if following is None:
        return own
    then = functions_of(following.program)
    return lambda n: own(n) if n < end else then(n - end)
