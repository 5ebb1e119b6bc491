"""The Core ML device (macOS): compiles, loads and predicts through coremltools.

It was never run here: no machine of ours is a Mac. The engine, the few calls that need one, is a
parameter, so the device's own logic is tested anywhere with a stand-in. On iOS the Swift runner
takes this one's place.
"""

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from entracte.devices.arrays import NUMPY, NumpyValues
from entracte.errors import RunError
from entracte.ir import Arrays, DType, Package
from entracte.store.arrays import header_of, places_of
from entracte.store.cache import Cache, cache_folder, digest

COMPUTE_UNITS = {
    "all": "ALL",
    "cpuOnly": "CPU_ONLY",
    "cpuAndGPU": "CPU_AND_GPU",
    "cpuAndNeuralEngine": "CPU_AND_NE",
}


KIND = "coreml"
"""Of entries of the cache: a compiled model each."""
_MODEL = "model.mlmodelc"


class Engine(Protocol):
    """What needs macOS: compiles a package, loads it for a compute unit, and predicts with it."""

    def system(self) -> str:
        """The build of the system and the model of the machine: a compiled model is theirs."""
        ...

    def compile(self, package: Path, place: Path) -> None:
        """Make the compiled model of a package, a folder, at `place`, which is not there."""
        ...

    def load(self, compiled: Path, compute_unit: str, function: str) -> Any: ...

    def predict(self, model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]: ...


class CoreMLTools:
    """coremltools' MLModel."""

    def system(self) -> str:
        return self._system

    @cached_property
    def _system(self) -> str:
        """Asked once: every load needs it, and asking takes a process of its own."""
        command = ["/usr/sbin/sysctl", "-n", "kern.osversion", "hw.model"]
        told = subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603
        return " ".join(told.decode().split())

    def compile(self, package: Path, place: Path) -> None:
        import coremltools as ct

        ct.models.utils.compile_model(str(package), str(place))

    def load(self, compiled: Path, compute_unit: str, function: str) -> Any:
        import coremltools as ct

        unit = getattr(ct.ComputeUnit, COMPUTE_UNITS[compute_unit])
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
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    """Of a chunk that shares a graph: its weights, which the graph takes as inputs."""


