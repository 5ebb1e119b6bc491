"""The reference device: executes MLPackages with torch, on any machine."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from entracte.devices.arrays import NumpyValues
from entracte.devices.shared_graphs import SharedCopies, SharedCopy
from entracte.errors import RunError
from entracte.ir import Package


@dataclass(frozen=True, eq=False)
class _Copy:
    """A loaded package: the function that owns the weights, and all by name, itself included."""

    path: Path
    owner: Any
    functions: dict[str, Any]

    @property
    def resident_bytes(self) -> int:
        others = (f.own_bytes for f in self.functions.values() if f is not self.owner)
        held_bytes: int = self.owner.resident_bytes + sum(others)
        return held_bytes


@dataclass(eq=False)
class _Paged:
    """A package that is loaded by pages, whose functions are prepared once all are there.

    Prepared functions hold views on the weights' reserved addresses and so stay while pages come
    and go. Only where a constant is no view (torch has no 16-bit unsigned numbers, say) they hold
    memory of their own, and go with the first page.
    """

    key: tuple[Path, tuple[int, ...]]
    program: Any
    weights: Any
    policy: str
    names: tuple[str, ...] = ()
    functions: dict[str, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    """While functions are prepared all pages must stay."""

    @property
    def path(self) -> Path:
        return self.key[0]

    @property
    def resident_bytes(self) -> int:
        own = (f.own_bytes for f in self.functions.values())
        held_bytes: int = self.weights.resident_bytes + sum(own)
        return held_bytes

    def prepare(self) -> None:
        """All functions, the first named one first. Raises `PackageError`."""
        from entracte.reference.errors import malformed
        from entracte.reference.loaded import Loaded
        from entracte.reference.options import Options

        options = Options(self.policy, strict=False, lazy=True)
        with malformed(self.program.package):
            self.functions = {
                name: Loaded(self.program, name, self.weights, options, owner=False)
                for name in self.names
            }

    def unprepare(self) -> None:
        for loaded in self.functions.values():
            loaded.close()
        self.functions = {}


class ReferenceDevice(NumpyValues):
    """Packages are read into owned memory when loaded, so loads and frees are real.

    A package's program (its operations, without weights) is parsed at its first load and kept, as
    Core ML keeps compiled models: later loads read weights and little else, and so leave the
    interpreter to the computing thread. A function's first call is rehearsed and measured, those
    of later loads are not. All functions of a package are prepared at its load, on
    one copy of the weights.

    It can load a package by pages as well (`open`, `load_page`, `free_page`): each page's bytes are
    read from the file for it alone, and its memory is the system's again when it is freed. Then
    functions are prepared once for all loads.
    """

    name = "reference"
    one_function = False

    def __init__(self, policy: str = "hybrid", direct: bool = False) -> None:
        """`direct` reads weights past the page cache: every load is a load from the disk."""
        # torch and coremltools are imported here and not inside the first load, which is timed.
        import entracte.reference.loaded  # noqa: F401
        from entracte.reference.reader import warm_up

        warm_up()
        self._policy, self._direct = policy, direct
        self._programs: dict[Path, Any] = {}
        self._first_calls: dict[tuple[Path, str], Any] = {}
        self._loaded: dict[int, _Copy | _Paged | SharedCopy] = {}
        self._shared = SharedCopies(direct)
        self._closed: dict[tuple[Path, tuple[int, ...]], list[_Paged]] = {}
        """Packages loaded by pages that are not open now: without weights, maybe prepared."""
        self._peak = 0

    @property
    def arithmetic(self) -> str:
        """How it rounds: hybrid, round or fp32."""
        return self._policy

    @property
    def numerics(self) -> str:
        """What its results depend on beside packages, inputs and versions."""
        import torch

        threads, kernels = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
        return f"{self._policy}, {threads} threads, {kernels}"

    def load(
        self, package: Package, folder: Path, function: str = "main"
    ) -> "_Copy | _Paged | SharedCopy":
        from entracte import reference

        if package.arrays is not None:
            whole = self.open(package, folder, (package.weight_bytes,), function)
            self.load_page(whole, 0)
            return whole
        path = folder / package.path
        owner = reference.load(
            self._program(path),
            function=function,
            policy=self._policy,
            hold="direct" if self._direct else "owned",
        )
        others = {n: owner.sibling(n) for n in package.functions if n != function}
        handle = _Copy(path, owner, {function: owner} | others)
        self._trust(handle)
        self._loaded[id(handle)] = handle
        return handle

    def _program(self, path: Path) -> Any:
        from entracte.reference.reader import read_program

        if path not in self._programs:
            self._programs[path] = read_program(path)
        return self._programs[path]

    def _trust(self, handle: "_Copy | _Paged") -> None:
        for name, loaded in handle.functions.items():
            if (handle.path, name) in self._first_calls:
                loaded.trust(self._first_calls[handle.path, name])

    def open(
        self, package: Package, folder: Path, sizes: Sequence[int], function: str = "main"
    ) -> "_Paged | SharedCopy":
        from entracte.reference.errors import malformed
        from entracte.reference.pages import PagedWeights

        if package.arrays is not None:
            shared = self._shared.copy_of(package, folder, sizes, self._graph)
            self._loaded[id(shared)] = shared
            return shared
        key = folder / package.path, tuple(sizes)
        spare = self._closed.get(key)
        if spare:
            handle = spare.pop()
        else:
            program = self._program(key[0])
            with malformed(program.package):
                weights = PagedWeights(program, key[1], self._direct)
            others = (n for n in package.functions if n != function)
            handle = _Paged(key, program, weights, self._policy, (function, *others))
        self._loaded[id(handle)] = handle
        return handle

    def _graph(self, path: Path) -> Any:
        """A graph that chunks share, prepared; it holds no weights and stays."""
        from entracte import reference

        return reference.load(self._program(path), policy=self._policy)

    def load_page(self, handle: "_Paged | SharedCopy", page: int) -> None:
        handle.weights.load(page)
        if isinstance(handle, SharedCopy):
            return
        with handle.lock:
            if handle.weights.complete and not handle.functions:
                handle.prepare()
                self._trust(handle)

    def free_page(self, handle: "_Paged | SharedCopy", page: int) -> None:
        if isinstance(handle, SharedCopy):
            handle.weights.free(page)
            return
        with handle.lock:
            if handle.weights.copied:
                handle.unprepare()
            handle.weights.free(page)

    def call(
        self, handle: "_Copy | _Paged | SharedCopy", function: str, inputs: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        if not isinstance(handle, _Copy) and not handle.weights.complete:
            page = handle.weights.missing
            raise RunError(f"device reference: {handle.path} is called without its page {page}")
        if isinstance(handle, SharedCopy):
            made = handle.call(inputs)
            # They are read where they lie: no copies of these inputs are made here.
            self._peak = handle.graph.observed_peak_bytes - handle.package.weight_bytes
            return made
        loaded = handle.functions[function]
        outputs = loaded.predict(inputs)
        self._peak = loaded.observed_peak_bytes
        self._first_calls.setdefault((handle.path, function), loaded.first_call)
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def free(self, handle: "_Copy | _Paged | SharedCopy") -> None:
        del self._loaded[id(handle)]
        if isinstance(handle, SharedCopy):
            self._shared.rest(handle)
            return
        if isinstance(handle, _Paged):
            if handle.weights.copied:
                handle.unprepare()
            handle.weights.rest()
            self._closed.setdefault(handle.key, []).append(handle)
            return
        for loaded in handle.functions.values():
            if loaded is not handle.owner:
                loaded.close()
        handle.owner.close()

    def resident_bytes(self) -> int:
        copies = list(self._loaded.values())
        return sum(c.resident_bytes for c in copies)

    def activation_peak_bytes(self) -> int:
        return self._peak
