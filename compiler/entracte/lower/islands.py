"""Where an fp16 program computes in fp32: the operations whose inner values leave fp16's range.

The patterns are those of `Backend.own_islands`: what feeds a sine or cosine, and RMS norms (square,
mean, add, rsqrt, multiply).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from entracte.frontend.backend import Islands
from entracte.lower.watched import number_of

__all__ = ["MADE_FROM", "fp16_selector", "fp32_islands"]

MADE_FROM = "_entracte_made_from"
"""Attribute of a MIL operation: name of the graph's node that it was made from, with others."""


def fp16_selector(
    islands: Islands, keep_fp32: Collection[str] = (), nodes: Collection[int] = ()
) -> Callable[[Any], bool]:
    """The `op_selector` for FP16ComputePrecision: True for operations to compute in fp16.

    Args:
        islands: the patterns, in the names of MIL operations.
        keep_fp32: names of further operations (torch graph nodes) to keep in fp32.
        nodes: numbers (`watched.number_of`) of nodes of which every operation stays fp32.

    The islands are found when the pass asks for its first operation, before it has changed any.
    """
    found: dict[int, set[int]] = {}

    def compute_in_fp16(op: Any) -> bool:
        block = op.enclosing_block
        if id(block) not in found:
            kept = fp32_islands(block.operations, islands, keep_fp32)
            found[id(block)] = {id(o) for o in kept}
            if nodes:
                found[id(block)] |= {id(o) for o in block.operations if number_of(o) in nodes}
        return id(op) not in found[id(block)]

    return compute_in_fp16


def fp32_islands(
    operations: Iterable[Any], islands: Islands, keep_fp32: Collection[str] = ()
) -> list[Any]:
    """The MIL operations that stay fp32, each once, in program order."""
    operations = list(operations)
    kept: dict[int, Any] = {}
    for op in operations:
        if op.op_type in islands.sines:
            kept.update(_trigonometric_chain(op, islands))
        if op.op_type in islands.roots:
            kept.update(_norm_chain(op, islands))
        if op.name in keep_fp32 or getattr(op, MADE_FROM, None) in keep_fp32:
            kept[id(op)] = op
    if keep_fp32:
        kept |= _between(operations, kept)
    return [op for op in operations if id(op) in kept]


def _between(operations: list[Any], kept: dict[int, Any]) -> dict[int, Any]:
    """What stands between operations that are kept: a pass that fuses two of them (a sum and a
    factor become a mean) makes one that has no name of the graph's."""
    found: dict[int, Any] = {}
    for op in operations:
        sources = [id(source) for source in _sources(op)]
        users = [id(user) for output in op.outputs for user in output.child_ops]
        before = sources and all(key in kept or key in found for key in sources)
        if id(op) not in kept and before and users and all(key in kept for key in users):
            found[id(op)] = op
    return found


def _trigonometric_chain(op: Any, islands: Islands) -> dict[int, Any]:
    chain = {id(op): op}
    waiting = [op]
    while waiting:
        for source in _sources(waiting.pop()):
            is_followed = source.op_type in islands.followed and not _is_heavy(source)
            if id(source) in chain or not is_followed:
                continue
            chain[id(source)] = source
            waiting.append(source)
    return chain


def _is_heavy(op: Any) -> bool:
    """A matmul whose contracted dimension is more than 1, or a gather from a table."""
    if op.op_type == "matmul":
        return bool(op.x.shape[-1] != 1 and op.x.shape[-2:] != (1, 1))
    return bool(op.op_type == "gather" and op.x.rank > 1)


def _norm_chain(op: Any, islands: Islands) -> dict[int, Any]:
    """From the square to the multiplication by rsqrt; nothing if there is no square."""
    chain = {id(op): op}
    waiting = [op]
    squares = 0
    while waiting:
        for source in _sources(waiting.pop()):
            if id(source) in chain:
                continue
            is_square = source.op_type in islands.squares or _is_self_product(source, islands)
            if not is_square and source.op_type not in islands.averaging:
                continue
            chain[id(source)] = source
            squares += is_square
            if not is_square:
                waiting.append(source)
    if not squares:
        return {}
    for user in op.outputs[0].child_ops:
        if user.op_type == islands.product:
            chain[id(user)] = user
    return chain


def _is_self_product(op: Any, islands: Islands) -> bool:
    return bool(op.op_type == islands.product and op.x is op.y)


def _sources(op: Any) -> list[Any]:
    """The operations that make the inputs of `op`, constants left out."""
    found = []
    for inputs in op.inputs.values():
        given = inputs if isinstance(inputs, list | tuple) else [inputs]
        makers = (var.op for var in given if var is not None)
        found += [op for op in makers if op is not None and op.op_type != "const"]
    return found
