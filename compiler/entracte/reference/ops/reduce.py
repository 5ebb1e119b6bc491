"""Reductions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from entracte.reference.bind import Bind
from entracte.reference.blocks import in_rows
from entracte.reference.registry import Compute, Kind, op

Reduction = Callable[[torch.Tensor, list[int], bool], torch.Tensor]


def _prod(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


_REDUCTIONS: dict[str, Reduction] = {
    "reduce_sum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "reduce_mean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "reduce_prod": _prod,
    "reduce_l1_norm": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "reduce_l2_norm": lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt(),
    "reduce_sum_square": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
    "reduce_log_sum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "reduce_log_sum_exp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
    "reduce_max": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "reduce_min": lambda x, axes, keep: x.amin(axes, keepdim=keep),
}


def _trailing(axes: list[int], rank: int) -> int:
    """How many axes there are if they are the last ones and not all, else 0."""
    places = sorted(a % rank for a in axes)
    first = rank - len(places)
    return len(places) if first > 0 and places == list(range(first, rank)) else 0


def _by_rows(reduction: Reduction, trailing: int, keep: bool) -> Compute:
    inner = list(range(1, trailing + 1))

    def run(x: torch.Tensor) -> torch.Tensor:
        result = in_rows(lambda rows: reduction(rows, inner, False), x, trailing)
        return result.reshape((*result.shape, *(1,) * trailing)) if keep else result

    return run


def _build(bind: Bind, reduction: Reduction) -> Compute:
    """A reduction of x over `axes` (all when none are given), kept with size 1 or dropped."""
    axes = bind.const("axes")
    keep = bind.const("keep_dims", False)
    axes = [axes] if isinstance(axes, int) else axes
    if bind.rank() == 0:
        # torch refuses axis 0 of a scalar where MIL does not; one element is its own dimension.
        return lambda x: reduction(x.reshape(1), [0], False).to(x.dtype)
    if axes is None:
        axes = list(range(bind.rank()))
    if bind.rounds("x") and bind.operation.type in ("reduce_mean", "reduce_sum"):
        trailing = _trailing(axes, bind.rank())
        if trailing:
            bind.kind = Kind.RAW
            return _by_rows(reduction, trailing, bool(keep))
    if bind.is_float():
        return lambda x: reduction(x, axes, keep)
    dtype = bind.out_dtype()
    # torch has no integer mean, norm or logarithm; results are truncated to the declared type.
    exact = bind.operation.type in ("reduce_max", "reduce_min", "reduce_sum", "reduce_prod")
    if exact:
        return lambda x: reduction(x, axes, keep).to(dtype)
    return lambda x: reduction(x.double(), axes, keep).to(dtype)


for _name, _reduction in _REDUCTIONS.items():
    _kind = Kind.EXACT if _name in ("reduce_max", "reduce_min") else Kind.WIDE
    op(_name, "x", _kind)(partial(_build, reduction=_reduction))


@op("reduce_argmax reduce_argmin", "x", Kind.MOVE)
def reduce_arg(bind: Bind) -> Compute:
    """Index of the first extreme element along `axis`, which is kept with size 1 or dropped."""
    axis = bind.const("axis", -1)
    keep = bind.const("keep_dims", False)
    dtype = bind.out_dtype()
    pick = torch.argmax if bind.operation.type == "reduce_argmax" else torch.argmin
    return lambda x: pick(x, axis, keepdim=keep).to(dtype)
