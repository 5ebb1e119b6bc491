"""coremltools' table of conversions, and how a conversion of ours reads its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["arguments", "ops", "register", "table", "value"]


def table() -> Any:
    """coremltools' registry of torch operations."""
    from coremltools.converters.mil.frontend.torch import torch_op_registry

    return torch_op_registry._TORCH_OPS_REGISTRY


def register(name: str, function: Callable[..., None]) -> None:
    """`function(context, node)` converts the operation from now on."""
    table().set_func_by_name(function, name)


def ops() -> Any:
    """The module of coremltools' own conversions."""
    from coremltools.converters.mil.frontend.torch import ops

    return ops


def arguments(context: Any, node: Any, count: int, keywords: tuple[str, ...] = ()) -> list[Any]:
    """The first `count` positional arguments (None if absent), then the keyword ones."""
    module = ops()
    given = list(module._get_inputs(context, node, min_expected=1))[:count]
    given += [None] * (count - len(given))
    for keyword in keywords:
        given.append(module._get_kwinputs(context, node, keyword, default=[None])[0])
    return given


def value(var: Any) -> Any:
    """The constant that `var` holds; `var` itself if it is a plain value."""
    return var.val if hasattr(var, "val") else var
