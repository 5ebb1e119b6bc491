"""Upstream's own code with random weights (`tests/vectors`, `index.json`): a case's weights become
a folder under their published names, go through the loading door, and the numbers that come out
are compared with upstream's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from entracte.graphs import Graph
from entracte.ir import DType, Port, Stage, StageKind
from entracte.lower.backend import CORE_ML
from entracte.store.cache import Cache
from entracte.trace.measure import trace_stage
from entracte.trace.weights import FileWeights

VECTORS = Path(__file__).parent / "vectors"


@dataclass(frozen=True)
class Case:
    """One entry of `index.json` and its file."""

    about: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def config(self) -> dict[str, Any]:
        """Upstream's constructor values."""
        return dict(self.about["config"])

    @property
    def near(self) -> float:
        """Largest difference that upstream's makers suggest, of the largest value."""
        return float(self.about["suggested_relative_tolerance"])

    @property
    def weights(self) -> dict[str, Tensor]:
        """By upstream's key names."""
        return self._under("weights.")

    def inputs(self, run: str) -> dict[str, Tensor]:
        """Of a run, by name."""
        return self._under(f"inputs.{run}.")

    def outputs(self, run: str) -> dict[str, Tensor]:
        """Of a run, by name: upstream's."""
        return self._under(f"outputs.{run}.")

    def _under(self, prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}

    def save(self, folder: Path, stem: str) -> Path:
        """`folder/stem.safetensors`, as a hub would have it; the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {k: v.contiguous() for k, v in self.weights.items()}, folder / f"{stem}.safetensors"
        )
        return folder

    def check(self, got: Any, want: Tensor, near: float | None = None) -> None:
        """Equal up to the tolerance."""
        got = torch.as_tensor(got)
        assert got.shape == want.shape
        assert torch.isfinite(want).all() and float(want.abs().max()) > 0
        error = float((got.double() - want.double()).abs().max())
        assert error <= (near or self.near) * float(want.abs().max())


def case(name: str) -> Case:
    """A case by its name in `index.json`."""
    about = json.loads((VECTORS / "index.json").read_text())["cases"][name]
    return Case(about, load_file(VECTORS / about["file"]))


def loaded(graph: Graph, folder: Path, cache: Path) -> nn.Module:
    """The graph's module with its numbers from the folder, as a build reads them: every key found,
    every shape checked."""
    ports = {
        i.name: Port(i.name, i.shape, DType.INT32 if i.kind == "int" else DType.FP32)
        for i in graph.inputs
    }
    wiring = tuple((name, name) for name in ports)
    stage = Stage(name="net", kind=StageKind.GRAPH, op="x", inputs=wiring)
    traced = trace_stage(stage, graph, ports, None, CORE_ML)
    source = FileWeights(folder, Cache(cache))
    assert graph.checkpoint is not None
    source.look("net", graph.checkpoint)
    source.check(traced)
    names = [n for n in traced.key_of if n not in traced.held]
    found = {n: torch.as_tensor(v) for n, v in dict(source.tensors(traced, names)).items()}
    assert sorted(found) == sorted(names)
    # Parameters that nothing reads stay without numbers; a table that the file has replaces ours.
    _, unexpected = graph.module.load_state_dict(found, strict=False, assign=True)
    assert not unexpected
    return graph.module.eval()
