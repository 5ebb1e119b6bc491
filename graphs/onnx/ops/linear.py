"""Products of matrices, and numbers in integer codes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from entracte.graphs.onnx.node import Compute, Node, Rule
from entracte.graphs.onnx.numbers import type_name

__all__ = ["ROWS"]


def _gemm(node: Node) -> Compute:
    alpha, beta = node.attribute("alpha"), node.attribute("beta")
    first, second = bool(node.attribute("transA")), bool(node.attribute("transB"))
    is_layer = alpha == beta == 1 and second and not first
    if is_layer and (not node.has(2) or node.shape(2) == (node.shape(1)[0],)):
        return lambda x, weight, bias=None: F.linear(x, weight, bias)

    def compute(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        product = torch.matmul(a.T if first else a, b.T if second else b)
        product = product if alpha == 1 else product * alpha
        if c is None or beta == 0:
            return product
        return product + (c if beta == 1 else c * beta)

    return compute


def _einsum(node: Node) -> Compute:
    equation = node.attribute("equation").replace(" ", "")
    return lambda *inputs: torch.einsum(equation, *inputs)


_RANGES = {"INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767), "UINT16": (0, 65535)}


def _quantize(node: Node) -> Compute:
    """Round half to even, add the zero point, stay within the type."""
    _plain_codes(node)
    low, high = _RANGES[_code_type(node)]
    axis = _per_axis(node)

    def compute(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        codes = torch.round(x / _along(scale, axis, x.dim()))
        if zero is not None:
            codes = codes + _along(zero, axis, x.dim()).to(codes.dtype)
        return torch.clamp(codes, low, high).to(torch.int64)

    return compute


def _code_type(node: Node) -> str:
    kind = type_name(node.attribute("output_dtype", 0)) if node.attribute("output_dtype", 0) else ""
    kind = kind or _kind_of_zero(node)
    if kind not in _RANGES:
        node.fail(f"makes {kind or 'an unknown type'}; known: {', '.join(_RANGES)}")
    return kind


def _kind_of_zero(node: Node) -> str:
    """What codes are of: the type of the zero point, UINT8 without one."""
    return node.value(2).kind if node.has(2) else "UINT8"


def _dequantize(node: Node) -> Compute:
    block = node.attribute("block_size", 0)
    node.attribute("output_dtype", 0)
    axis = _per_axis(node)

    def compute(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        codes = x.to(scale.dtype)
        if zero is not None:
            codes = codes - _spread(zero.to(scale.dtype), axis, x, block)
        return codes * _spread(scale, axis, x, block)

    return compute


def _plain_codes(node: Node) -> None:
    node.only("block_size", 0)
    node.attribute("saturate", 1)  # of float8
    precision = node.attribute("precision", 0)
    if precision not in (0, 1):
        node.fail(f"precision={type_name(precision)} is not carried out")


def _per_axis(node: Node) -> int:
    axis = node.attribute("axis", 1)
    return node.axis(axis) if node.rank(1) and node.shape(1) != (1,) else 0


def _along(scale: Tensor, axis: int, rank: int) -> Tensor:
    if scale.numel() == 1:
        return scale.reshape(())
    return scale.reshape([-1 if i == axis else 1 for i in range(rank)])


def _spread(scale: Tensor, axis: int, x: Tensor, block: int) -> Tensor:
    if not block:
        return _along(scale, axis, x.dim())
    repeated = scale.repeat_interleave(block, axis)
    return repeated.narrow(axis, 0, x.shape[axis])


ROWS: dict[str, Rule] = {
    "DequantizeLinear": _dequantize,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": lambda node: torch.matmul,
    "QuantizeLinear": _quantize,
}
