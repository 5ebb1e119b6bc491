"""What Core ML is known to refuse, or to compute differently, although coremltools writes it.

Grows with evidence."""

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
    found += _hanging_averages(function)
    if found:
        raise PackageError(
            program.package,
            f"Core ML refuses this: {'; '.join(found)}",
            place=f"function {function.name!r}",
        )


def _hanging_averages(function: mil.Function) -> list[str]:
    """Average pooling with `ceil_mode`, which Core ML is reported to compute differently from torch
    and from coremltools' own documentation (coremltools issue 2772)."""
    constants = {
        operation.outputs[0].name: operation.inputs["val"][0]
        for operation in walk(function.block)
        if operation.type == "const"
    }
    found = []
    for operation in walk(function.block):
        given = operation.inputs.get("ceil_mode", ())
        values = [constants.get(b) if isinstance(b, str) else b for b in given]
        is_set = any(isinstance(v, mil.Value) and v.data and any(v.data) for v in values)
        if operation.type == "avg_pool" and is_set:
            found.append(
                f"avg_pool {operation.name!r} has ceil_mode, whose last windows are divided "
                "differently; pad and divide instead"
            )
    return found


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
