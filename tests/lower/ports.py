"""Ports for a module and its example arguments."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entracte.lower.ports import DType, Port


def ports_of(
    module: nn.Module, args: tuple[Tensor, ...], precision: str
) -> tuple[list[Port], list[Port]]:
    """Inputs `in_0`, ... and outputs `out_0`, ...; floats in `precision`, the rest int32."""
    with torch.no_grad():
        results = module(*args)
    results = (results,) if isinstance(results, Tensor) else results
    return (
        [_port(f"in_{n}", arg, precision) for n, arg in enumerate(args)],
        [_port(f"out_{n}", result, precision) for n, result in enumerate(results)],
    )


def _port(name: str, tensor: Tensor, precision: str) -> Port:
    dtype = DType(precision) if tensor.is_floating_point() else DType.INT32
    return Port(name, tuple(tensor.shape), dtype)
