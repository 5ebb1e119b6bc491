"""The reference device: executes MLPackages with torch, on any machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compiler.devices.arrays import NumpyValues
from compiler.ir import Package


class ReferenceDevice(NumpyValues):
    """Packages are read into owned memory when loaded, so loads and frees are real."""

    name = "reference"

    def __init__(self, policy: str = "hybrid") -> None:
        # torch and coremltools are imported here and not inside the first load, which is timed.
        import compiler.reference.loaded  # noqa: F401
        from compiler.reference.reader import warm_up

        warm_up()
        self._policy = policy
        self._loaded: dict[int, Any] = {}
        self._peak = 0

    def load(self, package: Package, folder: Path) -> Any:
        from compiler import reference

        handle = reference.load(folder / package.path, policy=self._policy, own=True)
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
