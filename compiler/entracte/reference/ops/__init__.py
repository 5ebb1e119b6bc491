"""The operations, by topic; importing a module registers its rows."""

from __future__ import annotations

import functools
import importlib

_MODULES = (
    "elementwise", "activation", "reduce", "linear", "conv", "pool", "norm", "resize", "crop",
    "shape", "slicing", "rearrange", "gather", "tensor", "constexpr", "control", "state",
    "random", "recurrent", "quantize", "selection",
)  # fmt: skip


@functools.cache
def register_all() -> None:
    """Import every handler module once."""
    for name in _MODULES:
        importlib.import_module(f"{__name__}.{name}")
