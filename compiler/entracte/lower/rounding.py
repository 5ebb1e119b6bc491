"""fp16 as coremltools makes it of weights, and how far they reach."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["FEW", "cast", "extremes"]

FEW = 400
"""Of fewer elements coremltools keeps values that fp16 would round to zero (its
`_check_underflow_to_zero`); at those that are more it does not look."""


def cast(values: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """In another type, rounded as numpy does it (to nearest, ties to even; too large is infinite),
    in a third of its time: numpy rounds one by one, most slowly what is subnormal in fp16, as
    weights are."""
    return torch.from_numpy(values).to(dtype).numpy()


def extremes(values: np.ndarray) -> tuple[float, float]:
    """(lowest, highest) of numbers, of which there are some; NaN if there is one. One pass."""
    low, high = torch.aminmax(torch.from_numpy(np.ascontiguousarray(values)))
    return float(low), float(high)
