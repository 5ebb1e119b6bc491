"""Units of the table on a device: whole packages, or pages where the device can load them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from entracte.clock.table import Table
from entracte.devices import Device, Handle, PagedDevice
from entracte.ir import Package, Plan

FunctionAt = Callable[[int], str]
"""The function that the call of a step uses."""
Loading = Callable[[Package], None]
"""Told of a package before it is loaded; what it raises ends the run."""


@dataclass(frozen=True)
class Build:
    """Where packages are, which function of them is called, and who is told of a load."""

    plan: Plan
    folder: Path
    function_at: FunctionAt
    loading: Loading

    @cached_property
    def _packages(self) -> dict[str, Package]:
        return {p.chunk: p for p in self.plan.packages}

    def package(self, chunk: str) -> Package:
        """To be loaded now."""
        package = self._packages[chunk]
        self.loading(package)
        return package


class Copies(Protocol):
    """Brings units in and gives them back. `load` runs on another thread than the rest."""

    def load(self, unit: int, step: int) -> None:
        """Bring a unit in, for a step."""

    def free(self, unit: int, loading: int | None) -> None:
        """Give a unit back; `loading` is the unit on the way, if any."""

    def handle(self, chunk: str) -> Handle:
        """To call a chunk, all of whose units are there."""

    def switch(self, chunk: str, step: int) -> bool:
        """Get a chunk's copy ready for the function of a step; whether it was loaded again."""

    def free_all(self) -> None:
        """Give back whatever is left, after a failure too."""

    def leave(self) -> "Left":
        """Let go of what is there, which stays in memory for others."""

    def take(self, left: "Left") -> None:
        """Chunks of the table that others have left."""


Left = dict[str, tuple[Handle, Any]]
"""Chunk -> its handle, and what copies of a kind remember of it: the function that it was loaded
for, or which of its pages are there."""


class WholeCopies:
    """One unit for each package."""

    def __init__(self, device: Device, build: Build, table: Table) -> None:
        self._device, self._build, self._table = device, build, table
        self._handles: dict[int, Handle] = {}
        self._functions: dict[int, str] = {}
        """Unit -> the function that it was loaded for."""

    def load(self, unit: int, step: int) -> None:
        """See `Copies`."""
        build, package = self._build, self._build.package(self._table.units[unit].chunk)
        function = build.function_at(step)
        self._handles[unit] = self._device.load(package, build.folder, function)
        self._functions[unit] = function

    def switch(self, chunk: str, step: int) -> bool:
        """See `Copies`. One at a time is in memory: dropped first, then loaded."""
        (unit,) = self._table.units_of[chunk]
        if not self._device.one_function:
            return False
        if self._functions[unit] == self._build.function_at(step):
            return False
        self.free(unit, None)
        self.load(unit, step)
        return True

    def free(self, unit: int, loading: int | None) -> None:  # noqa: ARG002 (the protocol's)
        """See `Copies`."""
        self._device.free(self._handles.pop(unit))

    def handle(self, chunk: str) -> Handle:
        """See `Copies`."""
        (unit,) = self._table.units_of[chunk]
        return self._handles[unit]

    def free_all(self) -> None:
        """See `Copies`."""
        for handle in self._handles.values():
            self._device.free(handle)
        self._handles.clear()

    def leave(self) -> Left:
        """See `Copies`."""
        units = self._table.units
        left = {units[u].chunk: (h, self._functions[u]) for u, h in self._handles.items()}
        self._handles.clear()
        return left

    def take(self, left: Left) -> None:
        """See `Copies`."""
        for chunk, (handle, function) in left.items():
            (unit,) = self._table.units_of[chunk]
            self._handles[unit], self._functions[unit] = handle, function


class PagedCopies:
    """A package is open while any of its pages is there or on the way."""

    def __init__(self, device: PagedDevice, build: Build, table: Table) -> None:
        self._device, self._build, self._table = device, build, table
        self._open: dict[str, Handle] = {}
        self._there: set[int] = set()

    def load(self, unit: int, step: int) -> None:
        """See `Copies`."""
        u = self._table.units[unit]
        if u.chunk not in self._open:
            self._open[u.chunk] = self._opened(u.chunk, step)
        self._device.load_page(self._open[u.chunk], u.page)
        self._there.add(unit)

    def _opened(self, chunk: str, step: int) -> Any:
        sizes = [self._table.units[u].size_bytes for u in self._table.units_of[chunk]]
        build, package = self._build, self._build.package(chunk)
        return self._device.open(package, build.folder, sizes, build.function_at(step))

    def free(self, unit: int, loading: int | None) -> None:
        """See `Copies`."""
        u = self._table.units[unit]
        self._device.free_page(self._open[u.chunk], u.page)
        self._there.remove(unit)
        own = set(self._table.units_of[u.chunk])
        if loading not in own and not own & self._there:
            self._device.free(self._open.pop(u.chunk))

    def handle(self, chunk: str) -> Handle:
        """See `Copies`."""
        return self._open[chunk]

    def switch(self, chunk: str, step: int) -> bool:  # noqa: ARG002 (the protocol's)
        """See `Copies`. Who can load pages serves all functions."""
        return False

    def free_all(self) -> None:
        """See `Copies`."""
        for handle in self._open.values():
            self._device.free(handle)
        self._open.clear()
        self._there.clear()

    def leave(self) -> Left:
        """See `Copies`."""
        units, left = self._table.units, {}
        for chunk, handle in self._open.items():
            own = self._there.intersection(self._table.units_of[chunk])
            left[chunk] = handle, frozenset(units[u].page for u in own)
        self._open.clear()
        self._there.clear()
        return left

    def take(self, left: Left) -> None:
        """See `Copies`."""
        for chunk, (handle, pages) in left.items():
            self._open[chunk] = handle
            own = self._table.units_of[chunk]
            self._there.update(u for u in own if self._table.units[u].page in pages)
