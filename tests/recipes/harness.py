"""A tiny pipeline that its library saved: compiled from its folder, run, and compared with what the
library's own pipeline gives for the same texts, numbers and steps."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import entracte
from entracte.compile.job import Built
from entracte.declare.host_ops.noise import random_normal, stream_seed

NEAR = 1e-4
"""At fp32, of the largest value: rounding of some hundred operations, and no more."""
FLOOR_DB = 40.0
"""At fp16: what issue and packages promise."""
STEP_SALT = 1
"""Of the noise that `Recipe.sampling` adds in each step."""


MORE: list[str] = []
"""Words that `compiled` adds: a test may ask others what they ask, of another build."""
compiling: list[bool] = []
"""Not empty while it compiles: the library's modules are called then too."""


def compiled(folder: Path, out: Path, *words: str, precision: str = "fp32") -> Built:
    """From the folder, as the command would."""
    compiling.append(True)
    try:
        return entracte.compile_pipeline(
            ["+target=host", "pipeline=folder", f"pipeline.weights={folder}", "workers=1",
             f"pipeline.precision={precision}", *words, *MORE], out=out,
        )  # fmt: skip
    finally:
        compiling.pop()


def run(built: Built, inputs: Mapping[str, Any], output: str) -> np.ndarray:
    """One output of the reference device."""
    assert built.folder is not None
    file = built.folder.parent / f"{built.folder.name}-{output}.npy"
    entracte.run_build(built.folder, inputs, out={output: file})
    return np.load(file)


def normal(seed: int, *shape: int, salt: int = 0, iteration: int | None = None) -> torch.Tensor:
    """The numbers that `random_normal` draws."""
    start = stream_seed(seed, salt=salt, iteration=iteration)
    return torch.tensor(random_normal(start, shape))


@contextmanager
def steps_noise(scheduler: Any, seed: int) -> Iterator[None]:
    """Inside, the library's scheduler draws in step i what the compiled loop draws there."""
    module = sys.modules[type(scheduler).__module__]
    before, drawn = module.randn_tensor, iter(range(10**6))

    def randn_tensor(shape: Any, *_: Any, **__: Any) -> torch.Tensor:
        return normal(seed, *shape, salt=STEP_SALT, iteration=next(drawn))

    module.randn_tensor = randn_tensor
    try:
        yield
    finally:
        module.randn_tensor = before


def fidelity_db(got: np.ndarray, want: np.ndarray) -> float:
    """Signal over error."""
    error = float(((got - want) ** 2).mean())
    return math.inf if error == 0 else 10 * math.log10(float((want**2).mean()) / error)


def check(got: Any, want: Any, precision: str) -> None:
    """Equal as far as the precision promises."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    assert np.isfinite(want).all() and want.std() > 0
    if precision == "fp32":
        assert np.abs(got - want).max() <= NEAR * np.abs(want).max()
    else:
        db = fidelity_db(got, want)
        assert db >= FLOOR_DB, f"{db:.1f} dB"
