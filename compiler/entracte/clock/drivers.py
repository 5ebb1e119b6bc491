"""The drivers that there are, by the name that `Schedule.driver` says: one row each."""

from collections.abc import Callable
from dataclasses import dataclass

from entracte.clock.driver import Driver
from entracte.clock.gates import Gates
from entracte.clock.rule import OnlineRule
from entracte.clock.table import make_table, pages_of
from entracte.errors import PlanError
from entracte.ir import Schedule
from entracte.program.workload import Workload


@dataclass(frozen=True, slots=True)
class DriverKind:
    """A row of `DRIVERS`.

    Attributes:
        name: as `Schedule.driver` says it.
        title: what a runner follows, in a table.
        by_pages: it can load less than a package, where the device can.
        make: raises `PlanError` for a schedule that it cannot carry out.
    """

    name: str
    title: str
    by_pages: bool
    make: Callable[[Workload, Schedule], Driver]


def _gates(workload: Workload, schedule: Schedule) -> Driver:
    return Gates(make_table(workload), workload.program, schedule)


def _online(workload: Workload, schedule: Schedule) -> Driver:
    return OnlineRule(make_table(workload, pages=pages_of(workload), kept=schedule.kept))


DRIVERS = {
    kind.name: kind
    for kind in (
        DriverKind("gates", "the plan's gates", False, _gates),
        DriverKind("online", "the online rule", True, _online),
    )
}


def kind_of(schedule: Schedule) -> DriverKind:
    """Raises `PlanError` for a driver that there is not."""
    if schedule.driver not in DRIVERS:
        raise PlanError(
            f"plan: the driver {schedule.driver!r} is not one of {', '.join(sorted(DRIVERS))}"
        )
    return DRIVERS[schedule.driver]


def make_driver(workload: Workload, schedule: Schedule) -> Driver:
    """What decides the loads of this schedule, at its beginning. Raises `PlanError` for a schedule
    that its driver cannot carry out."""
    return kind_of(schedule).make(workload, schedule)
