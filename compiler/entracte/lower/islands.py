"""Where an fp16 program computes in fp32: the operations whose inner values leave fp16's range.

Two patterns, both measured (`reference/conversion.md`, 1.5):

* what feeds a sine or cosine: timestep embeddings take the sine of arguments up to 1000, where
  fp16 steps are 0.5 apart;
* RMS normalisation (square, mean, add, rsqrt, multiply): coremltools drops the model's own upcast,
  and the square of 256 overflows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

__all__ = ["fp16_selector", "fp32_islands"]

_LIGHT = {
    "add", "sub", "mul", "real_div", "exp", "cast", "expand_dims", "squeeze", "reshape",
    "transpose", "concat", "stack", "tile", "slice_by_index", "slice_by_size", "split", "identity",
    "gather", "inverse", "matmul", "pow", "square",
}  # fmt: skip
"""Operations through which the ancestors of a sine are followed. Convolutions, linears and
normalisations end the chain: an activation such as x + sin(x)^2 must not turn a network fp32.
`matmul` is here for outer products of positions and frequencies; see `_is_heavy`."""

_NORM_CHAIN = {"add", "reduce_mean", "reduce_sum", "maximum", "clip", "mul", "real_div", "cast"}
_SQUARES = {"pow", "square"}


def fp16_selector(keep_fp32: Collection[str] = ()) -> Callable[[Any], bool]:
    """The `op_selector` for FP16ComputePrecision: True for operations to compute in fp16.

    Args:
        keep_fp32: names of further operations (torch graph nodes) to keep in fp32.

    The islands are found when the pass asks for its first operation, before it has changed any.
    """
    found: dict[int, set[int]] = {}

    def compute_in_fp16(op: Any) -> bool:
        block = op.enclosing_block
        if id(block) not in found:
            found[id(block)] = {id(o) for o in fp32_islands(block.operations, keep_fp32)}
        return id(op) not in found[id(block)]

    return compute_in_fp16


def fp32_islands(operations: Iterable[Any], keep_fp32: Collection[str] = ()) -> list[Any]:
    """The MIL operations that stay fp32, each once, in program order."""
    operations = list(operations)
    kept: dict[int, Any] = {}
    for op in operations:
        if op.op_type in ("sin", "cos"):
            kept.update(_trigonometric_chain(op))
        if op.op_type == "rsqrt":
            kept.update(_norm_chain(op))
        if op.name in keep_fp32:
            kept[id(op)] = op
    return [op for op in operations if id(op) in kept]


def _trigonometric_chain(op: Any) -> dict[int, Any]:
    chain = {id(op): op}
    waiting = [op]
    while waiting:
        for source in _sources(waiting.pop()):
            if id(source) in chain or source.op_type not in _LIGHT or _is_heavy(source):
                continue
            chain[id(source)] = source
            waiting.append(source)
    return chain


def _is_heavy(op: Any) -> bool:
    """A matmul whose contracted dimension is more than 1, or a gather from a table."""
    if op.op_type == "matmul":
        return op.x.shape[-1] != 1 and op.x.shape[-2:] != (1, 1)
    return op.op_type == "gather" and op.x.rank > 1


def _norm_chain(op: Any) -> dict[int, Any]:
    """From the square to the multiplication by rsqrt; nothing if there is no square."""
    chain = {id(op): op}
    waiting = [op]
    squares = 0
    while waiting:
        for source in _sources(waiting.pop()):
            if id(source) in chain:
                continue
            is_square = source.op_type in _SQUARES or _is_self_product(source)
            if not is_square and source.op_type not in _NORM_CHAIN:
                continue
            chain[id(source)] = source
            squares += is_square
            if not is_square:
                waiting.append(source)
    if not squares:
        return {}
    for user in op.outputs[0].child_ops:
        if user.op_type == "mul":
            chain[id(user)] = user
    return chain


def _is_self_product(op: Any) -> bool:
    return op.op_type == "mul" and op.x is op.y


def _sources(op: Any) -> list[Any]:
    """The operations that make the inputs of `op`, constants left out."""
    found = []
    for inputs in op.inputs.values():
        for var in inputs if isinstance(inputs, list | tuple) else [inputs]:
            if var is not None and var.op is not None and var.op.op_type != "const":
                found.append(var.op)
    return found
