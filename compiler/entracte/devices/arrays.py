"""Values as numpy arrays: what the reference and the Core ML device share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from entracte.ir import DType

NUMPY = {DType.FP16: np.float16, DType.FP32: np.float32, DType.INT32: np.int32}


class NumpyValues:
    """The values' half of the protocol, for devices whose values are numpy arrays."""

    def make(self, array: Any) -> np.ndarray:
        return np.asarray(array)

    def fetch(self, value: Any) -> np.ndarray:
        return np.asarray(value)

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        return np.zeros(shape, NUMPY[dtype])

    def cast(self, value: np.ndarray, dtype: DType) -> np.ndarray:
        return np.asarray(value).astype(NUMPY[dtype], copy=False)

    def piece(
        self, value: np.ndarray, where: Sequence[tuple[int, int]], sizes: Sequence[int]
    ) -> np.ndarray:
        # A view where the piece lies in one run of memory, else a copy: devices want it in order.
        return np.ascontiguousarray(value[_index(value, where, sizes)])

    def place(
        self,
        value: np.ndarray,
        where: Sequence[tuple[int, int]],
        piece: np.ndarray,
        *,
        add: bool = False,
    ) -> None:
        piece = np.asarray(piece)
        at = _index(value, where, [piece.shape[axis] for axis, _ in where])
        if add:
            value[at] += piece
        else:
            value[at] = piece


def _index(
    value: np.ndarray, where: Sequence[tuple[int, int]], sizes: Sequence[int]
) -> tuple[slice, ...]:
    index = [slice(None)] * value.ndim
    for (axis, start), size in zip(where, sizes, strict=True):
        index[axis] = slice(start, start + size)
    return tuple(index)
