"""Normalisations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional

from entracte.reference.bind import Bind
from entracte.reference.blocks import in_rows
from entracte.reference.registry import Compute, Kind, op

Maybe = torch.Tensor | None


@op("batch_norm", "x mean variance gamma? beta?")
def batch_norm(bind: Bind) -> Compute:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta: x [n, c, ...], the others [c]."""
    epsilon = bind.const("epsilon", 1e-5)

    def run(
        x: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, gamma: Maybe, beta: Maybe
    ) -> torch.Tensor:
        return functional.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon)

    return run


@op("layer_norm", "x gamma? beta?")
def layer_norm(bind: Bind) -> Compute:
    """Normalise x over `axes` (any axes; all when none are given); gamma and beta as those axes."""
    rank = bind.rank()
    epsilon = bind.const("epsilon", 1e-5)
    axes = bind.const("axes")
    axes = list(range(rank)) if axes is None else sorted(a % rank for a in axes)
    if axes == list(range(rank - len(axes), rank)):
        first = rank - len(axes)
        if bind.rounds("x", "gamma", "beta"):
            bind.kind = Kind.RAW
            return lambda x, gamma, beta: in_rows(
                partial(_layer_norm, gamma=_wide(gamma), beta=_wide(beta), epsilon=epsilon),
                x, len(axes),
            )  # fmt: skip
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


def _wide(value: Maybe) -> Maybe:
    return None if value is None else value.float()


def _layer_norm(x: torch.Tensor, gamma: Maybe, beta: Maybe, epsilon: float) -> torch.Tensor:
    """Over all axes but the first."""
    return functional.layer_norm(x, x.shape[1:], gamma, beta, epsilon)


@op("instance_norm", "x gamma? beta?")
def instance_norm(bind: Bind) -> Compute:
    """Normalise x [n, c, *space] over space; gamma and beta [c]."""
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


@dataclass(frozen=True, slots=True)
class Affine:
    """What follows a group norm: which of its tensors are given, and the epsilon beside variance.

    A `batch_norm` of mean 0 scales by gamma / sqrt(variance + epsilon); a `mul` by gamma alone.
    """

    scale: bool
    shift: bool
    variance: bool
    epsilon: float


_SUMMED = 4096
"""Elements summed in one row of a product; longer rows lose digits to fp32's running sum."""


def group_norm(
    shape: Sequence[int], axes: tuple[int, ...], out_shape: Sequence[int], affine: Affine
) -> Compute:
    """x reshaped to `shape` [batch, groups, ...], normalised over `axes`, as `out_shape`.

    The mean is taken and subtracted as the separate operations do it, so that a mean much larger
    than the deviation costs no digit more; only the squares are not stored, and scale and shift
    are applied in place. Arguments of the result: x, epsilon, then scale, shift and variance as
    far as `affine` has them; one element per channel (axis 1 of `out_shape`).
    """
    batch, groups = shape[:2]
    inner = (1, groups, out_shape[1] // groups, 1)

    def run(x: torch.Tensor, epsilon: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        rest = list(given)
        scale = rest.pop(0) if affine.scale else None
        shift = rest.pop(0) if affine.shift else None
        grouped = x.reshape(shape).float()
        centred = grouped - grouped.mean(axes, keepdim=True)
        factor = 1 / torch.sqrt(_mean_square(centred, batch, groups) + epsilon)
        if affine.variance:
            deviation = torch.sqrt(rest[0].float() + affine.epsilon).reshape(inner)
            factor = factor / deviation
        if scale is not None:
            factor = factor * scale.reshape(inner)
        spread = centred.reshape(batch, groups, inner[2], -1).mul_(factor)
        if shift is not None:
            spread.add_(shift.reshape(inner))
        return centred.reshape(out_shape)

    return run


def _mean_square(x: torch.Tensor, batch: int, groups: int) -> torch.Tensor:
    """Mean of x squared over all but the first two axes, [batch, groups, 1, 1]."""
    count = x.numel() // max(batch * groups, 1)
    parts = math.gcd(count, 1 << max(count // _SUMMED, 1).bit_length() - 1)
    rows = x.reshape(batch * groups * parts, 1, -1)
    return (rows @ rows.mT).reshape(batch, groups, parts, 1).mean(2, keepdim=True) * (
        parts / max(count, 1)
    )


@op("l2_norm", "x")
def l2_norm(bind: Bind) -> Compute:
    """x [*, c, h, w] / sqrt(sum of squares over its last three axes + epsilon)."""
    epsilon = bind.const("epsilon", 1e-6)
    return lambda x: x * torch.rsqrt(x.square().sum((-3, -2, -1), keepdim=True) + epsilon)


@op("local_response_norm", "x")
def local_response_norm(bind: Bind) -> Compute:
    """x / (k + alpha / size * sum of squares of `size` neighbouring channels) ** beta.

    x [n, c, ...], but [c, h, w] where its rank is 3: Apple's expected values take that for one
    image, against the operation's own documentation.
    """
    size = bind.const("size")
    alpha, beta = bind.const("alpha", 1e-4), bind.const("beta", 0.75)
    offset = bind.const("k", 1.0)
    if bind.rank() != 3:
        return lambda x: functional.local_response_norm(x, size, alpha, beta, offset)
    return lambda x: functional.local_response_norm(x[None], size, alpha, beta, offset)[0]
