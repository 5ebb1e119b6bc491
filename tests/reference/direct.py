"""One operation executed without a package: the program is built in memory, which is fast."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from entracte.reference import mil
from entracte.reference.options import Options
from entracte.reference.prepare import prepare
from entracte.reference.weights import Weights

NAMES = {np.dtype(np.float32): "fp32", np.dtype(np.float16): "fp16", np.dtype(np.int32): "int32",
         np.dtype(np.bool_): "bool", np.dtype(np.int8): "int8",
         np.dtype(np.uint8): "uint8"}  # fmt: skip


def constant(value: Any) -> mil.Value:
    """A Python value as an immediate: int32, fp32, bool or string."""
    if isinstance(value, str):
        return mil.Value(mil.TensorType("string", ()), strings=(value,))
    array = np.asarray(value)
    kinds = {"i": np.int32, "f": np.float32, "b": np.bool_}
    array = array.astype(kinds[array.dtype.kind])
    return mil.Value(mil.TensorType(NAMES[array.dtype], array.shape), data=array.tobytes())


def evaluate(
    kind: str, tensors: dict[str, Any], attributes: dict[str, Any] | None = None, *,
    out: str | tuple[str, ...] = "fp32", opset: int = 17, policy: str = "hybrid",
) -> Any:  # fmt: skip
    """The results of one operation.

    Args:
        tensors: arrays by argument name; a list of arrays for an argument that takes several.
        attributes: constants by argument name.
        out: element type of each output.
    """
    inputs: dict[str, tuple[mil.Binding, ...]] = {}
    named: list[mil.Named] = []
    values: list[torch.Tensor] = []
    for name, given in tensors.items():
        bindings = []
        for array in given if isinstance(given, list) else [given]:
            bindings.append(f"v{len(named)}")
            named.append(mil.Named(bindings[-1], mil.TensorType(NAMES[array.dtype], array.shape)))
            values.append(torch.from_numpy(np.array(array, order="C")))
        inputs[name] = tuple(bindings)
    inputs |= {n: (constant(v),) for n, v in (attributes or {}).items() if v is not None}
    outs = (out,) if isinstance(out, str) else out
    outputs = tuple(
        mil.Named(f"y{i}", mil.TensorType(dtype, (None,))) for i, dtype in enumerate(outs)
    )
    operation = mil.Operation(kind, kind, inputs, outputs)
    block = mil.Block((), tuple(n.name for n in outputs), (operation,))
    function = mil.Function("main", tuple(named), opset, block)
    program = mil.Program("memory", "memory", {"main": function}, {}, "main")
    options = Options(policy, strict=False, lazy=False)
    code = prepare(program, function, Weights(program, True), options).code
    found = code(values)
    found = found if isinstance(found, list) else [found]
    arrays = [f.numpy() for f in found]
    return arrays[0] if isinstance(out, str) else arrays
