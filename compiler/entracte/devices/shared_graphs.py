"""Chunks that share a graph, on the reference device: one prepared program, and for each chunk the
weights that are its inputs, in owned memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from entracte.ir import Package

Key = tuple[Path, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class SharedCopy:
    """A chunk's weights, and the graph that takes them."""

    key: Key
    path: Path
    package: Package
    graph: Any
    weights: Any

    @property
    def resident_bytes(self) -> int:
        held_bytes: int = self.weights.resident_bytes
        return held_bytes

    def call(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """One call, by the names of the chunk's ports."""
        given = {f"in{i}": inputs[p.name] for i, p in enumerate(self.package.inputs)}
        made = self.graph.predict(given | self.weights.tensors)
        return {p.name: made[f"out{i}"].numpy() for i, p in enumerate(self.package.outputs)}


@dataclass
class SharedCopies:
    """All of a device. Graphs stay prepared; addresses of weights are kept for the next load."""

    direct: bool
    graphs: dict[Path, Any] = field(default_factory=dict)
    closed: dict[Key, list[SharedCopy]] = field(default_factory=dict)

    def copy_of(
        self, package: Package, folder: Path, sizes: Sequence[int], graph: Callable[[Path], Any]
    ) -> SharedCopy:
        """One without any page, of the given sizes. Raises `PackageError`."""
        from entracte.reference.arrays import ArrayWeights

        assert package.arrays is not None
        key = folder / package.arrays.path, tuple(sizes)
        spare = self.closed.get(key)
        if spare:
            return spare.pop()
        path = folder / package.path
        if path not in self.graphs:
            self.graphs[path] = graph(path)
        weights = ArrayWeights(key[0], package.arrays.ports, key[1], self.direct)
        return SharedCopy(key, path, package, self.graphs[path], weights)

    def rest(self, copy: SharedCopy) -> None:
        """Give its memory back."""
        copy.weights.rest()
        self.closed.setdefault(copy.key, []).append(copy)
