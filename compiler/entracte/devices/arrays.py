"""Values as numpy arrays: what the reference and the Core ML device share."""

from typing import Any

import numpy as np


class NumpyValues:
    """`make`, `fetch`, `piece` and `gather` for devices whose values are numpy arrays."""

    def make(self, array: Any) -> np.ndarray:
        return np.asarray(array)

    def fetch(self, value: Any) -> np.ndarray:
        return np.asarray(value)

    def piece(self, value: np.ndarray, axis: int, start: int, size: int) -> np.ndarray:
        index = [slice(None)] * value.ndim
        index[axis] = slice(start, start + size)
        return np.ascontiguousarray(value[tuple(index)])

    def gather(self, pieces: list[np.ndarray], axis: int) -> np.ndarray:
        return np.concatenate(pieces, axis=axis)
