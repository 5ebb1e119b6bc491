"""The reference device: executes an `.mlpackage` with torch, on any machine.

    info = describe("model.mlpackage")
    with load("model.mlpackage") as model:
        outputs = model.predict({"x": array})

Names resolve on first use, so importing this package imports neither torch nor coremltools.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from compiler.reference.errors import PackageError

if TYPE_CHECKING:
    from compiler.reference.info import Feature, PackageInfo, describe
    from compiler.reference.loaded import Loaded, load

__all__ = ["Feature", "Loaded", "PackageError", "PackageInfo", "describe", "load"]

_HOME = {"Feature": "info", "PackageInfo": "info", "describe": "info", "Loaded": "loaded",
         "load": "loaded"}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
