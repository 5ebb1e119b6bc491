"""Zeros of any shape: what a loop's state, or what a map carries, begins with."""

from collections.abc import Sequence

from entracte.graphs.spec import Constants

_TYPES = {"fp16": "float16", "fp32": "float32", "int32": "int32"}
_MOST_ELEMENTS = 2**26


def zeros(shape: Sequence[int], dtype: str = "fp16") -> Constants:
    """One constant, `zeros`. Raises `ValueError` for what is no shape or type.

    A state has the wider type of its first and its next value, so `fp16` suits all floats.
    """
    import numpy as np

    sizes = [n for n in shape if isinstance(n, int) and not isinstance(n, bool) and n > 0]
    if not sizes or len(sizes) != len(shape) or np.prod(sizes, dtype=float) > _MOST_ELEMENTS:
        raise ValueError(
            f"params.shape: {list(shape)}: give sizes above 0, together at most {_MOST_ELEMENTS}"
        )
    if dtype not in _TYPES:
        raise ValueError(f"params.dtype: {dtype!r} is not one of {', '.join(_TYPES)}")
    return Constants({"zeros": np.zeros(sizes, _TYPES[dtype])})
