"""The null device: a byte-exact ledger that computes nothing, for planner and runner tests."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entracte.errors import RunError
from entracte.ir import DType, Package, Port


@dataclass(frozen=True, slots=True)
class Blank:
    """A tensor without numbers, or with one and the same everywhere."""

    shape: tuple[int, ...]
    number: float = 0.0

    def __getitem__(self, index: tuple[slice, ...]) -> "Blank":
        sizes = [len(range(*at.indices(n))) for at, n in zip(index, self.shape, strict=False)]
        return Blank((*sizes, *self.shape[len(sizes) :]), self.number)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        import numpy as np

        return np.full(self.shape, self.number, dtype or np.float32)


@dataclass(eq=False)
class Pages:
    """A package that is loaded by pages: bytes of each, and which are there."""

    package: Package
    sizes: tuple[int, ...]
    there: set[int]


class NullDevice:
    """Counts bytes; raises when a call has no chunk, a chunk is loaded twice, or room runs out.

    So it does with pages: a page is loaded twice or freed without being there, a call lacks one.

    `budget_bytes` bounds weights plus the activation peak of the running call. `pause(what,
    chunk)` is called at each load and call, so that tests can make any timing happen;
    `number(chunk, output)` is asked after each call what an output holds, so that they can end
    loops.
    """

    name = "null"
    one_function = False

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
        self._open: dict[str, Pages] = {}
        self._running = 0
        self._lock = threading.Lock()
        self.peak_bytes = 0
        self.log: list[tuple[str, str]] = []

    def load(self, package: Package, folder: Path, function: str = "main") -> Package:
        with self._lock:
            self._check_new(package)
            self._loaded[package.chunk] = package
            self._note("load", package.chunk)
        self._pause("load", package.chunk)
        return package

    def _check_new(self, package: Package) -> None:
        if package.chunk in self._loaded or package.chunk in self._open:
            raise RunError(f"null device: {package.chunk} is loaded twice")

    def open(
        self, package: Package, folder: Path, sizes: Sequence[int], function: str = "main"
    ) -> Pages:
        if sum(sizes) != package.weight_bytes:
            raise RunError(
                f"null device: {package.chunk} has {package.weight_bytes} bytes, its pages "
                f"{sum(sizes)}"
            )
        with self._lock:
            self._check_new(package)
            self._open[package.chunk] = handle = Pages(package, tuple(sizes), set())
        return handle

    def load_page(self, handle: Pages, page: int) -> None:
        chunk = handle.package.chunk
        with self._lock:
            if page in handle.there or not 0 <= page < len(handle.sizes):
                why = "is loaded twice" if page in handle.there else "is not one of its pages"
                raise RunError(f"null device: page {page} of {chunk} {why}")
            handle.there.add(page)
            self._note("load", chunk)
        self._pause("load", chunk)

    def free_page(self, handle: Pages, page: int) -> None:
        with self._lock:
            if page not in handle.there:
                raise RunError(f"null device: page {page} of {handle.package.chunk} is not there")
            handle.there.remove(page)
            self._note("free", handle.package.chunk)

    def call(
        self, handle: Package | Pages, function: str, inputs: Mapping[str, Any]
    ) -> dict[str, Blank]:
        package = handle.package if isinstance(handle, Pages) else handle
        with self._lock:
            self._check_there(handle)
            if function not in package.functions:
                raise RunError(f"null device: {package.chunk} has no function {function!r}")
            wanted, outputs = package.ports_of(function)
            self._check(wanted, inputs)
            self._running = package.activation_bytes
            self._note("call", package.chunk)
        self._pause("call", package.chunk)
        with self._lock:
            self._check_there(handle)
            self._running = 0
        return {p.name: Blank(p.shape, self._number(package.chunk, p.name)) for p in outputs}

    def _check_there(self, handle: Package | Pages) -> None:
        if isinstance(handle, Package):
            if handle.chunk not in self._loaded:
                raise RunError(f"null device: {handle.chunk} is called but not loaded")
            return
        missing = sorted(set(range(len(handle.sizes))) - handle.there)
        if missing or handle.package.chunk not in self._open:
            page = missing[0] if missing else 0
            raise RunError(f"null device: {handle.package.chunk} is called without its page {page}")

    @staticmethod
    def _check(ports: tuple[Port, ...], inputs: Mapping[str, Any]) -> None:
        for port in ports:
            shape = tuple(inputs[port.name].shape)
            if shape != port.shape:
                raise RunError(f"null device: {port.name} wants {port.shape}, gets {shape}")

    def free(self, handle: Package | Pages) -> None:
        with self._lock:
            if isinstance(handle, Pages):
                handle.there.clear()
                del self._open[handle.package.chunk]
                return
            del self._loaded[handle.chunk]
            self._note("free", handle.chunk)

    def _note(self, what: str, chunk: str) -> None:
        self.log.append((what, chunk))
        used = self.resident_bytes() + self._running
        self.peak_bytes = max(self.peak_bytes, used)
        if self._budget is not None and used > self._budget:
            raise RunError(f"null device: {used} bytes in use, budget {self._budget}")

    def resident_bytes(self) -> int:
        whole = sum(p.weight_bytes for p in tuple(self._loaded.values()))
        return whole + sum(p.sizes[j] for p in tuple(self._open.values()) for j in tuple(p.there))

    def activation_peak_bytes(self) -> int:
        return 0

    def make(self, array: Any) -> Blank:
        return Blank(tuple(array.shape))

    def fetch(self, value: Blank) -> Blank:
        return value

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> Blank:
        return Blank(shape)

    def cast(self, value: Blank, dtype: DType) -> Blank:
        return value

    def piece(self, value: Blank, where: Sequence[tuple[int, int]], sizes: Sequence[int]) -> Blank:
        shape = list(value.shape)
        for (axis, start), size in zip(where, sizes, strict=True):
            if not 0 <= start <= start + size <= value.shape[axis]:
                raise RunError(f"null device: {start} to {start + size} of {value.shape}")
            shape[axis] = size
        return Blank(tuple(shape))

    def place(
        self, value: Blank, where: Sequence[tuple[int, int]], piece: Blank, *, add: bool = False
    ) -> None:
        self.piece(value, where, [piece.shape[axis] for axis, _ in where])
