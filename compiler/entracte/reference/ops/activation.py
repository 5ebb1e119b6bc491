"""Activations and softmax."""

from __future__ import annotations

from functools import partial

import torch
from torch.nn import functional

from entracte.reference.bind import Bind
from entracte.reference.blocks import in_rows
from entracte.reference.registry import Compute, Kind, op, plain

plain("relu", "x", torch.relu)
plain("relu6", "x", functional.relu6)
plain("sigmoid", "x", torch.sigmoid)
plain("silu", "x", functional.silu)
plain("softsign", "x", functional.softsign, Kind.WIDE)
plain("softplus", "x", lambda x: torch.logaddexp(x, torch.zeros_like(x)), Kind.WIDE)


@op("leaky_relu", "x", Kind.EXACT)
def leaky_relu(bind: Bind) -> Compute:
    """x where positive, else alpha * x; elementwise on any shape."""
    alpha = bind.const("alpha")
    return lambda x: functional.leaky_relu(x, alpha)


@op("elu", "x")
def elu(bind: Bind) -> Compute:
    """x where positive, else alpha * (exp(x) - 1); elementwise on any shape."""
    alpha = bind.const("alpha")
    return lambda x: functional.elu(x, alpha)


@op("clamped_relu", "x")
def clamped_relu(bind: Bind) -> Compute:
    """min(beta, x) where x >= 0, else min(beta, alpha * x); elementwise on any shape."""
    alpha, beta = bind.const("alpha"), bind.const("beta")
    return lambda x: torch.clamp(torch.where(x >= 0, x, alpha * x), max=beta)


@op("linear_activation", "x")
def linear_activation(bind: Bind) -> Compute:
    """alpha * x + beta; elementwise on any shape."""
    alpha, beta = bind.const("alpha"), bind.const("beta")
    return lambda x: x * alpha + beta


@op("scaled_tanh", "x")
def scaled_tanh(bind: Bind) -> Compute:
    """alpha * tanh(beta * x); elementwise on any shape."""
    alpha, beta = bind.const("alpha"), bind.const("beta")
    return lambda x: torch.tanh(x * beta) * alpha


@op("sigmoid_hard", "x")
def sigmoid_hard(bind: Bind) -> Compute:
    """min(max(alpha * x + beta, 0), 1); elementwise on any shape."""
    alpha, beta = bind.const("alpha"), bind.const("beta")
    return lambda x: torch.clamp(x * alpha + beta, 0, 1)


@op("thresholded_relu", "x", Kind.EXACT)
def thresholded_relu(bind: Bind) -> Compute:
    """x where x >= alpha, else 0; elementwise on any shape."""
    alpha = bind.const("alpha")
    return lambda x: torch.where(x >= alpha, x, torch.zeros_like(x))


def _per_channel(values: torch.Tensor, rank: int) -> torch.Tensor:
    """[c] as [1, c, 1, ...] of the given rank."""
    return values.reshape((1, -1) + (1,) * (rank - 2))


@op("prelu", "x alpha")
def prelu(bind: Bind) -> Compute:
    """x where positive, else alpha[channel] * x: x and result [n, c, ...], alpha [c]."""
    return lambda x, alpha: torch.where(x > 0, x, x * _per_channel(alpha, x.dim()))


@op("softplus_parametric", "x alpha beta")
def softplus_parametric(bind: Bind) -> Compute:
    """alpha[channel] * log(1 + exp(beta[channel] * x)): x [n, c, ...], alpha and beta [c]."""

    def run(x: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        scaled = x * _per_channel(beta, x.dim())
        return _per_channel(alpha, x.dim()) * torch.logaddexp(scaled, torch.zeros_like(scaled))

    return run


@op("gelu", "x")
def gelu(bind: Bind) -> Compute:
    """Gaussian error unit: exact, tanh or sigmoid form; elementwise on any shape."""
    mode = bind.const("mode", "EXACT")
    if mode not in _GELUS:
        raise bind.fail(f"unknown mode {mode!r}")
    run = _GELUS[mode]
    if bind.rounds("x"):
        bind.kind = Kind.RAW
        return lambda x: in_rows(run, x, 0)
    return run


_GELUS: dict[str, Compute] = {
    "EXACT": functional.gelu,
    "TANH_APPROXIMATION": partial(functional.gelu, approximate="tanh"),
    "SIGMOID_APPROXIMATION": lambda x: x * torch.sigmoid(1.702 * x),
}


@op("softmax", "x")
def softmax(bind: Bind) -> Compute:
    """exp(x) / sum(exp(x)) along `axis`, in the shape of x."""
    axis = bind.const("axis", -1)
    if bind.rounds("x") and axis in (-1, bind.rank() - 1) and bind.rank() > 0:
        bind.kind = Kind.RAW
        return lambda x: in_rows(_softmax_last, x, 1)
    return lambda x: torch.softmax(x, axis)


def _softmax_last(x: torch.Tensor) -> torch.Tensor:
    """Over the last axis of [rows, n]."""
    return torch.softmax(x, -1)
