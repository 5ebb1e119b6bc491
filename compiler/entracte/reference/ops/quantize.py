"""Activation quantisation (iOS17)."""

from __future__ import annotations

from typing import TypeVar

import torch

from entracte.reference import mil
from entracte.reference.bind import Bind
from entracte.reference.registry import Compute, Kind, op

Maybe = TypeVar("Maybe", torch.Tensor, torch.Tensor | None)
_RANGE = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7), "uint4": (0, 15)}


def _spread(values: Maybe, axis: int | None, rank: int) -> Maybe:
    if values is None or values.dim() == 0 or axis is None:
        return values
    return values.reshape([-1 if a == axis % rank else 1 for a in range(rank)])


@op("quantize", "input scale zero_point?", Kind.RAW)
def quantize(bind: Bind) -> Compute:
    """round(input / scale) + zero_point, clamped to the output type, in the shape of the input.

    scale and zero_point are scalars, or [size of `axis`] and count along that axis.
    """
    axis = bind.const("axis")
    target = bind.const("output_dtype")
    low, high = _RANGE[target]
    dtype = bind.held(target)

    def run(x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None) -> torch.Tensor:
        zero = _spread(zero, axis, x.dim())
        result = torch.round(x.float() / _spread(scale, axis, x.dim()).float())
        result = result if zero is None else result + zero.float()
        return result.clamp(low, high).to(dtype)

    return run


@op("dequantize", "input scale zero_point?", Kind.RAW)
def dequantize(bind: Bind) -> Compute:
    """(input - zero_point) * scale, in the scale's type and the shape of the input.

    scale and zero_point are scalars, or [size of `axis`] and count along that axis.
    """
    axis = bind.const("axis")
    dtype = bind.out_dtype()
    declared = bind.out_type()
    round_to = torch.float16 if isinstance(declared, mil.TensorType) and declared.dtype == "fp16" \
        and bind.policy != "fp32" else dtype  # fmt: skip

    def run(x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None) -> torch.Tensor:
        zero = _spread(zero, axis, x.dim())
        centred = x.float() if zero is None else x.float() - zero.float()
        return (centred * _spread(scale, axis, x.dim()).float()).to(round_to)

    return run
