"""What a driver is: it hears what ended, and decides what is loaded, started and dropped next.

The machine (the clock that predicts, the runner that runs) carries decisions out in the order in
which they are given, before it reports the next event. `rule.OnlineRule` and `gates.Gates` are
drivers.
"""

from dataclasses import dataclass
from typing import Protocol

from entracte.clock.table import Table


@dataclass(frozen=True, slots=True)
class LoadDone:
    """The load in flight ended; it took so long."""

    ns: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """The running step ended. `over`: it was the last of its loop, whose `until` says stop.
    `resting`: later steps of its iteration whose calls will not happen, as what it made says."""

    ns: int
    over: bool = False
    resting: tuple[int, ...] = ()


Event = LoadDone | StepDone


@dataclass(frozen=True, slots=True)
class Evict:
    """Give a unit's memory back. It is neither in use nor on the way."""

    unit: int


@dataclass(frozen=True, slots=True)
class Start:
    """Run a step. Its chunk is loaded and no other step runs."""

    step: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Start to load a unit. No other load is in flight."""

    unit: int


Decision = Evict | Start | Fetch
"""To be carried out in the given order."""


class Driver(Protocol):
    """Decides what a machine does. It reads no clock: it knows what events tell it."""

    @property
    def table(self) -> Table:
        """The program, units and times in whose numbers it speaks."""

    def begin(self, at: int = 0) -> tuple[Decision, ...]:
        """The first decisions, before any event. `at`: the step that comes first; those before it
        were done elsewhere, and nothing of them is loaded here."""

    def react(self, event: Event) -> tuple[Decision, ...]:
        """What to do after one event. The event must be possible: what ends was under way."""
