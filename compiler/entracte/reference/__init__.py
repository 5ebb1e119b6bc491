"""The reference device: executes an `.mlpackage` with torch, on any machine.

    from entracte.reference import Model

    with Model("model.mlpackage") as model:
        outputs = model.predict({"x": array})

`Model` is called like coremltools' `MLModel` (docs/reference-device.md). Below it, `load` prepares
a function for a runner of many chunks (tensors in the program's own types, measured bytes) and
`describe` reads declarations without executing anything.

Names resolve on first use, so importing this package imports neither torch nor coremltools.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from entracte.reference.errors import (
    InputKindError,
    PackageError,
    PredictionError,
    UnknownInputError,
)

if TYPE_CHECKING:
    from entracte.reference.info import Feature, PackageInfo, describe, package_weight_bytes
    from entracte.reference.loaded import Loaded, load
    from entracte.reference.model import Description, Model, ModelState
    from entracte.reference.options import Limits
    from entracte.reference.range import OutOfRange, first_out_of_range

__all__ = ["Description", "Feature", "InputKindError", "Limits", "Loaded", "Model", "ModelState",
           "OutOfRange", "PackageError", "PackageInfo", "PredictionError", "UnknownInputError",
           "describe", "first_out_of_range", "load", "package_weight_bytes"]  # fmt: skip

_HOME = {"Feature": "info", "PackageInfo": "info", "describe": "info", "Limits": "options",
         "Loaded": "loaded", "load": "loaded", "Model": "model", "ModelState": "model",
         "Description": "model", "OutOfRange": "range", "first_out_of_range": "range",
         "package_weight_bytes": "info"}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