class CoreMLDevice(NumpyValues):
    """Runs packages on Apple hardware. Weights count as resident by the bytes of the package.

    Core ML compiles a package before it loads it, at every load unless the compiled model is kept.
    These are kept in Entracte's cache, by the package's digest, the system's build and the
    machine's model; the runner has held the package's bytes against that digest (`run/packages`).
    Nothing is written into the build folder.

    Core ML binds a model to one function when it loads it. Functions share their weights in the
    package's file (coremltools guide, "Multifunction Models"); whether two models of one package
    share them in memory is not documented. So one function of a package is loaded at a time: a
    call of another drops the first model and then loads the other, and the weights never count
    twice. The runner does that itself, as a load (`one_function`).
    """

    name = "coreml"
    one_function = True

    def __init__(
        self,
        compute_unit: str = "all",
        engine: Engine | None = None,
        *,
        units: Mapping[str, str] | None = None,
        cache: Cache | None = None,
    ) -> None:
        """`units`: chunk -> its compute unit, where it is another one; `cache`: where compiled
        models are kept, by default Entracte's own."""
        if engine is None and platform.system() != "Darwin":
            raise RunError(
                f"device coreml: Core ML runs on macOS only, this is {platform.system()}; "
                "use `--device reference`"
            )
        self._units = dict(units or {})
        for unit in (compute_unit, *self._units.values()):
            if unit not in COMPUTE_UNITS:
                raise RunError(
                    f"device coreml: compute unit {unit!r} is not one of {', '.join(COMPUTE_UNITS)}"
                )
        self._engine = engine or CoreMLTools()
        self._compute_unit = compute_unit
        self._cache = cache or Cache(cache_folder("auto"))
        self._resident: dict[int, int] = {}
        self._graphs: dict[tuple[Path, str], Any] = {}
        """Models of graphs that chunks share, on each of their units."""

    @property
    def numerics(self) -> str:
        """What its results depend on beside packages, inputs and versions."""
        units = ", ".join(f"{chunk} {unit}" for chunk, unit in sorted(self._units.items()))
        return f"{self._engine.system()}, {self._compute_unit}{units and f' ({units})'}"

    def load(self, package: Package, folder: Path, function: str = "main") -> "_Copy":
        path = folder / package.path
        if package.arrays is not None:
            handle = self._load_arrays(package, package.arrays, folder)
        else:
            handle = _Copy(package, path, function, self._load(package, path, function))
        self._resident[id(handle)] = package.weight_bytes
        return handle

    def _load_arrays(self, package: Package, arrays: Arrays, folder: Path) -> "_Copy":
        """The weights alone are read; their graph is loaded with the first chunk that it serves,
        and stays: it holds none."""
        path = folder / package.path
        graph = path, self._unit(package)
        if graph not in self._graphs:
            self._graphs[graph] = self._load(package, path, "main")
        data = np.fromfile(folder / arrays.path, np.uint8, offset=len(header_of(arrays.ports)))
        found = {
            p.name: data[a:b].view(NUMPY[p.dtype]).reshape(p.shape)
            for p, (a, b) in zip(arrays.ports, places_of(arrays.ports), strict=True)
        }
        return _Copy(package, path, "main", self._graphs[graph], found)

    def _unit(self, package: Package) -> str:
        return self._units.get(package.chunk, self._compute_unit)

    def call(
        self, handle: "_Copy", function: str, inputs: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        package = handle.package
        if function != handle.function:
            handle.model = None
            handle.model = self._load(package, handle.path, function)
            handle.function = function
        wanted, outputs = package.features_of(function)
        names = {p.name: w.name for p, w in zip(package.ports_of(function)[0], wanted)}  # noqa: B905 (arrays follow)
        given = {names[name]: np.ascontiguousarray(value) for name, value in inputs.items()}
        given |= handle.arrays
        try:
            results = self._engine.predict(handle.model, given)
        except Exception as error:
            raise RunError(
                f"device coreml: {handle.path.name}, function {function!r}: the call failed "
                f"({error}); try it alone with `plan predict`, or `--device reference`"
            ) from error
        made = package.ports_of(function)[1]
        return {
            p.name: _as_declared(results, feature.name, p.dtype, p.shape)
            for p, feature in zip(made, outputs, strict=True)
        }

    def _load(self, package: Package, path: Path, function: str) -> Any:
        """A model. coremltools and the system raise kinds of their own: each is a `RunError`."""
        unit = self._unit(package)
        compiled = self._compiled(package, path)
        try:
            return self._engine.load(compiled, unit, function)
        except Exception as error:
            raise RunError(
                f"device coreml: {path.name}, function {function!r}, cannot be loaded for "
                f"{unit} ({error}); does the system have the plan's "
                "`target.deployment`? `--device reference` runs it anywhere"
            ) from error

    def _compiled(self, package: Package, path: Path) -> Path:
        """The package's compiled model: made once for this system, whole or not at all."""
        key = digest(package.digest, self._engine.system())
        found = self._cache.folder(KIND, key)
        if found is None:
            with self._cache.making(KIND, key) as entry:
                self._compile(path, entry / _MODEL)
            found = self._cache.folder(KIND, key)
        if found is None:
            raise RunError(
                f"device coreml: the compiled {path.name} is not in the cache, though it was just "
                "made; give another folder with ENTRACTE_CACHE"
            )
        return found / _MODEL

    def _compile(self, path: Path, place: Path) -> None:
        try:
            self._engine.compile(path, place)
        except Exception as error:
            raise RunError(
                f"device coreml: {path.name} cannot be compiled ({error}); does the system have "
                "the plan's `target.deployment`? `--device reference` runs it anywhere"
            ) from error

    def free(self, handle: "_Copy") -> None:
        # Core ML has no unload call: dropping the last reference is the way.
        del self._resident[id(handle)]
        handle.model = None
        handle.arrays = {}

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
