"""The protobuf classes of Core ML's format, without the seconds that `import coremltools` takes.

coremltools ships them as a folder of generated modules that import only one another and protobuf.
They are imported from there under a package name of our own, so `coremltools` itself neither runs
nor appears half-imported. A later (or earlier) real import finds the same descriptors in protobuf's
pool, which accepts an identical file twice, and ends up with the very same classes.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

_OWN_NAME = "_entracte_coreml_protos"


@functools.cache
def protos() -> tuple[Any, Any]:
    """The generated modules (MIL_pb2, Model_pb2).

    Raises:
        ModuleNotFoundError: coremltools is not installed.
    """
    if "coremltools.proto" in sys.modules:
        name = "coremltools.proto"
    else:
        name = _OWN_NAME
        package = types.ModuleType(name)
        package.__path__ = [str(_folder())]
        sys.modules[name] = package
    mil = importlib.import_module(f"{name}.MIL_pb2")
    return mil, importlib.import_module(f"{name}.Model_pb2")


def _folder() -> Path:
    # Finding a top-level package does not execute it.
    spec = importlib.util.find_spec("coremltools")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("coremltools is not installed; its format's classes are needed")
    return Path(spec.submodule_search_locations[0]) / "proto"
