"""Constants of a function, each in one register of the frame."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from entracte.reference import mil
from entracte.reference.code import Session
from entracte.reference.weights import Weights


class Constants:
    """Puts a constant into the frame when it is asked for first.

    Attributes:
        registers: all that hold a constant.
        decompressed_bytes: what `keep` was given.
    """

    def __init__(self, session: Session, weights: Weights) -> None:
        self._session = session
        self._weights = weights
        self._dense: dict[Hashable, int] = {}
        self._stored: dict[tuple[Hashable, mil.Type], int] = {}
        self._plain: dict[Hashable, int] = {}
        self._kept: dict[int, tuple[int, ...]] = {}
        self.registers: set[int] = set()
        self.decompressed_bytes = 0

    def dense(self, value: mil.Value, op: str) -> int:
        """The register of a constant's tensor, read for the operation `op`."""
        key = (value.blob or id(value), value.type)
        if key not in self._dense:
            self._dense[key] = self._new(self._weights.tensor(value, op))
        return self._dense[key]

    def stored(self, value: mil.Value, op: str) -> int:
        """The register of a constant as it is stored (`weights.Packed`)."""
        key = (value.blob or id(value), value.type)
        if key not in self._stored:
            self._stored[key] = self._new(self._weights.packed(value, op))
        return self._stored[key]

    def plain(self, operation: mil.Operation, name: str, value: Any) -> int:
        """The register of an operation's input that is handed over as a Python value."""
        key = (id(operation), name)
        if key not in self._plain:
            self._plain[key] = self._new(value)
        return self._plain[key]

    def absent(self) -> int:
        """The register of all inputs that are not given: it holds None."""
        if None not in self._plain:
            self._plain[None] = self._new(None)
        return self._plain[None]

    def kept(self, operation: mil.Operation) -> tuple[int, ...] | None:
        """The registers of a weight that was decompressed for good, None if it was not."""
        return self._kept.get(id(operation))

    def keep(self, operation: mil.Operation, outs: tuple[int, ...]) -> None:
        """Take results of an operation on constants for constants."""
        self._kept[id(operation)] = outs
        self.registers.update(outs)
        values = [self._session.frame[register] for register in outs]
        self.decompressed_bytes += sum(v.numel() * v.element_size() for v in values)

    @contextmanager
    def passing_stored(self) -> Iterator[None]:
        """Stored forms that are first asked for within are dropped at the end."""
        before = set(self._stored)
        yield
        for key in self._stored.keys() - before:
            register = self._stored.pop(key)
            self._session.frame[register] = None
            self.registers.discard(register)
            self._weights.release(key[0])

    def value(self, register: int) -> Any:
        """What a register holds if that is a constant; None for a computed one."""
        return self._session.frame[register] if register in self.registers else None

    def _new(self, value: Any) -> int:
        register = self._session.new_register(value)
        self.registers.add(register)
        return register
