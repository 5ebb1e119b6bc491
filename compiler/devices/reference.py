"""The reference device: executes MLPackages with torch, on any machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compiler.devices.arrays import NumpyValues
from compiler.ir import Package


@dataclass(frozen=True, eq=False)
class _Copy:
    """A loaded package: the function that owns the weights, and all by name, itself included."""

    path: Path
    owner: Any
    functions: dict[str, Any]

    @property
    def resident_bytes(self) -> int:
        others = sum(f.own_bytes for f in self.functions.values() if f is not self.owner)
        return self.owner.resident_bytes + others


class ReferenceDevice(NumpyValues):
    """Packages are read into owned memory when loaded, so loads and frees are real.

    A package's program (its operations, without weights) is parsed at its first load and kept, as
    Core ML keeps compiled models: later loads read weights and little else, and so leave the
    interpreter to the computing thread. A function's first call is rehearsed and measured, those
    of later loads are not. All functions of a package are prepared at its load, on
    one copy of the weights.
    """

    name = "reference"

    def __init__(self, policy: str = "hybrid", direct: bool = False) -> None:
        """`direct` reads weights past the page cache: every load is a load from the disk."""
        # torch and coremltools are imported here and not inside the first load, which is timed.
        import compiler.reference.loaded  # noqa: F401
        from compiler.reference.reader import warm_up

        warm_up()
        self._policy, self._direct = policy, direct
        self._programs: dict[Path, Any] = {}
        self._first_calls: dict[tuple[Path, str], Any] = {}
        self._loaded: dict[int, _Copy] = {}
        self._peak = 0

    def load(self, package: Package, folder: Path, function: str = "main") -> "_Copy":
        from compiler import reference
        from compiler.reference.reader import read_program

        path = folder / package.path
        if path not in self._programs:
            self._programs[path] = read_program(path)
        owner = reference.load(
            self._programs[path],
            function=function,
            policy=self._policy,
            own=True,
            direct=self._direct,
        )
        others = {n: owner.sibling(n) for n in package.functions if n != function}
        handle = _Copy(path, owner, {function: owner} | others)
        for name, loaded in handle.functions.items():
            if (path, name) in self._first_calls:
                loaded.trust(self._first_calls[path, name])
        self._loaded[id(handle)] = handle
        return handle

    def call(
        self, handle: "_Copy", function: str, inputs: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        loaded = handle.functions[function]
        outputs = loaded.predict(inputs)
        self._peak = loaded.observed_peak_bytes
        self._first_calls.setdefault((handle.path, function), loaded.first_call)
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def free(self, handle: "_Copy") -> None:
        del self._loaded[id(handle)]
        for loaded in handle.functions.values():
            if loaded is not handle.owner:
                loaded.close()
        handle.owner.close()

    def resident_bytes(self) -> int:
        copies = list(self._loaded.values())
        return sum(c.resident_bytes for c in copies)

    def activation_peak_bytes(self) -> int:
        return self._peak
