"""Convolutions in one to three dimensions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from entracte.reference.bind import Bind
from entracte.reference.blocks import weight_rows
from entracte.reference.registry import Compute, Kind, op

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSE = {
    1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d,
}  # fmt: skip
Pads = list[tuple[int, int]]
Conv = Callable[..., torch.Tensor]


def same_pads(sizes: list[int], spans: list[int], strides: list[int], lower: bool) -> Pads:
    """(before, after) so that the result has ceil(size / stride) elements.

    Args:
        sizes: spatial sizes of the input.
        spans: kernel sizes with dilation counted.
        strides: strides.
        lower: put the odd element before instead of after.
    """
    pads = []
    for size, span, stride in zip(sizes, spans, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        small, large = total // 2, total - total // 2
        pads.append((large, small) if lower else (small, large))
    return pads


def explicit_pads(bind: Bind, spatial: int) -> Pads | None:
    """Pads that do not depend on the input's size; None for the `same` types."""
    pad_type = bind.const("pad_type", "valid")
    if pad_type == "valid":
        return [(0, 0)] * spatial
    if pad_type == "custom":
        flat = bind.ints("pad", [0] * 2 * spatial)
        if len(flat) != 2 * spatial:
            raise bind.fail(f"pad has {len(flat)} entries, {2 * spatial} needed")
        return list(zip(flat[::2], flat[1::2], strict=True))
    if pad_type in ("same", "same_lower"):
        return None
    raise bind.fail(f"unknown pad_type {pad_type!r}")


def torch_pad(pads: Pads) -> list[int]:
    """The order of `functional.pad`: last axis first."""
    return [amount for pair in reversed(pads) for amount in pair]


def _geometry(bind: Bind) -> tuple[int, list[int], list[int], int]:
    spatial = bind.rank() - 2
    if spatial not in _CONV:
        raise bind.fail(f"{spatial} spatial dimensions; 1 to 3 are possible")
    ones = [1] * spatial
    strides, dilations = bind.ints("strides", ones), bind.ints("dilations", ones)
    return spatial, strides, dilations, bind.const("groups", 1)


def _half(
    conv: Conv, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *options: Any
) -> torch.Tensor:
    """A convolution of halves, accumulated in fp32 and rounded once."""
    wide, bias = x.float(), None if bias is None else bias.float()
    result = None
    for rows in weight_rows(weight):
        part = conv(wide, weight[rows].float(), None if bias is None else bias[rows], *options)
        if part.shape[1] == weight.shape[0]:
            return part.half()
        if result is None:
            result = x.new_empty((part.shape[0], weight.shape[0], *part.shape[2:]))
        result[:, rows] = part
    assert result is not None, "a weight without rows is one block"
    return result


def _convolve(bind: Bind) -> Conv:
    spatial, strides, dilations, groups = _geometry(bind)
    conv: Conv = _CONV[spatial]
    pads = explicit_pads(bind, spatial)
    if groups == 1 and bind.rounds("x", "weight", "bias"):
        bind.kind = Kind.RAW
        conv = partial(_half, conv)
    if pads is not None and all(before == after >= 0 for before, after in pads):
        padding = [before for before, _ in pads]
        return lambda x, weight, bias: conv(x, weight, bias, strides, padding, dilations, groups)
    lower = bind.const("pad_type") == "same_lower"

    def run(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        actual = pads
        if actual is None:
            spans = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
            actual = same_pads(list(x.shape[2:]), spans, strides, lower)
        x = functional.pad(x, torch_pad(actual))
        return conv(x, weight, bias, strides, 0, dilations, groups)

    return run


@op("conv", "x weight bias?")
def conv(bind: Bind) -> Compute:
    """Convolution (cross-correlation) with Core ML's pad types.

    x [n, c, *space], weight [out, c / groups, *kernel], bias [out] to [n, out, *space']; one to
    three axes of space.
    """
    return _convolve(bind)


@op("conv_quantized", "x weight bias?")
def conv_quantized(bind: Bind) -> Compute:
    """Convolution with weights stored as bytes: weight * quant_scale + quant_bias.

    x [n, c, *space], weight [out, c / groups, *kernel], bias [out] to [n, out, *space']; scale and
    bias of the weight are scalars or [out].
    """
    if bind.const("quantization_type") != "linear":
        raise bind.fail("only quantization_type 'linear' is supported")
    scale = torch.tensor(bind.const("quant_scale"))
    shift = torch.tensor(bind.const("quant_bias"))
    inner = _convolve(bind)

    def spread(values: torch.Tensor, rank: int) -> torch.Tensor:
        return values.reshape((-1,) + (1,) * (rank - 1)) if values.dim() == 1 else values

    def run(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        dense = weight.float() * spread(scale, weight.dim()) + spread(shift, weight.dim())
        return inner(x, dense, None if bias is None else bias.float())

    return run


@op("conv_transpose", "x weight bias?")
def conv_transpose(bind: Bind) -> Compute:
    """Transposed convolution: the full result, cropped as pad, pad_type or output_shape say.

    x [n, c, *space], weight [c, out / groups, *kernel], bias [out] to [n, out, *space'].
    """
    spatial, strides, dilations, groups = _geometry(bind)
    full_conv: Conv = _TRANSPOSE[spatial]
    pads = explicit_pads(bind, spatial)
    wanted = bind.ints("output_shape")[-spatial:] if bind.has("output_shape") else None
    if wanted is None and pads is not None and all(b == a >= 0 for b, a in pads):
        crop = [before for before, _ in pads]
        return lambda x, weight, bias: full_conv(
            x, weight, bias, strides, crop, 0, groups, dilations
        )
    lower = bind.const("pad_type") == "same_lower"

    def run(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        sizes, kernel = x.shape[2:], weight.shape[2:]
        starts, counts, extra = [], [], []
        for i in range(spatial):
            full = (sizes[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1
            if pads is None:
                count = wanted[i] if wanted else sizes[i] * strides[i]
                total = max(full - count, 0)
                start = total - total // 2 if lower else total // 2
            else:
                start = pads[i][0]
                count = wanted[i] if wanted else full - sum(pads[i])
            starts.append(start)
            counts.append(count)
            extra.append(max(start + count - full, 0))
        result = full_conv(x, weight, bias, strides, 0, extra, groups, dilations)
        for axis, (start, count) in enumerate(zip(starts, counts, strict=True), 2):
            result = result.narrow(axis, start, count)
        return result

    return run
