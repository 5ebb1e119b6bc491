"""Numbers of 64 bits as what converters have: fp32, and pairs of it for complex ones; bf16 too.

Rotary tables are often made in float64, parameters kept in bf16. int64 needs no such care: it is
int32 at every port.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

__all__ = ["narrow"]

_NARROWER = {
    torch.float64: torch.float32,
    torch.complex128: torch.complex64,
    torch.bfloat16: torch.float32,
}


def narrow(program: ExportedProgram) -> None:
    """Compute in fp32 what the module computes in float64 or bf16, in place."""
    for node in program.graph.nodes:
        node.args = tuple(
            _NARROWER.get(a, a) if isinstance(a, torch.dtype) else a for a in node.args
        )
        dtype = node.kwargs.get("dtype")
        if dtype in _NARROWER:
            node.kwargs = {**node.kwargs, "dtype": _NARROWER[dtype]}
        if "val" in node.meta:
            node.meta["val"] = _narrowed(node.meta["val"])
    for table in (program.constants, program.state_dict):
        for name, tensor in list(table.items()):
            if isinstance(tensor, Tensor) and tensor.dtype in _NARROWER:
                table[name] = _parameter_like(tensor, tensor.detach().to(_NARROWER[tensor.dtype]))


def _narrowed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_narrowed, value))
    if isinstance(value, Tensor) and value.dtype in _NARROWER:
        return value.to(_NARROWER[value.dtype])
    return value


def _parameter_like(old: Tensor, new: Tensor) -> Tensor:
    is_parameter = isinstance(old, torch.nn.Parameter)
    return torch.nn.Parameter(new, requires_grad=False) if is_parameter else new
