"""Cures: constants have the type that torch's have, also where half of a value is constant."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np

from entracte.lower.registry import arguments, ops, register

__all__ = ["cure_constant_types", "cure_outer_types", "cure_partly_known"]


def cure_constant_types() -> None:
    """A constant that is whole where torch's is float: `arange(4, dtype=torch.float32)`. A quotient
    with it is right, a product of matrices or a mean is cut off without a word."""
    import torch

    module = ops()
    stock = module.convert_single_node

    @functools.wraps(stock)
    def convert(context: Any, node: Any) -> None:
        stock(context, node)
        wanted = (node.meta or {}).get("val")
        if node.name not in context or not isinstance(wanted, torch.Tensor):
            return
        made = context[node.name]
        if wanted.is_floating_point() and _is_whole_constant(made):
            context.add(_as_float(made, node.name), torch_name=node.name, override=True)

    module.convert_single_node = convert


def _is_whole_constant(made: Any) -> bool:
    from coremltools.converters.mil.mil import types

    return hasattr(made, "sym_type") and types.is_int(made.dtype) and made.val is not None


def _as_float(made: Any, name: str) -> Any:
    from coremltools.converters.mil import Builder as mb

    constant = mb.const(val=np.asarray(made.val).astype(np.float32), name=f"{name}_in_fp32")
    constant.op.scopes = copy.copy(made.op.scopes)  # whose node it was made for
    return constant


def cure_partly_known() -> None:
    """Of a short `concat` the values are inferred although one operand has none: symbols stand for
    them, and what is split off such a list is whole. That is for shapes; floats are none."""
    from coremltools.converters.mil.mil import types
    from coremltools.converters.mil.mil.ops.defs.iOS15.tensor_operation import concat

    stock = concat.value_inference

    @functools.wraps(stock)
    def infer(self: Any) -> Any:
        if any(types.is_float(v.dtype) and v.val is None for v in self.values):
            return None
        return stock(self)

    concat.value_inference = infer


def cure_outer_types() -> None:
    """`outer` of whole numbers and floats becomes a product of matrices, which takes one type."""

    def outer(context: Any, node: Any) -> None:
        from coremltools.converters.mil import Builder as mb

        x, y = arguments(context, node, 2)
        pair = [mb.expand_dims(x=x, axes=[1]), mb.expand_dims(x=y, axes=[0])]
        column, row = ops().promote_input_dtypes(pair)
        context.add(mb.mul(x=column, y=row, name=node.name))

    register("outer", outer)
