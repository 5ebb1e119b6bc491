"""What Core ML is known to refuse although coremltools writes it. Grows with evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from compiler.reference import program as ir
from compiler.reference.errors import PackageError
from compiler.reference.info import walk

MAX_RANK = 5


def lint(program: ir.Program, function: ir.Function) -> None:
    """Check a function against the known refusals (padding is checked while it is built).

    Raises:
        PackageError: all violations, each with its operation.
    """
    found = []
    for operation in walk(function.block):
        for named in operation.outputs:
            kind = named.type
            if operation.type.startswith(("const", "constexpr_")):
                continue
            if isinstance(kind, ir.TensorType) and len(kind.shape) > MAX_RANK:
                found.append(
                    f"{operation.type} {named.name!r} has rank {len(kind.shape)}, above {MAX_RANK}"
                )
    if found:
        raise PackageError(
            program.package,
            f"Core ML refuses this: {'; '.join(found)}",
            place=f"function {function.name!r}",
        )


def check_types(
    program: ir.Program, function: str, held: Callable[[str], torch.dtype] | None
) -> Callable[[ir.Operation, Sequence[Any]], None]:
    """A check that results have their declared shapes and types, as Core ML's compiler demands.

    Args:
        held: the torch type that holds a MIL type under the policy in use; None compares only
            shapes.
    """

    def check(operation: ir.Operation, results: Sequence[Any]) -> None:
        for named, value in zip(operation.outputs, results, strict=False):
            kind = named.type
            if not isinstance(kind, ir.TensorType) or not isinstance(value, torch.Tensor):
                continue
            typed = held is None or value.dtype == held(kind.dtype)
            if typed and _fits(kind, tuple(value.shape)):
                continue
            raise PackageError(
                program.package,
                f"{operation.type}: declares {kind.dtype} {kind.shape}, computes "
                f"{value.dtype} {tuple(value.shape)}",
                op=operation.name,
                place=f"function {function!r}",
            )

    return check


def _fits(declared: ir.TensorType, found: tuple[int, ...]) -> bool:
    if not declared.ranked:
        return True
    return len(declared.shape) == len(found) and all(
        want is None or want == have for want, have in zip(declared.shape, found, strict=True)
    )
