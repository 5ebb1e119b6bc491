"""The reference device: executes MLPackages with torch, on any machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compiler.devices.arrays import NumpyValues
from compiler.ir import Package


class ReferenceDevice(NumpyValues):
    """Packages are read into owned memory when loaded, so loads and frees are real.

    A package's program (its operations, without weights) is parsed at its first load and kept, as
    Core ML keeps compiled models: later loads read weights and little else, and so leave the
    interpreter to the computing thread.
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
        self._loaded: dict[int, Any] = {}
        self._peak = 0

    def load(self, package: Package, folder: Path) -> Any:
        from compiler import reference
        from compiler.reference.reader import read_program

        path = folder / package.path
        if path not in self._programs:
            self._programs[path] = read_program(path)
        handle = reference.load(
            self._programs[path], policy=self._policy, own=True, direct=self._direct
        )
        self._loaded[id(handle)] = handle
        return handle

    def call(self, handle: Any, function: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        outputs = handle.predict(inputs)
        self._peak = handle.observed_peak_bytes
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def free(self, handle: Any) -> None:
        del self._loaded[id(handle)]
        handle.close()

    def resident_bytes(self) -> int:
        return sum(h.resident_bytes for h in list(self._loaded.values()))

    def activation_peak_bytes(self) -> int:
        return self._peak
