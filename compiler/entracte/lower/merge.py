"""Several functions over the same weights, in one package that stores each weight once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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
    with captured_output(), _weightless_parts(ct.models.utils, path):
        described = ct.utils.MultiFunctionDescriptor()
        for name, part in parts.items():
            described.add_function(str(part), src_function_name="main", target_function_name=name)
        described.default_function_name = next(iter(parts))
        ct.utils.save_multifunction(described, str(path))
    package.normalise(path)


@contextlib.contextmanager
def _weightless_parts(utils: Any, beside: Path) -> Iterator[None]:
    """Inside, a package without weights has a folder of weights that is not there: coremltools
    refuses such packages, and would read nothing of it."""
    stock = utils._try_get_weights_dir_path
    utils._try_get_weights_dir_path = lambda path: stock(path) or str(beside / "none")
    try:
        yield
    finally:
        utils._try_get_weights_dir_path = stock
