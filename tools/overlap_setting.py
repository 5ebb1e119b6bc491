"""One bench of `tools/bench_overlap.py`: sizes, places, and the figures of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from entracte.memory import AnonymousPeak


@dataclass(frozen=True)
class Setting:
    """Sizes of the model, the loop, and where its files are."""

    folder: str
    depth: int
    width: int
    heads: int
    tokens: int
    steps: int
    half: bool
    cold: bool
    threads: int
    model: str = "stack"

    @property
    def root(self) -> Path:
        return Path(self.folder)

    @property
    def build(self) -> Path:
        return self.root / "build"

    @property
    def checkpoint(self) -> Path:
        return self.root / "weights" / "model.safetensors"

    @property
    def block_bytes(self) -> int:
        """Weights of one block."""
        from tools.overlap_model import block_weights

        return block_weights(self.model, self.width) * (2 if self.half else 4)


def figures_of(
    memory: AnonymousPeak, wall_s: float, cpu_s: float, read_bytes: int, output: Any
) -> dict[str, Any]:
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "read_bytes": read_bytes,
        "anonymous_bytes": memory.peak_bytes,
        "resident_bytes": memory.resident_peak_bytes,
        "output": None if output is None else np.asarray(output, np.float32).ravel(),
    }
