"""fp16 tensors computed in fp32 a block at a time.

The fp32 copies then fit the cache and are taken from memory that is warm. A whole copy is fresh
memory whenever the C library has given the last one back, and the system clears that page by page:
for the copies of a large weight this took as long as the convolution that used it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

ACTIVATION_ELEMENTS = 1 << 17
"""Of an activation widened at once: 512 KiB of fp32, half of a core's second-level cache."""
WEIGHT_ELEMENTS = 3 << 20
"""Of a convolution's weight widened at once: 12 MiB of fp32. Each block reads the input again."""


def in_rows(
    run: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, kept: int
) -> torch.Tensor:
    """`run(x.float()).half()` for a function that treats all leading axes as a batch.

    Args:
        run: takes fp32 [count, *the last `kept` axes of x], returns [count, ...].
        x: half.
        kept: trailing axes that a row consists of; 0 for elementwise functions.
    """
    leading, row = x.shape[: x.dim() - kept], x.shape[x.dim() - kept :]
    if x.numel() <= ACTIVATION_ELEMENTS:
        found = run(x.float().reshape((leading.numel(), *row))).half()
        return found.reshape((*leading, *found.shape[1:]))
    rows = x.reshape((-1, *row))
    step = max(ACTIVATION_ELEMENTS // row.numel(), 1)
    result = None
    for start in range(0, len(rows), step):
        part = run(rows[start : start + step].float())
        if result is None:
            result = x.new_empty((len(rows), *part.shape[1:]))
        result[start : start + step] = part
    assert result is not None, "more elements than a block holds"
    return result.reshape((*leading, *result.shape[1:]))


def weight_rows(weight: torch.Tensor) -> Iterator[slice]:
    """Even parts of a weight's first axis, each of `WEIGHT_ELEMENTS` or little more."""
    rows = weight.shape[0]
    count = max(-(-weight.numel() // WEIGHT_ELEMENTS), 1)
    # Kernels work on 16 channels and multiples of it at a time.
    step = max(-(-rows // (count * 64)) * 64, 1)
    for start in range(0, max(rows, 1), step):
        yield slice(start, start + step)
