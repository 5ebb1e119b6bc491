"""Accounting of live tensors while a program runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from entracte.reference import mil
from entracte.reference.guard import Guard


class Accounts:
    """Counts the storages that live tensors of the frame hold; constants are not counted.

    Weights that are decompressed for a use are weights, not activations: not counted either.
    """

    def __init__(
        self, frame: list[Any], pinned: frozenset[int], inputs: Sequence[torch.Tensor],
        hook: Callable[[str, str, Sequence[Any]], None] | None,
        check: Callable[[mil.Operation, Sequence[Any]], None] | None, guard: Guard | None = None,
    ) -> None:  # fmt: skip
        self._hook = hook
        self._guard = guard
        self._check = check
        self._live: dict[int, tuple[int, int]] = {}
        """Storage address: (bytes, references)."""
        self._of: dict[int, list[int]] = {}
        self._sum = 0
        self._ignored = {a for register in pinned for a, _ in _storages(frame[register])}
        for index, value in enumerate(inputs):
            self._hold(-1 - index, value)
        self.peak = self._sum

    def before(self, operation: mil.Operation, run: Any, values: Sequence[Any]) -> None:
        """Have the operation rehearsed where the package is not trusted."""
        if self._guard is not None:
            self._guard.before(operation, run, values)

    @property
    def detailed(self) -> bool:
        """Whether someone looks at every operation's result."""
        return self._hook is not None

    def after(
        self, operation: mil.Operation, out: Sequence[int], result: Sequence[Any],
        frees: Sequence[int],
    ) -> None:  # fmt: skip
        """Account for one operation's results, then for what it drops."""
        if self._check is not None:
            self._check(operation, result)
        if self._hook is not None:
            self._hook(operation.name, operation.type, result)
        weight = operation.unpacks
        for register, value in zip(out, result, strict=True):
            self._release(register)
            if not weight:
                self._hold(register, value)
        self.peak = max(self.peak, self._sum)
        if self._guard is not None:
            self._guard.after(operation, self._sum)
        for register in frees:
            self._release(register)

    def _hold(self, register: int, value: Any) -> None:
        addresses = []
        for address, nbytes in _storages(value):
            if address in self._ignored:
                continue
            size, count = self._live.get(address, (nbytes, 0))
            if count == 0:
                self._sum += nbytes
            self._live[address] = (size, count + 1)
            addresses.append(address)
        self._of[register] = addresses

    def _release(self, register: int) -> None:
        for address in self._of.pop(register, ()):
            nbytes, count = self._live[address]
            if count > 1:
                self._live[address] = (nbytes, count - 1)
                continue
            del self._live[address]
            self._sum -= nbytes


def _storages(value: Any) -> list[tuple[int, int]]:
    if isinstance(value, torch.Tensor):
        storage = value.untyped_storage()
        return [(storage.data_ptr(), storage.nbytes())] if storage.nbytes() else []
    if isinstance(value, (list, tuple)):
        return [pair for item in value for pair in _storages(item)]
    return []
