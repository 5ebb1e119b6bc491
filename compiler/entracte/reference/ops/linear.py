"""Matrix products and attention.

`linear` calls oneDNN's product directly where there is one and the product is large: on a CPU whose
BLAS is tuned for another maker's chips that takes less than half the time. fp16 weights are widened
a block of rows at a time, so that no fp32 copy of the whole weight is ever allocated: measured on
128x4096 by 4096x4096, 85 ms in one piece, 51 ms with oneDNN, 23 ms with both.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from entracte.reference.bind import Bind
from entracte.reference.registry import Compute, Kind, op

_BLOCK_ELEMENTS = 2 << 20
"""Elements of a weight widened at once: 8 MiB of fp32."""
_LARGE_PRODUCT = 2_000_000
"""Multiplications from which oneDNN's fixed cost of some 10 microseconds pays."""


def _onednn() -> Callable[..., torch.Tensor] | None:
    available: Callable[[], bool] = torch.backends.mkldnn.is_available
    found: Callable[..., torch.Tensor] | None = (
        getattr(torch.ops.mkldnn, "_linear_pointwise", None) if available() else None
    )
    return found


_POINTWISE = _onednn()


def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x [*, in] @ weight [out, in].T + bias [out] in fp32, by the faster of the two kernels."""
    if _POINTWISE is None or x.numel() * weight.shape[0] < _LARGE_PRODUCT:
        return functional.linear(x, weight, bias)
    return _POINTWISE(x, weight, bias, "none", [], "")


def half_product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x [*, in] @ weight [out, in].T + bias [out] of fp16, summed in fp32 and rounded once."""
    rows, wide = weight.shape[0], x.float()
    bias = None if bias is None else bias.float()
    step = max(_BLOCK_ELEMENTS // max(weight.shape[1], 1), 1)
    if step >= rows:
        return product(wide, weight.float(), bias).half()
    result = x.new_empty((*x.shape[:-1], rows))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        result[..., part] = product(
            wide, weight[part].float(), None if bias is None else bias[part]
        )
    return result


def _aligned(*tensors: torch.Tensor | None) -> list[torch.Tensor | None]:
    """Integer and float operands may meet; torch's products want one type."""
    present = [t for t in tensors if t is not None]
    dtype = present[0].dtype
    for tensor in present[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [None if t is None else t.to(dtype) for t in tensors]


@op("linear", "x weight bias?")
def linear(bind: Bind) -> Compute:
    """x [*, in] @ weight [out, in].T + bias [out]: [*, out]."""
    kinds = {t.dtype for n in ("x", "weight", "bias") if (t := bind.in_type(n)) is not None}
    if bind.portable and len(kinds) == 1:
        return functional.linear
    if kinds == {"fp16"} and bind.policy != "fp32":
        bind.kind = Kind.RAW
        return half_product
    if kinds in ({"fp32"}, {"fp16"}):
        return product
    if len(kinds) == 1:
        return functional.linear
    dtype = bind.out_dtype()

    def run(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return functional.linear(*_aligned(x, weight, bias)).to(dtype)  # type: ignore[arg-type]

    return run


@op("matmul", "x y")
def matmul(bind: Bind) -> Compute:
    """x [*, m, k] @ y [*, k, n]: [*, m, n], batches broadcast.

    `transpose_x`, `transpose_y` say that the last two axes come the other way round.
    """
    # A transpose has no effect on a vector.
    left = bind.const("transpose_x", False) and bind.rank("x") > 1
    right = bind.const("transpose_y", False) and bind.rank("y") > 1
    same = bind.in_type("x").dtype == bind.in_type("y").dtype  # type: ignore[union-attr]
    if same and not left:
        return (lambda x, y: torch.matmul(x, y.mT)) if right else torch.matmul
    dtype = bind.out_dtype()

    def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if same:
            return torch.matmul(x.mT if left else x, y.mT if right else y)
        x, y = _aligned(x, y)  # type: ignore[assignment]
        return torch.matmul(x.mT if left else x, y.mT if right else y).to(dtype)

    return run


@op("einsum", "values*")
def einsum(bind: Bind) -> Compute:
    """Einstein sum of the given equation, which names all axes; size-1 axes broadcast."""
    equation = bind.const("equation")
    if not isinstance(equation, str) or len(equation) > 64:
        raise bind.fail(f"equation {equation!r} is not an einsum equation")
    return lambda values: torch.einsum(equation, *values)


@op("scaled_dot_product_attention", "query key value attn_mask?")
def attention(bind: Bind) -> Compute:
    """softmax(q k^T / sqrt(E) + mask) v; a bool mask keeps where it is true.

    q [*, l, E], k [*, s, E], v [*, s, V], mask broadcast to [*, l, s]: result [*, l, V].

    A row whose mask is false everywhere is 0/0 by the operation's definition; torch's fused kernel
    answers 0 there, so such masks go through the defining formula.
    """
    mask_type = bind.in_type("attn_mask")
    if bind.portable:
        return _defined
    if mask_type is None:
        return functional.scaled_dot_product_attention
    if mask_type.dtype != "bool":
        return _masked

    def run(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        # In a rehearsal there are no values; the defining formula makes the larger tensors.
        if not mask.is_meta and bool(mask.any(-1).all()):
            return functional.scaled_dot_product_attention(query, key, value, mask)
        return _defined(query, key, value, mask)

    return run


def _defined(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    scores = (query * query.shape[-1] ** -0.5) @ key.mT
    if mask is not None:
        scores = (
            scores + mask if mask.dtype != torch.bool else scores.masked_fill(~mask, float("-inf"))
        )
    return torch.softmax(scores, -1) @ value


def _masked(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    return functional.scaled_dot_product_attention(query, key, value, mask.to(query.dtype))
