"""What a long job tells while it runs."""

from typing import Protocol


class Reporter(Protocol):
    """Told what is going on; the command draws progress bars from it."""

    def phase(self, name: str, total: int, unit_bytes: bool = False) -> None:
        """A phase of `total` units begins: bytes, or things to count."""

    def start(self, label: str) -> None:
        """What runs now: a stage, a package; several may run at once."""

    def advance(self, label: str, amount: int = 1) -> None:
        """So many units more are done, or none and something else is; `label` is what."""


class Quiet:
    """A reporter that says nothing."""

    def phase(self, name: str, total: int, unit_bytes: bool = False) -> None:
        """See `Reporter`."""

    def start(self, label: str) -> None:
        """See `Reporter`."""

    def advance(self, label: str, amount: int = 1) -> None:
        """See `Reporter`."""
