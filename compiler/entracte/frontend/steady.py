"""Group norms that fp16 can compute: no value of theirs leaves its range or vanishes in it.

A group is centred twice, since fp16 rounds a mean of 1000 to a half, and divided by its largest
value before it is squared. The result is the same: what the divisor was cancels, and epsilon is
divided too. A full fp32 copy of an image decoder's largest tensor would cost more than its weights.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from entracte.frontend.rewrite import Writer

__all__ = ["steady_norms"]

_aten = torch.ops.aten
_PEAK = 16.0
"""What the largest value becomes: its square is 256, and that of a value 4000 times smaller is
not yet below fp16's smallest."""
_LEAST = 2.0**-11
"""Groups are not enlarged beyond `_PEAK / _LEAST`, which fp16 just holds."""


def steady_norms(program: ExportedProgram, in_fp32: Collection[str] = ()) -> None:
    """Write the group norms of a program in this way, in place; not those that compute in fp32."""
    norms = [n for n in program.graph.nodes if n.target is _aten.group_norm.default]
    for node in norms:
        if node.name not in in_fp32:
            _replace(program, node)
    program.graph_module.graph.lint()
    program.graph_module.recompile()


def _replace(program: ExportedProgram, node: Node) -> None:
    given: Any = node.args
    x, groups, weight, bias, eps = (*given, *(None, None, 1e-5)[len(given) - 2 :])[:5]
    weight, bias = node.kwargs.get("weight", weight), node.kwargs.get("bias", bias)
    eps = node.kwargs.get("eps", eps)
    write = Writer(program.graph, node)
    shape = [int(d) for d in node.meta["val"].shape]
    # the last dimension is kept: a whole group in one would be longer than some devices take
    rows = [shape[0], int(groups), -1, shape[-1]] if len(shape) > 2 else [shape[0], int(groups), -1]
    y = _normalised(write, write(_aten.reshape.default, x, rows), float(eps))
    y = write(_aten.reshape.default, y, shape)
    affine = [1, shape[1], *[1] * (len(shape) - 2)]
    if weight is not None:
        y = write(_aten.mul.Tensor, y, write(_aten.reshape.default, weight, affine))
    if bias is not None:
        y = write(_aten.add.Tensor, y, write(_aten.reshape.default, bias, affine))
    _take_over(program, node, y)


def _normalised(write: Writer, x: Node, eps: float) -> Node:
    """`x` less its mean, over its deviation, over all but the first two dimensions."""
    dims = list(range(2, x.meta["val"].dim()))
    for _ in range(2):
        x = write(_aten.sub.Tensor, x, write(_aten.mean.dim, x, dims, True))
    low = write(_aten.neg.default, write(_aten.amin.default, x, dims, True))
    peak = write(_aten.maximum.default, write(_aten.amax.default, x, dims, True), low)
    peak = write(_aten.clamp_min.default, peak, max(math.sqrt(eps), _LEAST))
    factor = write(_aten.pow.Tensor_Scalar, write(_aten.mul.Tensor, peak, 1 / _PEAK), -1.0)
    y = write(_aten.mul.Tensor, x, factor)
    variance = write(_aten.mean.dim, write(_aten.square.default, y), dims, True)
    scaled = write(_aten.square.default, write(_aten.mul.Tensor, factor, math.sqrt(eps)))
    deviation = write(_aten.sqrt.default, write(_aten.add.Tensor, variance, scaled))
    return write(_aten.div.Tensor, y, deviation)


def _take_over(program: ExportedProgram, node: Node, value: Any) -> None:
    """`value` in place of `node`, in the program's outputs too."""
    node.replace_all_uses_with(value)
    for spec in program.graph_signature.output_specs:
        if getattr(spec.arg, "name", None) == node.name:
            spec.arg.name = value.name
    program.graph.erase_node(node)
