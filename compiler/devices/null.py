"""The null device: a byte-exact ledger that computes nothing, for planner and runner tests."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.errors import RunError
from compiler.ir import Package, Port


@dataclass(frozen=True, slots=True)
class Blank:
    """A tensor without numbers, or with one and the same everywhere."""

    shape: tuple[int, ...]
    number: float = 0.0

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        import numpy as np

        return np.full(self.shape, self.number, dtype or np.float32)


class NullDevice:
    """Counts bytes; raises when a call has no chunk, a chunk is loaded twice, or room runs out.

    `budget_bytes` bounds weights plus the activation peak of the running call. `pause(what,
    chunk)` is called at each load and call, so that tests can make any timing happen;
    `number(chunk, output)` is asked after each call what an output holds, so that they can end
    loops.
    """

    name = "null"

    def __init__(
        self,
        budget_bytes: int | None = None,
        pause: Callable[[str, str], None] | None = None,
        number: Callable[[str, str], float] | None = None,
    ) -> None:
        self._budget = budget_bytes
        self._number = number or (lambda chunk, output: 0.0)
        self._pause = pause or (lambda what, chunk: None)
        self._loaded: dict[str, Package] = {}
        self._running = 0
        self._lock = threading.Lock()
        self.peak_bytes = 0
        self.log: list[tuple[str, str]] = []

    def load(self, package: Package, folder: Path, function: str = "main") -> Package:
        with self._lock:
            if package.chunk in self._loaded:
                raise RunError(f"null device: {package.chunk} is loaded twice")
            self._loaded[package.chunk] = package
            self._note("load", package.chunk)
        self._pause("load", package.chunk)
        return package

    def call(self, handle: Package, function: str, inputs: Mapping[str, Any]) -> dict[str, Blank]:
        with self._lock:
            if handle.chunk not in self._loaded:
                raise RunError(f"null device: {handle.chunk} is called but not loaded")
            if function not in handle.functions:
                raise RunError(f"null device: {handle.chunk} has no function {function!r}")
            self._check(handle.inputs, inputs)
            self._running = handle.activation_bytes
            self._note("call", handle.chunk)
        self._pause("call", handle.chunk)
        with self._lock:
            self._running = 0
        return {p.name: Blank(p.shape, self._number(handle.chunk, p.name)) for p in handle.outputs}

    @staticmethod
    def _check(ports: tuple[Port, ...], inputs: Mapping[str, Any]) -> None:
        for port in ports:
            shape = tuple(inputs[port.name].shape)
            if shape != port.shape:
                raise RunError(f"null device: {port.name} wants {port.shape}, gets {shape}")

    def free(self, handle: Package) -> None:
        with self._lock:
            del self._loaded[handle.chunk]
            self._note("free", handle.chunk)

    def _note(self, what: str, chunk: str) -> None:
        self.log.append((what, chunk))
        used = sum(p.weight_bytes for p in self._loaded.values()) + self._running
        self.peak_bytes = max(self.peak_bytes, used)
        if self._budget is not None and used > self._budget:
            raise RunError(f"null device: {used} bytes in use, budget {self._budget}")

    def resident_bytes(self) -> int:
        return sum(p.weight_bytes for p in self._loaded.values())

    def activation_peak_bytes(self) -> int:
        return 0

    def make(self, array: Any) -> Blank:
        return Blank(tuple(array.shape))

    def fetch(self, value: Blank) -> Blank:
        return value

    def piece(self, value: Blank, axis: int, start: int, size: int) -> Blank:
        shape = list(value.shape)
        shape[axis] = size
        return Blank(tuple(shape))

    def gather(self, pieces: list[Blank], axis: int) -> Blank:
        shape = list(pieces[0].shape)
        shape[axis] = sum(p.shape[axis] for p in pieces)
        return Blank(tuple(shape))
