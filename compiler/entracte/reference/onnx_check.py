"""An exported ONNX model beside the device, on the same seeded inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from entracte.reference import mil
from entracte.reference.errors import PackageError
from entracte.reference.info import walk

if TYPE_CHECKING:
    from entracte.reference.loaded import Loaded

FP32_ERROR = 1e-5
"""Largest L2 error over L2 norm of an output computed in fp32: two orders of summation."""
FP16_ERROR = 5e-3
"""The same where fp16 is rounded. Two faithful executions of a deep fp16 program differ by 2e-3
(measured on the video VAE), because a sum one bit apart in fp32 may round the other way."""
_FEW = 2


@dataclass(frozen=True, slots=True)
class Agreement:
    """The comparison of the worst output.

    Attributes:
        output: its name.
        largest_error: largest absolute difference of finite elements.
        relative_error: L2 error over L2 norm, of finite elements.
        allowed: bound on `relative_error`.
        strays: elements that are infinite or NaN in one of the two only.
        nonfinite: elements that are infinite or NaN in the device's result.
    """

    output: str
    largest_error: float
    relative_error: float
    allowed: float
    strays: int
    nonfinite: int

    @property
    def passed(self) -> bool:
        """Within `allowed`, and no element is infinite or NaN in one of the two only."""
        return self.strays == 0 and self.relative_error <= self.allowed

    def __str__(self) -> str:
        text = (
            f"largest error {self.largest_error:.2g} in {self.output!r}, relative "
            f"{self.relative_error:.1e} (allowed {self.allowed:.0e})"
        )
        if self.strays:
            text += f", {self.strays} elements are infinite or NaN in one of them only"
        elif self.nonfinite:
            text += f", {self.nonfinite} elements are infinite or NaN in both"
        return text


def runtime_version() -> str:
    """Version of ONNX Runtime, empty when it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return ""
    return str(onnxruntime.__version__)


_MOST_ELEMENTS = 1 << 27
"""Of an input, in a gigabyte of doubles; a stranger's package may declare any size."""


def random_inputs(package: object, function: mil.Function, seed: int) -> dict[str, np.ndarray]:
    """An array for each input: normal floats, integers that every table has a row for."""
    rng = np.random.default_rng(seed)
    found = {}
    for named in function.inputs:
        kind = named.type
        if not isinstance(kind, mil.TensorType):
            continue
        shape = [size or 1 for size in kind.shape]
        if math.prod(shape) > _MOST_ELEMENTS:
            raise PackageError(
                package,
                f"input {named.name} is of shape {list(shape)}: at most {_MOST_ELEMENTS} elements "
                "are drawn to try a package",
            )
        if kind.dtype in mil.FLOATS:
            found[named.name] = rng.standard_normal(shape).astype(np.float32)
        else:
            rows = smallest_table(function, named.name)
            found[named.name] = rng.integers(0, rows, shape).astype(np.int32)
    return found


def smallest_table(function: mil.Function, name: str) -> int:
    """Rows of the smallest table that is read at places computed from this input; else 2."""
    types = {n.name: n.type for o in walk(function.block) for n in o.outputs}
    types |= {n.name: n.type for n in function.inputs}
    reached, rows = {name}, []
    for operation in walk(function.block):
        read = {b for bindings in operation.inputs.values() for b in bindings}
        if not read & reached:
            continue
        indices = operation.inputs.get("indices", ())
        if operation.type.startswith("gather") and set(indices) & reached:
            rows.append(_rows(operation, types))
            continue
        integers = (n.name for n in operation.outputs if not _is_float(n.type))
        reached.update(integers)
    return min(rows, default=_FEW)


def _is_float(kind: mil.Type) -> bool:
    return isinstance(kind, mil.TensorType) and kind.dtype in mil.FLOATS


def _rows(operation: mil.Operation, types: Mapping[str, mil.Type]) -> int:
    table, axis = operation.inputs["x"][0], 0
    given = operation.inputs.get("axis", ())
    if given and isinstance(given[0], mil.Value) and given[0].data is not None:
        axis = int.from_bytes(given[0].data[:4], "little", signed=True)
    kind = types.get(table) if isinstance(table, str) else table.type
    if not isinstance(kind, mil.TensorType) or not kind.shape:
        return _FEW
    return kind.shape[axis] or _FEW


def holds_fp16(function: mil.Function) -> bool:
    """Whether any value of the function is declared fp16."""
    declared = [n.type for o in walk(function.block) for n in o.outputs]
    declared += [n.type for n in function.inputs]
    return any(isinstance(kind, mil.TensorType) and kind.dtype == "fp16" for kind in declared)


def compare(model: Loaded, inputs: dict[str, np.ndarray], path: Path, allowed: float) -> Agreement:
    """The worst output of the file in ONNX Runtime, against the device's."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes derive from Exception alone
        reason = str(error).split("failed:")[-1].strip()
        raise PackageError(model.info.path, f"ONNX Runtime refuses the model: {reason}") from error
    names = [f.name for f in model.info.inputs]
    taken = {i.name for i in session.get_inputs()}
    feed = dict(zip(names, (v.numpy() for v in model.prepared(inputs)), strict=True))
    found = session.run(None, {name: feed[name] for name in names if name in taken})
    wanted = model.predict(inputs)
    scores = [
        _score(o.name, value, wanted[o.name].numpy(), allowed)
        for o, value in zip(session.get_outputs(), found, strict=True)
    ]
    return max(scores, key=lambda s: (s.strays, s.relative_error))


def _score(name: str, found: Any, wanted: np.ndarray, allowed: float) -> Agreement:
    assert found.shape == wanted.shape, f"{name}: {found.shape} and {wanted.shape}"
    one, other = found.astype(np.float64), wanted.astype(np.float64)
    with np.errstate(invalid="ignore"):
        same = (one == other) | (np.isnan(one) & np.isnan(other))
    finite = np.isfinite(one) & np.isfinite(other)
    error = (one - other)[finite]
    norm = float(np.linalg.norm(other[finite]))
    distance = float(np.linalg.norm(error))
    return Agreement(
        output=name,
        largest_error=float(np.abs(error).max(initial=0.0)),
        relative_error=distance / norm if norm else math.inf if distance else 0.0,
        allowed=allowed,
        strays=int((~finite & ~same).sum()),
        nonfinite=int((~np.isfinite(other)).sum()),
    )
