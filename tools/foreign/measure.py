"""What a row of the table says: one tiny model converted, run on the reference device, compared.

In fp32 the program is cut into three packages whose results are handed on, in fp16 it is one. Right
is torch in fp32.
"""

from __future__ import annotations

import gc
import math
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from entracte.errors import EntracteError
from entracte.frontend.export import export_graph
from entracte.frontend.place import places_of, refuse_unconvertible
from entracte.lower.backend import CORE_ML
from entracte.lower.convert import Conversion, convert_chunk
from entracte.lower.ports import DType, Port
from entracte.lower.registrations import install_cures
from entracte.reference import load
from tools.foreign.cut import pieces_of
from tools.foreign.model import Whole, made

__all__ = ["FP16_DB", "FP32_ERROR", "Row", "found_and_right", "measured"]

FP32_ERROR, FP16_DB = 1e-4, 40.0
"""Of the largest value at most; above this."""
_PIECES = 3
_DEPLOYMENT = "iOS18"
Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Row:
    """What was found of one class."""

    name: str
    converts: bool = False
    chunks: int = 0
    """How many packages it was cut into; 0 where it was not."""
    fp32_error: float | None = None
    """The largest deviation of the chain of packages, over the largest value."""
    fp16_db: float | None = None
    """Of the whole in one package: 20 log10 of the largest value over the deviation's root mean
    square."""
    reason: str = ""
    """Why not, where something is missing."""
    taken_s: float = 0.0


def measured(name: str) -> Row:
    """Convert and run the row's model; what fails is in the reason, never raised."""
    start = time.monotonic()
    error, chunks, decibels, reasons = None, 0, None, list[str]()
    try:
        whole, inputs = made(name)
        with torch.no_grad():
            right = whole(*inputs)
        found, chunks = _chained(whole, inputs)
        error = max(map(_error, found, right))
        found = _in_one(whole, inputs, right, "fp16")
        decibels = min(map(_decibels, found, right))
    except Exception as fault:  # a row says why
        reasons.append(_told(fault))
    if error is not None and error > FP32_ERROR:
        reasons.append("fp32 is off")
    if decibels is not None and decibels < FP16_DB:
        alone = _rounded_alone(name)
        reasons.append(f"fp16 is off; torch with only the weights rounded to it: {alone:.0f} dB")
    gc.collect()
    taken = round(time.monotonic() - start, 1)
    return Row(name, decibels is not None, chunks, error, decibels, "; ".join(reasons), taken)


def _rounded_alone(name: str) -> float:
    """What rounding the weights alone costs, computed in fp32: how touchy a model is, in dB."""
    whole, inputs = made(name)
    with torch.no_grad():
        right = whole(*inputs)
        for parameter in whole.parameters():
            parameter.copy_(parameter.half().float())
        return min(map(_decibels, whole(*inputs), right))


def _told(fault: Exception) -> str:
    if isinstance(fault, EntracteError):
        return str(fault)
    where = traceback.extract_tb(fault.__traceback__)[-1]
    first = next(iter(str(fault).strip().splitlines()), "")
    place = f"{Path(where.filename).name}:{where.lineno}"
    return f"UNEXPECTED {type(fault).__name__} in {place}: {first}"


def found_and_right(
    whole: Whole, inputs: Tensors, precision: str, folder: Path
) -> tuple[Tensor, Tensor]:
    """What the first output of one package is, and what torch gives."""
    with torch.no_grad():
        right = whole(*inputs)
    found = _run(whole, inputs, right, precision, folder)
    return found[0].double(), right[0].double()


def _in_one(whole: nn.Module, inputs: Tensors, right: Tensors, precision: str) -> Tensors:
    with tempfile.TemporaryDirectory() as folder:
        return _run(whole, inputs, right, precision, Path(folder))


def _chained(whole: Whole, inputs: Tensors) -> tuple[Tensors, int]:
    """What the pieces give, one after the other in fp32; how many there are."""
    install_cures()
    program = export_graph(whole, inputs, CORE_ML.is_convertible)
    refuse_unconvertible(program, CORE_ML.is_convertible, places_of(whole, program))
    values = dict(zip(program.graph_signature.user_inputs, inputs, strict=True))
    pieces = pieces_of(program, _PIECES)
    for piece in pieces:
        given = tuple(_in_order(values[name]) for name in piece.inputs)
        with torch.no_grad():
            shapes = piece.module(*given)
        found = _in_one(piece.module, given, shapes, "fp32")
        values |= dict(zip(piece.outputs, found, strict=True))
    outputs = [str(name) for name in program.graph_signature.user_outputs]
    return tuple(values[name] for name in outputs), len(pieces)


def _in_order(tensor: Tensor) -> Tensor:
    """A copy with the strides of its shape: dimensions of size 1 may have others."""
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)


def _run(
    module: nn.Module, inputs: Tensors, like: Sequence[Tensor], precision: str, folder: Path
) -> Tensors:
    """What the package of the module gives on the reference device."""
    ports = [_port(f"in_{i}", tensor, precision) for i, tensor in enumerate(inputs)]
    outputs = [_port(f"out_{i}", tensor, precision) for i, tensor in enumerate(like)]
    path, how = folder / "m.mlpackage", Conversion(precision, _DEPLOYMENT, "none")
    convert_chunk(module, inputs, inputs=ports, outputs=outputs, how=how, path=path)
    numbers = [t if t.is_floating_point() else t.int() for t in inputs]
    with load(path, policy="round") as package:
        found = package.predict({f"in_{i}": tensor for i, tensor in enumerate(numbers)})
    return tuple(found[port.name] for port in outputs)


def _port(name: str, tensor: Tensor, precision: str) -> Port:
    kind = DType(precision) if tensor.is_floating_point() else DType.INT32
    return Port(name, tuple(tensor.shape), kind)


def _error(found: Tensor, right: Tensor) -> float:
    found, right = found.double(), right.double()
    return float((found - right).abs().max() / right.abs().max())


def _decibels(found: Tensor, right: Tensor) -> float:
    found, right = found.double(), right.double()
    noise = float((found - right).pow(2).mean().sqrt())
    return 20 * math.log10(float(right.abs().max()) / noise) if noise else math.inf
