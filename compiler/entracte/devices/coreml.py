"""The Core ML device (macOS): loads and predicts through coremltools.

The engine, the few coremltools calls that need macOS, is a parameter, so the device's own
logic is tested anywhere with a stand-in. On iOS the Swift runner takes this one's place.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from entracte.devices.arrays import NUMPY, NumpyValues
from entracte.errors import RunError
from entracte.ir import DType, Package

COMPUTE_UNITS = {
    "all": "ALL",
    "cpuOnly": "CPU_ONLY",
    "cpuAndGPU": "CPU_AND_GPU",
    "cpuAndNeuralEngine": "CPU_AND_NE",
}


class Engine(Protocol):
    """Loads a model for a compute unit and predicts with it."""

    def load(self, path: Path, compute_unit: str, function: str) -> Any: ...

    def predict(self, model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]: ...


class CoreMLTools:
    """coremltools' MLModel, compiled once per package and cached beside it as .mlmodelc."""

    def load(self, path: Path, compute_unit: str, function: str) -> Any:
        import coremltools as ct

        unit = getattr(ct.ComputeUnit, COMPUTE_UNITS[compute_unit])
        compiled = path.with_suffix(".mlmodelc")
        if not compiled.exists():
            # A package is compiled at every load unless the compiled model is kept.
            ct.models.utils.compile_model(str(path), str(compiled))
        # Only multifunction programs have names to choose from; `main` is the default function.
        name = None if function == "main" else function
        return ct.models.CompiledMLModel(str(compiled), compute_units=unit, function_name=name)

    def predict(self, model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        outputs: dict[str, Any] = model.predict(inputs)
        return outputs


@dataclass
class _Copy:
    """A package with the one function of it that is loaded now."""

    package: Package
    path: Path
    function: str
    model: Any


class CoreMLDevice(NumpyValues):
    """Runs packages on Apple hardware. Weights count as resident by the bytes of the package.

    Core ML binds a model to one function when it loads it. Functions share their weights in the
    package's file (coremltools guide, "Multifunction Models"); whether two models of one package
    share them in memory is not documented. So one function of a package is loaded at a time: a
    call of another drops the first model and then loads the other, and the weights never count
    twice. That costs each chunk that stays loaded one more load at the switch, which the plan's
    forecast does not have.
    """

    name = "coreml"

    def __init__(self, compute_unit: str = "all", engine: Engine | None = None) -> None:
        if engine is None and platform.system() != "Darwin":
            raise RunError(
                f"device coreml: Core ML runs on macOS only, this is {platform.system()}; "
                "use `--device reference`"
            )
        if compute_unit not in COMPUTE_UNITS:
            raise RunError(
                f"device coreml: compute unit {compute_unit!r} is not one of "
                f"{', '.join(COMPUTE_UNITS)}"
            )
        self._engine = engine or CoreMLTools()
        self._compute_unit = compute_unit
        self._resident: dict[int, int] = {}

    def load(self, package: Package, folder: Path, function: str = "main") -> "_Copy":
        path = folder / package.path
        model = self._load(path, function)
        handle = _Copy(package, path, function, model)
        self._resident[id(handle)] = package.weight_bytes
        return handle

    def call(
        self, handle: "_Copy", function: str, inputs: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        package = handle.package
        if function != handle.function:
            handle.model = None
            handle.model = self._load(handle.path, function)
            handle.function = function
        given = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        try:
            results = self._engine.predict(handle.model, given)
        except Exception as error:
            raise RunError(
                f"device coreml: {handle.path.name}, function {function!r}: the call failed "
                f"({error}); try it alone with `plan predict`, or `--device reference`"
            ) from error
        _, outputs = package.ports_of(function)
        return {p.name: _as_declared(results, p.name, p.dtype, p.shape) for p in outputs}

    def _load(self, path: Path, function: str) -> Any:
        """A model. coremltools and the system raise kinds of their own: each is a `RunError`."""
        try:
            return self._engine.load(path, self._compute_unit, function)
        except Exception as error:
            raise RunError(
                f"device coreml: {path.name}, function {function!r}, cannot be loaded for "
                f"{self._compute_unit} ({error}); does the system have the plan's "
                "`target.deployment`? `--device reference` runs it anywhere"
            ) from error

    def free(self, handle: "_Copy") -> None:
        # Core ML has no unload call: dropping the last reference is the way.
        del self._resident[id(handle)]
        handle.model = None

    def resident_bytes(self) -> int:
        return sum(list(self._resident.values()))

    def activation_peak_bytes(self) -> int:
        return 0


def _as_declared(
    results: Mapping[str, Any], name: str, dtype: DType, shape: tuple[int, ...]
) -> np.ndarray:
    if name not in results:
        raise RunError(f"device coreml: the model gave no {name!r}, only {sorted(results)}")
    # coremltools hands fp16 outputs back as fp32 on some versions.
    try:
        return np.asarray(results[name]).astype(NUMPY[dtype], copy=False).reshape(shape)
    except (ValueError, TypeError) as error:
        raise RunError(
            f"device coreml: {name!r} came back as what is no {dtype} of {shape} ({error})"
        ) from None
