"""The operators that are carried out, of the domain ai.onnx: one row each.

`If` and `Loop` are in `entracte.graphs.onnx.control`.
"""

from __future__ import annotations

from entracte.graphs.onnx.node import Rule
from entracte.graphs.onnx.ops import (
    attention,
    conv,
    elementwise,
    gather,
    linear,
    norm,
    pool,
    recurrent,
    reduce,
    resize,
    shape,
)

__all__ = ["OPERATORS"]

OPERATORS: dict[str, Rule] = {
    **attention.ROWS,
    **conv.ROWS,
    **elementwise.ROWS,
    **gather.ROWS,
    **linear.ROWS,
    **norm.ROWS,
    **pool.ROWS,
    **recurrent.ROWS,
    **reduce.ROWS,
    **resize.ROWS,
    **shape.ROWS,
}
