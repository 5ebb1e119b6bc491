"""Weight compression of a finished package."""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from entracte.lower.errors import LowerError
from entracte.lower.quiet import coremltools

__all__ = ["SMALLEST", "Compression", "check_compression", "compress", "palette_of", "pieces"]


class Compression(StrEnum):
    """How the weights of a package are stored."""

    NONE = "none"
    INT8 = "int8"
    """8-bit integers, one scale per output channel, symmetric."""
    PALETTE8 = "palette8"
    """An 8-bit index into 256 values, one table per tensor."""
    PALETTE6 = "palette6"
    PALETTE4 = "palette4"
    INT4_BLOCK32 = "int4_block32"
    """4-bit integers, one scale per 32 input channels, symmetric; iOS 18 and later."""


SMALLEST = 2048
"""Tensors with fewer elements stay as they are: their tables would cost more than they save."""

_WEIGHT_OPS = ("linear", "conv", "conv_transpose", "matmul", "gather")
"""Operations whose constants are weights. Never `global_config`: that also compresses masks and
other constants, and a palettised -inf is NaN (measured, section 4)."""

_BITS = {Compression.PALETTE8: 8, Compression.PALETTE6: 6, Compression.PALETTE4: 4}
_LLOYD_ROUNDS = 40


def check_compression(compression: str, deployment: str, opset: int) -> Compression:
    """The scheme named `compression`, if packages for `deployment` can have it.

    Args:
        compression: one of the values of `Compression`.
        deployment: the name of the deployment target, for the message.
        opset: the target's specification version (8 is iOS 17, 9 is iOS 18).

    Raises:
        LowerError: an unknown scheme, or one that the target cannot read.
    """
    if compression not in set(Compression):
        raise LowerError(f"compression={compression}: not one of {', '.join(Compression)}")
    chosen = Compression(compression)
    if chosen is Compression.INT4_BLOCK32 and opset < 9:
        raise LowerError(
            f"compression={chosen} needs iOS18 or macOS15 and later, the target is {deployment}; "
            "use `compression=palette4` or `target.deployment=iOS18`"
        )
    return chosen


def compress(source: Path, chosen: Compression, destination: Path) -> None:
    """Write the package at `source` to `destination` with its weights compressed.

    Only constants that are weights of linear, convolution, matmul and gather operations change.
    """
    ct = coremltools()
    import coremltools.optimize.coreml as cto

    per_op = _config(cto, chosen)
    config = cto.OptimizationConfig(op_type_configs=dict.fromkeys(_WEIGHT_OPS, per_op))
    model = ct.models.MLModel(str(source), skip_model_load=True)
    if chosen in _BITS:
        made = cto.palettize_weights(model, config)
    else:
        made = cto.linear_quantize_weights(model, config)
    made.save(str(destination))


def _config(cto: Any, chosen: Compression) -> Any:
    # coremltools compresses what has *more* elements than the threshold
    if chosen in _BITS:
        function = functools.partial(palette_of, bits=_BITS[chosen])
        return cto.OpPalettizerConfig(
            mode="custom", lut_function=_named(function), weight_threshold=SMALLEST - 1
        )
    if chosen is Compression.INT8:
        return cto.OpLinearQuantizerConfig(
            mode="linear_symmetric", dtype="int8", weight_threshold=SMALLEST - 1
        )
    return cto.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype="int4",
        granularity="per_block",
        block_size=32,
        weight_threshold=SMALLEST - 1,
    )


def _named(function: Callable[..., Any]) -> Callable[[np.ndarray], Any]:
    def lut_function(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return function(weight)

    return lut_function


def pieces(weight: np.ndarray, chosen: Compression) -> dict[str, np.ndarray]:
    """What `compress` stores for one weight, in the order of a linear or convolution's own.

    Args:
        weight: fp16, as the dense package holds it.

    Returns:
        `data` and `scale`, or `table` and `indices`, as the bytes of weight.bin.
    """
    if chosen in _BITS:
        table, indices = palette_of(weight, _BITS[chosen])
        return {"table": _raw(table), "indices": _pack(indices, _BITS[chosen])}
    coremltools()
    from coremltools.optimize.coreml._quantization_passes import linear_quantize_weights

    bits, block = (8, 0) if chosen is Compression.INT8 else (4, 32)
    block_sizes = [1, block, *[0] * (weight.ndim - 2)]
    made = linear_quantize_weights.blockwise_compress(
        weight, bits, "LINEAR_SYMMETRIC", True, block_sizes
    )
    if made is None:
        return {}
    return {"data": _pack(made.data.reshape(-1).view(np.uint8), bits), "scale": _raw(made.scale)}


def _raw(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def _pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """The low `bits` of each byte, packed from the lowest bit on, as blobs of the format v2 are."""
    if bits == 8:
        return codes
    if bits == 4:
        even = np.append(codes, np.zeros(len(codes) % 2, np.uint8)) & 15
        return even[0::2] | (even[1::2] << 4)
    spread = np.unpackbits(codes[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(spread.reshape(-1), bitorder="little")


def palette_of(weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The best 2**bits values for `weight`, and the index of each element.

    One-dimensional k-means (Lloyd) over the *distinct fp16 values* and their counts, of which
    there are at most 65536: seconds for a tensor for which scikit-learn's k-means takes minutes,
    with no random start, so that the result is the same everywhere.

    Args:
        weight: any shape, fp16 or fp32 (fp32 is clustered at fp16's resolution).
        bits: 1 to 8.

    Returns:
        (table: [2**bits] of weight's dtype, ascending; indices: [weight.size] uint8).
    """
    codes = weight.astype(np.float16).reshape(-1).view(np.uint16)
    counts = np.bincount(codes, minlength=1 << 16)
    present = np.flatnonzero(counts).astype(np.uint16)
    values = present.view(np.float16).astype(np.float64)
    order = np.argsort(values, kind="stable")
    values, counts = values[order], counts[present[order]].astype(np.float64)
    centres = _lloyd(values, counts, 1 << bits)
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, values).astype(np.uint8)
    index_of_code = np.zeros(1 << 16, dtype=np.uint8)
    index_of_code[present[order]] = nearest
    return centres.astype(weight.dtype), index_of_code[codes]


def _lloyd(values: np.ndarray, counts: np.ndarray, size: int) -> np.ndarray:
    """`size` ascending cluster centres of sorted `values` with multiplicities `counts`."""
    if len(values) <= size:
        return np.concatenate([values, np.full(size - len(values), values[-1])])
    # Start between quantiles of the distribution and an even grid: the first alone starves the
    # tails, the second alone wastes entries where nothing is.
    cumulative = np.cumsum(counts)
    middles = (np.arange(size) + 0.5) / size
    quantiles = values[np.searchsorted(cumulative, middles * cumulative[-1])]
    grid = values[0] + middles * (values[-1] - values[0])
    centres = np.sort((quantiles + grid) / 2)
    mass = np.concatenate([[0.0], cumulative])
    moment = np.concatenate([[0.0], np.cumsum(counts * values)])
    for _ in range(_LLOYD_ROUNDS):
        edges = np.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
        edges = np.concatenate([[0], edges, [len(values)]])
        weight = np.diff(mass[edges])
        centre = np.divide(np.diff(moment[edges]), weight, out=centres.copy(), where=weight > 0)
        if np.array_equal(centre, centres):
            break
        centres = np.sort(centre)
    return centres
