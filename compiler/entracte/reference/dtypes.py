"""MIL's element types and constants as torch, numpy and Python hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from entracte.reference import mil

TORCH = {
    "bool": torch.bool, "fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32,
    "fp64": torch.float64, "int8": torch.int8, "int16": torch.int16, "int32": torch.int32,
    "int64": torch.int64, "uint8": torch.uint8,
    # torch has almost no kernels for these, so they are held in the next wider signed type.
    "uint16": torch.int32, "uint32": torch.int64, "uint64": torch.int64,
    "int4": torch.int8, "uint1": torch.uint8, "uint2": torch.uint8, "uint3": torch.uint8,
    "uint4": torch.uint8, "uint6": torch.uint8,
    "fp8e4m3fn": torch.float8_e4m3fn, "fp8e5m2": torch.float8_e5m2,
}  # fmt: skip

NUMPY = {
    "bool": np.bool_, "fp16": np.float16, "fp32": np.float32, "fp64": np.float64,
    "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
    "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
}  # fmt: skip


def held(dtype: str, policy: str) -> torch.dtype:
    """The torch type that holds a MIL type; fp16 becomes fp32 under the fp32 policy.

    Raises:
        KeyError: nothing holds it.
    """
    return torch.float32 if dtype == "fp16" and policy == "fp32" else TORCH[dtype]


def plain_value(value: mil.Value) -> Any:
    """A constant as Python: a scalar, a (nested) list, or strings.

    Raises:
        ValueError: it has no plain form (a weight in a file).
    """
    if value.strings is not None:
        scalar = isinstance(value.type, mil.TensorType) and value.type.shape == ()
        return value.strings[0] if scalar else list(value.strings)
    if value.items is not None:
        return [plain_value(item) for item in value.items]
    if value.data is None or not isinstance(value.type, mil.TensorType):
        raise ValueError("not an immediate constant")
    array: np.ndarray = np.frombuffer(value.data, NUMPY[value.type.dtype])
    return array.reshape(value.type.shape).tolist()  # type: ignore[arg-type]
