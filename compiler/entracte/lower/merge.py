"""Several functions over the same weights, in one package that stores each weight once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from entracte.lower import package
from entracte.lower.quiet import captured_output, coremltools

__all__ = ["merge_functions"]


def merge_functions(parts: Mapping[str, Path], path: Path) -> None:
    """Write the package at `path` whose functions are the given packages.

    coremltools finds equal weights by their bytes (multifunction models, coremltools guide).

    Args:
        parts: function name -> a package with one function; the first one is the default.
    """
    ct = coremltools()
    with captured_output():
        described = ct.utils.MultiFunctionDescriptor()
        for name, part in parts.items():
            described.add_function(str(part), src_function_name="main", target_function_name=name)
        described.default_function_name = next(iter(parts))
        ct.utils.save_multifunction(described, str(path))
    package.normalise(path)
