"""fp16 as coremltools makes it of weights."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["FEW", "cast"]

FEW = 400
"""Of fewer elements coremltools keeps values that fp16 would round to zero (its
`_check_underflow_to_zero`); at those that are more it does not look."""


def cast(values: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """In another type, rounded as numpy does it (to nearest, ties to even; too large is infinite),
    in a third of its time: numpy rounds one by one, most slowly what is subnormal in fp16, as
    weights are."""
    return torch.from_numpy(values).to(dtype).numpy()
