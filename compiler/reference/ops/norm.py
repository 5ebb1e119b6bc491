"""Normalisations."""

from __future__ import annotations

import torch
from torch.nn import functional

from compiler.reference.bind import Bind
from compiler.reference.registry import Run, op

Maybe = torch.Tensor | None


@op("batch_norm", "x mean variance gamma? beta?")
def batch_norm(bind: Bind) -> Run:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta; channels are axis 1."""
    epsilon = bind.const("epsilon", 1e-5)

    def run(
        x: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, gamma: Maybe, beta: Maybe
    ) -> torch.Tensor:
        return functional.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon)

    return run


@op("layer_norm", "x gamma? beta?")
def layer_norm(bind: Bind) -> Run:
    """Normalise over `axes` (any axes; all when none are given)."""
    rank = bind.rank()
    epsilon = bind.const("epsilon", 1e-5)
    axes = bind.const("axes")
    axes = list(range(rank)) if axes is None else sorted(a % rank for a in axes)
    if axes == list(range(rank - len(axes), rank)):
        first = rank - len(axes)
        return lambda x, gamma, beta: functional.layer_norm(
            x, x.shape[first:], gamma, beta, epsilon
        )

    def run(x: torch.Tensor, gamma: Maybe, beta: Maybe) -> torch.Tensor:
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        result = (x - mean) * torch.rsqrt(variance + epsilon)
        shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
        if gamma is not None:
            result = result * gamma.reshape(shape)
        return result if beta is None else result + beta.reshape(shape)

    return run


@op("instance_norm", "x gamma? beta?")
def instance_norm(bind: Bind) -> Run:
    """Normalise each channel (axis 1) of each batch over its spatial axes."""
    epsilon = bind.const("epsilon", 1e-5)
    axes = list(range(2, bind.rank()))
    shape = (1, -1) + (1,) * len(axes)

    def run(x: torch.Tensor, gamma: Maybe, beta: Maybe) -> torch.Tensor:
        # torch's own refuses a single spatial element, whose result here is simply beta.
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        result = (x - mean) * torch.rsqrt(variance + epsilon)
        if gamma is not None:
            result = result * gamma.reshape(shape)
        return result if beta is None else result + beta.reshape(shape)

    return run


@op("l2_norm", "x")
def l2_norm(bind: Bind) -> Run:
    """x / sqrt(sum of squares over the last three axes + epsilon)."""
    epsilon = bind.const("epsilon", 1e-6)
    return lambda x: x * torch.rsqrt(x.square().sum((-3, -2, -1), keepdim=True) + epsilon)


@op("local_response_norm", "x")
def local_response_norm(bind: Bind) -> Run:
    """x / (k + alpha / size * sum of squares of `size` neighbouring channels) ** beta.

    Channels are axis 1, but axis 0 of a rank-3 input: Apple's expected values take that for one
    image [channels, height, width], against the operation's own documentation.
    """
    size = bind.const("size")
    alpha, beta = bind.const("alpha", 1e-4), bind.const("beta", 0.75)
    offset = bind.const("k", 1.0)
    if bind.rank() != 3:
        return lambda x: functional.local_response_norm(x, size, alpha, beta, offset)
    return lambda x: functional.local_response_norm(x[None], size, alpha, beta, offset)[0]
