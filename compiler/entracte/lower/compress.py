"""Weight compression of a finished package: what a row of `SCHEMES` means to coremltools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from entracte.declare.scheme import SCHEMES, Codes, Scheme, compressions, scheme_of
from entracte.lower.errors import LowerError
from entracte.lower.quiet import coremltools
from entracte.lower.targets import can_read

__all__ = ["check_compression", "compress", "palette_of", "pieces"]

_WEIGHT_OPS = ("linear", "conv", "conv_transpose", "matmul", "gather")
"""Operations whose constants are weights. Never `global_config`: that also compresses masks and
other constants, and a palettised -inf is NaN (measured, section 4)."""

_LLOYD_ROUNDS = 40

_Palette = tuple[np.ndarray, np.ndarray]
"""(table: [2**bits], indices: [elements of the weight])"""


def check_compression(compression: str, deployment: str) -> Scheme | None:
    """The scheme named `compression`, if packages for `deployment` can have it; None for `none`.

    Args:
        deployment: the name of a coremltools target.

    Raises:
        LowerError: an unknown scheme or target, or a scheme that the target cannot read.
    """
    if compression not in compressions():
        raise LowerError(f"compression={compression}: not one of {', '.join(compressions())}")
    scheme = scheme_of(compression)
    if scheme is not None and not can_read(deployment, scheme.since[0]):
        smallest = min(
            (s for s in SCHEMES.values() if can_read(deployment, s.since[0])),
            key=lambda s: s.bytes_per_element,
        )
        raise LowerError(
            f"compression={compression} needs {' or '.join(scheme.since)} and later, the target is "
            f"{deployment}; use `compression={smallest.name}` or "
            f"`target.deployment={scheme.since[0]}`"
        )
    return scheme


def compress(source: Path, scheme: Scheme, destination: Path) -> None:
    """Write the package at `source` to `destination` with its weights compressed.

    Only constants that are weights of linear, convolution, matmul and gather operations change.
    """
    ct = coremltools()
    import coremltools.optimize.coreml as cto

    config = cto.OptimizationConfig(op_type_configs=dict.fromkeys(_WEIGHT_OPS, _asked(cto, scheme)))
    model = ct.models.MLModel(str(source), skip_model_load=True)
    change = cto.palettize_weights if scheme.codes is Codes.PALETTE else cto.linear_quantize_weights
    change(model, config).save(str(destination))


def _asked(cto: Any, scheme: Scheme) -> Any:
    """The configuration of one operation type, in the words of `coremltools.optimize.coreml`."""
    # coremltools compresses what has *more* elements than the threshold
    threshold = scheme.smallest - 1
    if scheme.codes is Codes.PALETTE:
        return cto.OpPalettizerConfig(
            mode="custom", lut_function=_lut_function(scheme.bits), weight_threshold=threshold
        )
    blocks = {"granularity": "per_block", "block_size": scheme.block} if scheme.block else {}
    return cto.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype=f"int{scheme.bits}",
        weight_threshold=threshold,
        **blocks,
    )


def _lut_function(bits: int) -> Callable[[np.ndarray], _Palette]:
    # coremltools asks for a plain function of this name and one argument, not for a partial
    def lut_function(weight: np.ndarray) -> _Palette:
        return palette_of(weight, bits)

    return lut_function


def pieces(weight: np.ndarray, scheme: Scheme) -> dict[str, np.ndarray]:
    """What `compress` stores for one weight, in the order of a linear or convolution's own.

    Args:
        weight: [out, in] or [out, in, *kernel], fp16, as the dense package holds it.

    Returns:
        The bytes of weight.bin, uint8 of one axis each: `table` (2**bits fp16 values) and
        `indices`, or `data` and `scale` (fp16: [out], or [out, in / block]); empty if coremltools
        leaves the weight dense, because its block does not divide it.
    """
    if scheme.codes is Codes.PALETTE:
        table, indices = palette_of(weight, scheme.bits)
        return {"table": _raw(table), "indices": _pack(indices, scheme.bits)}
    coremltools()
    from coremltools.optimize.coreml._quantization_passes import linear_quantize_weights

    block_sizes = [1, scheme.block, *[0] * (weight.ndim - 2)]
    made = linear_quantize_weights.blockwise_compress(
        weight, scheme.bits, "LINEAR_SYMMETRIC", True, block_sizes
    )
    if made is None:
        return {}
    codes = made.data.reshape(-1).view(np.uint8)
    return {"data": _pack(codes, scheme.bits), "scale": _raw(made.scale)}


def _raw(values: np.ndarray) -> np.ndarray:
    """Any shape and type -> its bytes, uint8 [size in bytes]."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def _pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """The low `bits` of each byte, packed from the lowest bit on, as blobs of the format v2 are.

    Args:
        codes: uint8 [elements].

    Returns:
        uint8 [elements * bits / 8, rounded up].
    """
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
    """`size` ascending cluster centres of sorted `values` with multiplicities `counts`.

    Args:
        values, counts: float64 [distinct values].

    Returns:
        float64 [size]; the last value again where there are fewer than `size`.
    """
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
