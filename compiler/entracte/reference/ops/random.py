"""Random numbers: equal to Core ML's in distribution, not in value.

A seed other than -1 gives the same numbers at every call, by torch's generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from entracte.reference.allowance import check_elements
from entracte.reference.bind import Bind
from entracte.reference.registry import Compute, Kind, op

Draw = Callable[[list[int], torch.Generator], torch.Tensor]


def _generator(seed: int) -> torch.Generator:
    generator = torch.Generator()
    if seed == -1:
        generator.seed()
    else:
        generator.manual_seed(seed & 0xFFFFFFFF)
    return generator


def _shaped(bind: Bind, draw: Draw) -> Compute:
    seed, dtype = bind.const("seed", -1), bind.out_dtype()

    def run(shape: list[int]) -> torch.Tensor:
        check_elements(math.prod(shape), "the result")
        return draw(shape, _generator(seed)).to(dtype)

    return run


@op("random_normal", "#shape", Kind.RAW)
def random_normal(bind: Bind) -> Compute:
    """Normal with `mean` and `stddev`, in `shape`."""
    mean, deviation = bind.const("mean", 0.0), bind.const("stddev", 1.0)
    return _shaped(bind, lambda shape, g: torch.randn(shape, generator=g) * deviation + mean)


@op("random_uniform", "#shape", Kind.RAW)
def random_uniform(bind: Bind) -> Compute:
    """Uniform between `low` and `high`, in `shape`."""
    low, high = bind.const("low", 0.0), bind.const("high", 1.0)
    return _shaped(bind, lambda shape, g: torch.rand(shape, generator=g) * (high - low) + low)


@op("random_bernoulli", "#shape", Kind.RAW)
def random_bernoulli(bind: Bind) -> Compute:
    """1 with probability `prob`, else 0, in `shape`."""
    chance = bind.const("prob", 0.5)
    return _shaped(bind, lambda shape, g: torch.rand(shape, generator=g) < chance)


@op("random_categorical", "x", Kind.RAW)
def random_categorical(bind: Bind) -> Compute:
    """`size` class numbers for each row of logits or probabilities: x [*, classes] to [*, size]."""
    mode, size, seed = bind.const("mode", "logits"), bind.const("size", 1), bind.const("seed", -1)
    dtype = bind.out_dtype()

    def run(x: torch.Tensor) -> torch.Tensor:
        chances = torch.softmax(x.float(), -1) if mode == "logits" else x.float()
        rows = chances.reshape(-1, chances.shape[-1])
        check_elements(rows.shape[0] * size, "the result")
        drawn = torch.multinomial(rows, size, replacement=True, generator=_generator(seed))
        return drawn.reshape(*x.shape[:-1], size).to(dtype)

    return run
