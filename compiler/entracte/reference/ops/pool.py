"""Pooling in one to three dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from entracte.reference.bind import Bind
from entracte.reference.ops.conv import Pads, explicit_pads, same_pads, torch_pad
from entracte.reference.registry import Compute, Kind, op

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEAN = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


class _Pooling:
    """Kernel, strides and pads of one pooling operation."""

    def __init__(self, bind: Bind) -> None:
        self.spatial = bind.rank() - 2
        if self.spatial not in _MAX:
            raise bind.fail(f"{self.spatial} spatial dimensions; 1 to 3 are possible")
        self.kernel = bind.ints("kernel_sizes")
        self.strides = bind.ints("strides", [1] * self.spatial)
        self._pads = explicit_pads(bind, self.spatial)
        self._lower = bind.const("pad_type") == "same_lower"
        self._ceil = bind.const("ceil_mode", False)

    def pads(self, x: torch.Tensor) -> tuple[Pads, list[int]]:
        """Declared pads, and what rounding the output size up needs beyond them."""
        sizes = list(x.shape[2:])
        if self._pads is None:
            return same_pads(sizes, self.kernel, self.strides, self._lower), [0] * self.spatial
        extra = []
        for i, size in enumerate(sizes):
            before, after = self._pads[i]
            room = size + before + after - self.kernel[i]
            count = -(-room // self.strides[i]) if self._ceil else room // self.strides[i]
            # A window that would start in the padding behind the input is dropped.
            if self._ceil and count * self.strides[i] >= size + before:
                count -= 1
            extra.append(max(count * self.strides[i] - room, 0))
        return self._pads, extra


def _widen(pads: Pads, extra: list[int]) -> list[int]:
    return torch_pad([(b, a + e) for (b, a), e in zip(pads, extra, strict=True)])


@op("max_pool", "x", Kind.EXACT)
def max_pool(bind: Bind) -> Compute:
    """Largest element of each window of x [n, c, *space]: [n, c, *space']; padding never wins."""
    pooling = _Pooling(bind)
    pool = _MAX[pooling.spatial]

    def run(x: torch.Tensor) -> torch.Tensor:
        amounts = _widen(*pooling.pads(x))
        if any(amounts):
            x = functional.pad(x, amounts, value=-math.inf)
        return pool(x, pooling.kernel, pooling.strides)

    return run


def _mean(bind: Bind, exclude: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    pooling = _Pooling(bind)
    pool = _MEAN[pooling.spatial]

    def run(x: torch.Tensor) -> torch.Tensor:
        pads, extra = pooling.pads(x)
        amounts = _widen(pads, extra)
        if not any(amounts):
            return pool(x, pooling.kernel, pooling.strides)
        result = pool(functional.pad(x, amounts), pooling.kernel, pooling.strides)
        # Share of each window that counts: the input, and declared padding unless excluded.
        counted = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
        if not exclude:
            counted = functional.pad(counted, torch_pad(pads), value=1.0)
            amounts = torch_pad([(0, e) for e in extra])
        share = pool(functional.pad(counted, amounts), pooling.kernel, pooling.strides)
        return result / share

    return run


@op("avg_pool", "x")
def avg_pool(bind: Bind) -> Compute:
    """Mean of each window of x [n, c, *space]: [n, c, *space'], with or without its padding."""
    return _mean(bind, bind.const("exclude_padding_from_average", False))


@op("l2_pool", "x")
def l2_pool(bind: Bind) -> Compute:
    """Square root of each window's sum of squares: x [n, c, *space] to [n, c, *space']."""
    pooling = _Pooling(bind)
    pool = _MEAN[pooling.spatial]
    volume = math.prod(pooling.kernel)

    def run(x: torch.Tensor) -> torch.Tensor:
        amounts = _widen(*pooling.pads(x))
        squares = functional.pad(x.square(), amounts)
        return (pool(squares, pooling.kernel, pooling.strides) * volume).sqrt()

    return run
