"""What a runner asks of a device: load, call, free, and how much memory it holds.

`load` may run on another thread than `call`; the runner never frees a chunk that is being
called and never calls one that is not loaded.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from entracte.ir import DType, Package

Handle = Any
"""Whatever a device returns from `load`; only that device looks into it."""

Value = Any
"""A tensor as the device holds it; `make`, `zeros`, `place`, `piece`, `cast` and `fetch` are the
way in and out."""

Where = Sequence[tuple[int, int]]
"""(axis, where a piece begins along it)."""


class Device(Protocol):
    """A machine that loads packages whole and runs their functions."""

    name: str
    one_function: bool
    """A loaded package serves the function that it was loaded for, and no other. The runner drops
    it and loads it again before a call of another."""

    def load(self, package: Package, folder: Path, function: str = "main") -> Handle:
        """Bring a package into memory, whole. `package.path` is inside `folder`.

        `function` is the one that is called first; any of `package.functions` may follow, unless
        it is a device of `one_function`.
        """
        ...

    def call(self, handle: Handle, function: str, inputs: Mapping[str, Value]) -> dict[str, Value]:
        """Run a function of a loaded package once."""
        ...

    def free(self, handle: Handle) -> None:
        """Give the package's memory back."""
        ...

    def resident_bytes(self) -> int:
        """Bytes of loaded weights now."""
        ...

    def activation_peak_bytes(self) -> int:
        """Peak of live tensors inside the last call; 0 if the device cannot tell."""
        ...

    def make(self, array: Any) -> Value:
        """A numpy array as a value of this device."""
        ...

    def fetch(self, value: Value) -> Any:
        """A value as a numpy array."""
        ...

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> Value:
        """A value of zeros, to be filled with `place`."""
        ...

    def cast(self, value: Value, dtype: DType) -> Value:
        """A value in another type; the value itself where it has that."""
        ...

    def piece(self, value: Value, where: Where, sizes: Sequence[int]) -> Value:
        """The box that begins at `where` and has these sizes along its axes; all of other axes."""
        ...

    def place(self, value: Value, where: Where, piece: Value, *, add: bool = False) -> None:
        """Write a piece into a value that `zeros` made, or add it to what is there."""
        ...


@runtime_checkable
class PagedDevice(Device, Protocol):
    """A device that can load less than a package: its weights in pages, one by one.

    A package that is open is freed with `free`, which frees the pages that are left; it may be open
    without any page. `call` takes its handle while all pages are there. Pages of other
    packages, and of this one, may be freed while one is loaded; two are never loaded at once.
    """

    def open(
        self, package: Package, folder: Path, sizes: Sequence[int], function: str = "main"
    ) -> Handle:
        """Get ready to load a package by pages; none is in memory yet.

        `sizes` are bytes of each page, of the weights' data in the file's order; they add up to
        `package.weight_bytes`. What a package needs besides its weights' data counts for no page,
        as it counts for no whole load.
        """
        ...

    def load_page(self, handle: Handle, page: int) -> None:
        """Bring one page into memory that is not there."""
        ...

    def free_page(self, handle: Handle, page: int) -> None:
        """Give one page's memory back."""
        ...
