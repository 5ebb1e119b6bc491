"""Every node's conversion, watched: its result has the shape and kind that torch's has.

coremltools converts node by node and looks at no result; a conversion that gives another shape is
seen only where it reaches an output. Here each value is compared as soon as it is made, before any
pass changes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from entracte.lower.errors import LowerError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["number_of", "watching"]


@contextlib.contextmanager
def watching(numbers: Mapping[str, int], places: Mapping[str, str]) -> Iterator[None]:
    """Compare every value that coremltools' torch frontend makes inside with its node's.

    Args:
        numbers: node -> a number that its operations carry through all passes, for `number_of`.
        places: node -> where the user wrote it, for the message.

    Raises:
        LowerError: another shape, or another kind of element (float, whole, boolean).
    """
    from coremltools.converters.mil.frontend.torch import ops

    stock = ops.convert_single_node

    def convert(context: Any, node: Any) -> None:
        node.meta = {**(node.meta or {}), "debug_handle": numbers.get(node.name)}
        stock(context, node)
        if node.name in context:
            _check(node, context[node.name], places.get(node.name, ""))

    ops.convert_single_node = convert
    try:
        yield
    finally:
        ops.convert_single_node = stock


def number_of(operation: Any) -> int | None:
    """That of the node a MIL operation was made for; None where it is nobody's."""
    from coremltools.converters.mil.mil.scope import ScopeSource

    (number, *_) = operation.scopes.get(ScopeSource.EXIR_DEBUG_HANDLE) or [None]
    return number if isinstance(number, int) else None


def _check(node: Any, made: Any, place: str) -> None:
    import torch

    wanted = node.meta.get("val")
    pairs = [(wanted, made)]
    if isinstance(wanted, list | tuple):
        given = list(made) if isinstance(made, list | tuple) else [made]
        pairs = list(zip(wanted, given, strict=False))
    for value, var in pairs:
        if isinstance(value, torch.Tensor) and hasattr(var, "sym_type"):
            _check_value(node, value, var, place)


def _check_value(node: Any, value: Tensor, var: Any, place: str) -> None:
    wanted, found = tuple(value.shape), tuple(var.shape or ())
    known = all(isinstance(n, int) for n in found)
    # MIL writes a torch scalar with one element either way.
    if known and wanted != found and not (wanted == () and found == (1,)):
        raise _refusal(node, place, f"shape {found}, torch {_int(wanted)}")
    # A constant may be whole where torch's is float (`scalar_tensor(0.)`): it is cast where it is
    # used.
    if var.val is None and _kind(value) != _made_kind(var):
        raise _refusal(node, place, f"{_made_kind(var)} elements, torch {value.dtype}")


def _int(shape: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(int(n) for n in shape)


def _kind(value: Tensor) -> str:
    import torch

    if value.dtype is torch.bool:
        return "boolean"
    return "float" if value.is_floating_point() else "whole"


def _made_kind(var: Any) -> str:
    from coremltools.converters.mil.mil import types

    if types.is_bool(var.dtype):
        return "boolean"
    return "float" if types.is_float(var.dtype) else "whole"


def _refusal(node: Any, place: str, difference: str) -> LowerError:
    where = f" of {place}" if place else ""
    return LowerError(
        f"operation {node.kind} (node `{node.name}`){where}: coremltools' conversion gives "
        f"{difference}; write it in terms of other operations in the module, or register a right "
        "conversion in entracte/lower/registrations.py"
    )
