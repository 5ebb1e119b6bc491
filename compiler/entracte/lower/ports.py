"""Ports of a chunk: the data model's own, and the checks that a package needs of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from entracte.ir import DType, Port
from entracte.lower.errors import LowerError

__all__ = ["DType", "Port", "TORCH_DTYPES", "check_arguments", "check_distinct", "check_ports"]

TORCH_DTYPES = {
    DType.FP16: torch.float16,
    DType.FP32: torch.float32,
    DType.INT32: torch.int32,
}
"""Port dtype -> torch dtype."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def check_ports(ports: Sequence[Port], role: str, max_rank: int) -> None:
    """Refuse ports that no package can have; `role` is `input` or `output`.

    Raises:
        LowerError: a name that is not an identifier or given twice, an unknown dtype, a rank of 0
            or above `max_rank`, a zero-sized dimension, or no port at all.
    """
    if not ports:
        raise LowerError(f"no {role} ports: a package needs at least one {role}")
    seen: set[str] = set()
    for port in ports:
        if not _NAME.match(port.name):
            raise LowerError(
                f"{role} `{port.name}`: Core ML names match [A-Za-z_][A-Za-z0-9_]*; rename it"
            )
        if port.name in seen:
            raise LowerError(f"{role} `{port.name}`: the name is given twice; rename one of them")
        seen.add(port.name)
        _check_port(port, role, max_rank)


def _check_port(port: Port, role: str, max_rank: int) -> None:
    if port.dtype not in set(DType):
        raise LowerError(
            f"{role} `{port.name}`: dtype {port.dtype!r} is not one of {', '.join(DType)}"
        )
    if not port.shape:
        raise LowerError(
            f"{role} `{port.name}`: rank 0: Core ML has no scalar features; "
            "give the port shape (1,) and reshape inside the chunk"
        )
    if len(port.shape) > max_rank:
        raise LowerError(
            f"{role} `{port.name}`: rank {len(port.shape)} (shape {port.shape}): Core ML allows "
            f"rank {max_rank} at most; cut elsewhere or fold dimensions"
        )
    if min(port.shape) < 1:
        raise LowerError(f"{role} `{port.name}`: shape {port.shape} has no elements")


def check_distinct(inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """Refuse a name on both sides: values of a program have one name each.

    Raises:
        LowerError: naming the port.
    """
    both = sorted({port.name for port in inputs} & {port.name for port in outputs})
    if both:
        raise LowerError(f"`{both[0]}` is both an input and an output: rename the output")


def check_arguments(ports: Sequence[Port], args: Sequence[Tensor]) -> None:
    """Refuse example arguments that do not answer the input ports.

    Raises:
        LowerError: another count, another shape, or a dtype that no cast leads to.
    """
    if len(ports) != len(args):
        raise LowerError(f"{len(ports)} input ports but {len(args)} example inputs were given")
    for port, arg in zip(ports, args, strict=True):
        if tuple(arg.shape) != tuple(port.shape):
            raise LowerError(
                f"input `{port.name}`: the port has shape {tuple(port.shape)}, "
                f"the example input {tuple(arg.shape)}"
            )
        if arg.is_floating_point() and port.dtype is DType.INT32:
            raise LowerError(
                f"input `{port.name}`: the port is int32 but the chunk expects {arg.dtype}; "
                "make the port fp16 or fp32"
            )
