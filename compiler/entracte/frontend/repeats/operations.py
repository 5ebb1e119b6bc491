"""How torch treats an operation, as far as its schema tells."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Node

from entracte.frontend.repeats.examples import Unfit, like

__all__ = ["NOTHING", "aliases", "described", "functional", "is_plain", "placed"]

_aten = torch.ops.aten
_TRACED = {_aten.detach.default, _aten.alias.default, _aten.lift_fresh_copy.default}
"""Not composite, and yet nothing that torch leaves as it is."""
NOTHING = _aten.detach_.default
"""Changes a tensor in place, but none of its numbers: torch drops it."""


def is_plain(target: OpOverload) -> bool:
    """Whether torch leaves an operation as it is, unless it has a decomposition for it."""
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    return target not in _TRACED and not target.has_kernel_for_dispatch_key(composite)


def described(argument: Any, read: list[Node], values: Mapping[Node, Any]) -> Hashable:
    """An argument, equal of equal ones: nodes by the place of their `values` in `read`, to which
    they are added, and by what `like` tells of them. Raises `Unfit`."""
    if isinstance(argument, Node):
        value = values[argument]
        if value not in read:
            read.append(value)
        return "given", read.index(value), like(value.meta["val"])
    if isinstance(argument, list | tuple):
        return type(argument), *(described(a, read, values) for a in argument)
    if isinstance(argument, float):  # 0.0 and -0.0 are equal
        return float, argument.hex()
    return type(argument), argument


def aliases(target: Any) -> bool:
    """Whether what an operation makes may lie in the memory of what it reads."""
    schema = getattr(target, "_schema", None)
    return schema is None or any(r.alias_info is not None for r in schema.returns)


def placed(node: Node) -> tuple[Any, Any]:
    """Arguments as torch hands them on: by name only what cannot be given by place."""
    target: Any = node.target
    args, kwargs = list(node.args), dict(node.kwargs)
    by_place = [a for a in target._schema.arguments if not a.kwarg_only]
    while any(a.name in kwargs for a in by_place):
        argument = by_place[len(args)]
        args.append(kwargs.pop(argument.name, argument.default_value))
    return tuple(args), kwargs


def functional(target: Any) -> Any:
    """The operation that makes anew what `target` changes in place. Raises `Unfit`."""
    changed = [a.alias_info is not None and a.alias_info.is_write for a in target._schema.arguments]
    name = target.overloadpacket.__name__
    packet = getattr(_aten, name.removesuffix("_"), None)
    made = getattr(packet, target._overloadname, None)
    if made is None or not name.endswith("_") or changed != [True, *[False] * (len(changed) - 1)]:
        raise Unfit
    return made
