"""Making packages: MIL programs built by hand, or torch modules traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import torch
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

TARGETS = {15: ct.target.iOS15, 16: ct.target.iOS16, 17: ct.target.iOS17, 18: ct.target.iOS18}
DTYPES = {"fp16": types.fp16, "fp32": types.fp32, "int32": types.int32, "bool": types.bool}
NUMPY = {"fp16": np.float16, "fp32": np.float32, "int32": np.int32, "bool": np.bool_}

_NAMED: dict[int, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    1: lambda f: lambda x0: f(x0),
    2: lambda f: lambda x0, x1: f(x0, x1),
    3: lambda f: lambda x0, x1, x2: f(x0, x1, x2),
    4: lambda f: lambda x0, x1, x2, x3: f(x0, x1, x2, x3),
}


class Maker:
    """Writes packages below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def _save(self, model: Any) -> Path:
        self._count += 1
        path = self.folder / f"p{self._count}.mlpackage"
        model.save(str(path))
        return path

    def mil(self, build: Callable[..., Any], inputs: Sequence[tuple[Sequence[int], str]],
            ios: int = 17, precision: str = "fp32") -> Path:  # fmt: skip
        """A package of one MIL function whose inputs are x0, x1, ... of (shape, dtype)."""
        specs = [mb.TensorSpec(shape=tuple(s), dtype=DTYPES[d]) for s, d in inputs]
        # The builder reads the inputs' names from the function's own signature.
        function = _NAMED[len(inputs)](build)
        program = mb.program(input_specs=specs, opset_version=TARGETS[ios])(function)
        return self._convert(program, ios, precision)

    def _convert(self, program: Any, ios: int, precision: str) -> Path:
        chosen = ct.precision.FLOAT32 if precision == "fp32" else ct.precision.FLOAT16
        model = ct.convert(
            program, convert_to="mlprogram", compute_precision=chosen,
            minimum_deployment_target=TARGETS[ios], skip_model_load=True,
            compute_units=ct.ComputeUnit.CPU_ONLY,
        )  # fmt: skip
        return self._save(model)

    def traced(self, module: torch.nn.Module, example: Sequence[torch.Tensor], ios: int = 18,
               precision: str = "fp16") -> Path:  # fmt: skip
        """A package of a torch module whose inputs are x0, x1, ... and outputs y0, y1, ..."""
        module = module.eval()
        with torch.no_grad():
            traced = torch.jit.trace(module, tuple(example), check_trace=False)
            result = module(*example)
        count = len(result) if isinstance(result, tuple) else 1
        chosen = ct.precision.FLOAT32 if precision == "fp32" else ct.precision.FLOAT16
        inputs = []
        for i, value in enumerate(example):
            kind = np.int32 if not value.is_floating_point() else np.float32
            inputs.append(ct.TensorType(f"x{i}", tuple(value.shape), dtype=kind))
        model = ct.convert(
            traced, inputs=inputs, outputs=[ct.TensorType(f"y{i}") for i in range(count)],
            compute_precision=chosen, minimum_deployment_target=TARGETS[ios], skip_model_load=True,
        )  # fmt: skip
        return self._save(model)


def run(path: Path, *values: Any, **options: Any) -> list[np.ndarray]:
    """Outputs of a package, in order, for inputs x0, x1, ..."""
    from entracte.reference import load

    options.setdefault("strict", True)
    with load(path, **options) as model:
        found = model.predict({f"x{i}": v for i, v in enumerate(values)})
    return [v.numpy() if isinstance(v, torch.Tensor) else v for v in found.values()]


def relative(found: Any, wanted: Any) -> float:
    """L2 error over L2 norm."""
    found, wanted = (np.asarray(v, dtype=np.float64) for v in (found, wanted))
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    return float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-30))


def psnr(found: Any, wanted: Any) -> float:
    """Peak signal-to-noise ratio in dB, the peak being the wanted result's range."""
    found, wanted = (np.asarray(v, dtype=np.float64) for v in (found, wanted))
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    error = np.sqrt(np.mean((found - wanted) ** 2))
    return float(20 * np.log10((wanted.max() - wanted.min()) / max(error, 1e-30)))
