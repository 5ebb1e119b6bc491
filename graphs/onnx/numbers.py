"""Tensors of an ONNX file as torch tensors: fp32, int64 or bool, whatever they are stored as.

A stage computes in fp32 or fp16, and whole numbers are int32 at every port, so a model's own
widths have no meaning here; that no number is lost on the way is checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from entracte.graphs.onnx.faults import OnnxFault, shown
from entracte.graphs.onnx.files import beside
from entracte.graphs.onnx.node import MOST_AXES

if TYPE_CHECKING:
    from onnx import TensorProto

__all__ = ["KINDS", "normal", "tensor_of", "type_name"]

_FLOATS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")
_WHOLE = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32")

KINDS: dict[str, torch.dtype] = {
    **dict.fromkeys(_FLOATS, torch.float32),
    **dict.fromkeys(_WHOLE, torch.int64),
    "BOOL": torch.bool,
}
"""ONNX type -> what it is computed in."""


def type_name(number: int) -> str:
    """The name of an ONNX type."""
    from onnx import TensorProto

    names = {n: name for name, n in TensorProto.DataType.items()}
    return names.get(number, f"the unknown type {number}")


def normal(tensor: Tensor) -> Tensor:
    """In the type that values of its kind are computed in."""
    if tensor.dtype is torch.bool:
        return tensor
    return tensor.to(torch.float32 if tensor.dtype.is_floating_point else torch.int64)


def tensor_of(proto: TensorProto, path: Path) -> Tensor:
    """The numbers of a tensor of the model at `path`. Raises `OnnxFault`."""
    name = shown(proto.name or "a constant")
    kind = type_name(proto.data_type)
    if kind not in KINDS:
        raise OnnxFault(f"{path}: {name!r} holds {kind}; known: {', '.join(KINDS)}")
    if any(n < 0 for n in proto.dims) or len(proto.dims) > MOST_AXES:
        raise OnnxFault(f"{path}: {name!r} has the shape {list(proto.dims)[:MOST_AXES]}")
    array = _outside(proto, path) if proto.data_location else _inside(proto, path, name)
    tensor = normal(_from_numpy(array))
    if tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
        raise OnnxFault(
            f"{path}: {name!r} holds NaN, a number that is none; the file is damaged, or its "
            "training failed"
        )
    return tensor


def _from_numpy(array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "fiub":  # bfloat16, of ml_dtypes
        array = array.astype(np.float32)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    if not array.dtype.isnative or not array.flags.writeable or not array.flags.aligned:
        array = array.astype(array.dtype.newbyteorder("="), copy=True)
    return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))


def _inside(proto: TensorProto, path: Path, name: str) -> np.ndarray:
    from onnx import numpy_helper

    try:
        return numpy_helper.to_array(proto)
    except (ValueError, TypeError) as error:
        message = str(error).splitlines()[0]
        raise OnnxFault(
            f"{path}: {name!r} has not as many numbers as its shape {list(proto.dims)} says "
            f"({message}); the file is damaged"
        ) from None


def _outside(proto: TensorProto, path: Path) -> np.ndarray:
    """Mapped, so that only what is used is read."""
    from onnx import helper

    entries: dict[str, Any] = {e.key: e.value for e in proto.external_data}
    place = beside(path, str(entries.get("location", "")))
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(proto.data_type))
    shape = tuple(proto.dims)
    needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    name = shown(proto.name)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed))
    except ValueError:
        raise OnnxFault(f"{path}: {name!r}: no whole numbers say where it lies") from None
    held = place.stat().st_size
    if offset < 0 or length != needed or offset + needed > held:
        raise OnnxFault(
            f"{path}: {name!r} needs {needed} bytes from {offset} of {place.name}, which holds "
            f"{held}; it is truncated, or belongs to another model"
        )
    if not needed:
        return np.zeros(shape, dtype)
    mapped = np.memmap(place, np.uint8, "c", offset, (needed,))
    return mapped.view(dtype).reshape(shape)
