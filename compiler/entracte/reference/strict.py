"""What Core ML is known to refuse although coremltools writes it. Grows with evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from entracte.reference import mil
from entracte.reference.dtypes import TORCH
from entracte.reference.errors import PackageError
from entracte.reference.info import types_of, walk

MAX_RANK = 5


def lint(program: mil.Program, function: mil.Function) -> None:
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
            if isinstance(kind, mil.TensorType) and len(kind.shape) > MAX_RANK:
                found.append(
                    f"{operation.type} {named.name!r} has rank {len(kind.shape)}, above {MAX_RANK}"
                )
    found += _uneven_stacks(program, function)
    if found:
        raise PackageError(
            program.package,
            f"Core ML refuses this: {'; '.join(found)}",
            place=f"function {function.name!r}",
        )


def _uneven_stacks(program: mil.Program, function: mil.Function) -> list[str]:
    """`stack` of different shapes when every flexible input has its default shape.

    Core ML checks a flexible program at that shape when it loads.
    """
    flexible = program.interfaces[function.name].flexible
    types = types_of(function)
    sources = {o.outputs[0].name: o.inputs["x"][0] for o in function.block.operations
               if o.type in ("cast", "identity")}  # fmt: skip

    def shape(name: mil.Binding) -> tuple[int | None, ...]:
        while isinstance(name, str) and name in sources:
            name = sources[name]
        if isinstance(name, str) and name in flexible:
            return flexible[name].default
        kind = types.get(name) if isinstance(name, str) else name.type
        return kind.shape if isinstance(kind, mil.TensorType) else (None,)

    found = []
    for operation in function.block.operations:
        shapes = [shape(b) for b in operation.inputs.get("values", ())]
        known = all(None not in s for s in shapes)
        if operation.type == "stack" and known and len(set(shapes)) > 1:
            found.append(f"stack {operation.name!r} joins shapes {sorted(set(shapes))} at the "
                         "inputs' default shapes")  # fmt: skip
    return found


def check_types(
    program: mil.Program, function: str, held: Callable[[str], torch.dtype] | None
) -> Callable[[mil.Operation, Sequence[Any]], None]:
    """A check that results have their declared shapes and types, as Core ML's compiler demands.

    Args:
        held: the torch type that holds a MIL type under the policy in use; None compares only
            shapes.
    """

    def check(operation: mil.Operation, results: Sequence[Any]) -> None:
        for named, value in zip(operation.outputs, results, strict=False):
            kind = named.type
            if not isinstance(kind, mil.TensorType) or not isinstance(value, torch.Tensor):
                continue
            # Weights and constants keep fp16 under the policy that computes in fp32.
            typed = held is None or value.dtype in (held(kind.dtype), TORCH[kind.dtype])
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


def _fits(declared: mil.TensorType, found: tuple[int, ...]) -> bool:
    if not declared.ranked:
        return True
    return len(declared.shape) == len(found) and all(
        want is None or want == have for want, have in zip(declared.shape, found, strict=True)
    )
