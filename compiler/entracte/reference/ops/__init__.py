"""The operations, by topic; importing a module registers its rows."""

from __future__ import annotations

import functools
import importlib

from entracte.reference.registry import TABLE, Handler

_MODULES = (
    "elementwise", "activation", "reduce", "linear", "conv", "pool", "norm", "resize", "crop",
    "shape", "slicing", "rearrange", "gather", "tensor", "constexpr", "control", "state",
    "random", "recurrent", "quantize", "selection",
)  # fmt: skip


@functools.cache
def load_table() -> dict[str, Handler]:
    """The full table; importing the handlers imports torch, so it happens on first use."""
    for name in _MODULES:
        importlib.import_module(f"{__name__}.{name}")
    return TABLE
