"""Compressed weights, in both generations.

iOS16 stores flat packed bytes beside a shape; iOS18 stores typed sub-byte tensors whose tables or
masks may themselves be compressed. Every result equals coremltools' `materialized_val_inference`
bit for bit: the arithmetic is done in the scale's own type, as there.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from entracte.reference.allowance import check_elements
from entracte.reference.bind import Bind
from entracte.reference.dtypes import TORCH
from entracte.reference.registry import Compute, Kind, op


def _spread(values: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Repeat each element of a coarser tensor over its block of `shape`."""
    for axis, size in enumerate(shape):
        if values.shape[axis] != size:
            values = values.repeat_interleave(size // values.shape[axis], dim=axis)
    return values


def _blocks(shape: torch.Size, scale: torch.Tensor) -> list[int]:
    """`shape` with every axis split in [blocks, block size]."""
    split: list[int] = []
    for size, count in zip(shape, scale.shape, strict=True):
        if count == 0 or size % count:
            raise ValueError(f"{count} scales do not divide an axis of {size}")
        split += [count, size // count]
    return split


def _shift_scale(
    data: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor | None
) -> torch.Tensor:
    """scale * (data - offset): data [d0, d1, ...], scale and offset one element for each block."""
    split = _blocks(data.shape, scale)
    coarse = [n for count in scale.shape for n in (count, 1)]
    result = data.to(scale.dtype).reshape(split)
    if offset is not None:
        result = result - offset.to(_difference(scale.dtype, offset.dtype)).reshape(coarse)
    return (result * scale.reshape(coarse)).to(scale.dtype).reshape(data.shape)


def _difference(scale: torch.dtype, offset: torch.dtype) -> torch.dtype:
    """numpy subtracts an int8 from a float16 in float16, a float32 offset in float32."""
    return offset if offset.is_floating_point else scale


@op("constexpr_blockwise_shift_scale", "data scale offset?", Kind.RAW)
def blockwise_shift_scale(bind: Bind) -> Compute:
    """scale * (data - offset) in the shape of data [d0, d1, ...].

    scale and offset [b0, b1, ...] hold one element for each block of d0 / b0 by d1 / b1 by ...
    """
    return _shift_scale


@op("constexpr_affine_dequantize", "quantized_data zero_point scale", Kind.RAW)
def affine_dequantize(bind: Bind) -> Compute:
    """iOS16: scale * (data - zero_point) in the shape of data.

    zero_point and scale are scalars, or [size of `axis`] and count along that axis.
    """
    axis = bind.const("axis", 0)

    def run(data: torch.Tensor, zero: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        shape = [-1 if a == axis % data.dim() else 1 for a in range(data.dim())]
        zero = zero.reshape(shape) if zero.dim() else zero
        spread = scale.reshape(shape) if scale.dim() else scale
        # Subtracted exactly (int16), then multiplied in float32 and rounded to the scale's type.
        centred = data.to(torch.int16) - zero.to(torch.int16)
        return (centred.float() * spread.float()).to(scale.dtype)

    return run


@op("constexpr_cast", "source_val", Kind.RAW)
def cast(bind: Bind) -> Compute:
    """Change a constant's float type; any shape, kept."""
    dtype = TORCH[bind.const("output_dtype")]
    return lambda source: source.to(dtype)


@op("constexpr_lut_to_dense", "indices lut", Kind.RAW)
def lut_to_dense(bind: Bind) -> Compute:
    """Look up each index in its table: a weight in the shape of the indices [d0, d1, ...].

    lut [b0, b1, ..., palettes, vector] has a table for each block; vectors multiply the size of
    `vector_axis`. iOS16: packed indices, lut [palettes], and the result in `shape`.
    """
    if bind.has("shape"):
        return _packed_lut(bind)
    axis = bind.const("vector_axis", 0)
    return lambda indices, lut: _look_up(indices, lut, axis)


def _look_up(indices: torch.Tensor, lut: torch.Tensor, vector_axis: int) -> torch.Tensor:
    """indices [d0, d1, ...], lut [b0, b1, ..., palettes, vector]; a vector fills `vector_axis`."""
    if lut.dim() != indices.dim() + 2:
        raise ValueError(f"a table of rank {lut.dim()} for indices of rank {indices.dim()}")
    palettes, vector = lut.shape[-2], lut.shape[-1]
    check_elements(indices.numel() * vector, "the weight")
    tables = lut.reshape(-1, vector)
    numbers = torch.arange(math.prod(lut.shape[:-2])).reshape(lut.shape[:-2]) * palettes
    flat = _spread(numbers, indices.shape) + indices.long()
    found = tables[flat]
    if vector == 1:
        return found[..., 0]
    place = vector_axis % indices.dim()
    return found.movedim(-1, place + 1).flatten(place, place + 1)


def _packed_lut(bind: Bind) -> Compute:
    """iOS16: packed bytes of indices and lut [palettes] to the constant `shape`."""
    shape = bind.ints("shape")
    count = math.prod(shape)
    check_elements(count, "the weight")

    def run(indices: torch.Tensor, lut: torch.Tensor) -> torch.Tensor:
        bits = (lut.numel() - 1).bit_length()
        needed = (count * bits + 7) // 8
        if bits == 0 or bits > 8 or indices.numel() != needed:
            raise ValueError(f"{indices.numel()} bytes of indices, {needed} needed")
        return lut[_unpack(indices, bits, count).long()].reshape(shape)

    return run


def _unpack(packed: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """`count` elements of packed bytes, any width up to 8 bits, lowest bit first."""
    digits = np.unpackbits(packed.numpy(), bitorder="little")[: count * bits].reshape(count, bits)
    padded = np.packbits(digits, axis=1, bitorder="little")
    return torch.from_numpy(padded[:, 0].copy())


@op("constexpr_sparse_to_dense", "nonzero_data mask", Kind.RAW)
def sparse_to_dense(bind: Bind) -> Compute:
    """Stored elements [set bits] where the mask is set, zero elsewhere, in the shape of the mask.

    iOS16: the mask is packed bits, the result has the constant `shape`.
    """
    shape = bind.ints("shape") if bind.has("shape") else None
    if shape is not None:
        check_elements(math.prod(shape), "the weight")

    def run(nonzero: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if shape is not None:
            mask = _unpack(mask, 1, math.prod(shape)).reshape(shape)
        return _scattered(nonzero, mask)

    return run


def _scattered(nonzero: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """nonzero [set bits] into zeros in the shape of the mask, in order."""
    result = torch.zeros(mask.shape, dtype=nonzero.dtype)
    keep = mask != 0
    if int(keep.sum()) != nonzero.numel():
        raise ValueError(f"{nonzero.numel()} stored elements for {int(keep.sum())} set bits")
    result[keep] = nonzero.reshape(-1)
    return result


@op("constexpr_lut_to_sparse", "indices_mask indices_nonzero_data lut", Kind.RAW)
def lut_to_sparse(bind: Bind) -> Compute:
    """Look up the stored indices [set bits] of a sparse weight: (mask, stored elements).

    lut as in `constexpr_lut_to_dense`, over the shape of the mask; vectors widen the mask.
    """
    axis = bind.const("vector_axis", 0)

    def run(
        mask: torch.Tensor, stored: torch.Tensor, lut: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        dense = _look_up(_scattered(stored, mask), lut, axis)
        vector = lut.shape[-1]
        wide = mask if vector == 1 else mask.repeat_interleave(vector, dim=axis)
        return wide, dense[wide != 0]

    return run


@op("constexpr_sparse_blockwise_shift_scale", "data_mask nonzero_data scale offset?", Kind.RAW)
def sparse_blockwise_shift_scale(bind: Bind) -> Compute:
    """Dequantise the stored elements [set bits] of a sparse weight: (mask, stored elements).

    scale and offset as in `constexpr_blockwise_shift_scale`, over the shape of the mask.
    """

    def run(
        mask: torch.Tensor, stored: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        dense = _shift_scale(_scattered(stored, mask), scale, offset)
        return mask, dense[mask != 0]

    return run
