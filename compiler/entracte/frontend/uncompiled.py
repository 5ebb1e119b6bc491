"""Graphs that are only read: torch writes each one down as Python and compiles that, every time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch.fx import GraphModule
from torch.fx.graph import _PyTreeCodeGen

__all__ = ["uncompiled"]

_MADE = ("_code", "_lineno_map", "_prologue_start")
"""What compiling notes in a module."""
_compile = GraphModule.recompile


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Inside, a module's graph is compiled when the module is called, or its code or signature is
    looked at, and not each time that the graph was changed: exporting one does that eight times, a
    sixth of its time."""
    kind: Any = GraphModule
    before = kind.recompile
    kind.recompile = _later
    try:
        yield
    finally:
        kind.recompile = before


class _WhenLookedAt:
    """An attribute that is there once the module is compiled."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, module: GraphModule | None, owner: type) -> Any:
        if module is None:
            return self
        _compile(module)
        return getattr(module, self._name)


def _later(module: GraphModule) -> None:
    codegen = module._graph._codegen
    if isinstance(codegen, _PyTreeCodeGen):
        module._in_spec = codegen.pytree_info.in_spec
        module._out_spec = codegen.pytree_info.out_spec
    own: Any = type(module)  # fx makes a class for each module
    for name in _MADE:
        vars(module).pop(name, None)
        setattr(own, name, _WhenLookedAt(name))
    own.forward = _WhenLookedAt("forward")
