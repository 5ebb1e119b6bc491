"""Numeric policies: where fp16 is widened and where it is rounded.

`hybrid` stores fp16, computes sums and products in fp32 and rounds each operation's result once;
`round` does that for every arithmetic operation; `fp32` never rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from entracte.reference import mil
from entracte.reference.registry import Arg, Compute, Kind

POLICIES = ("hybrid", "round", "fp32")


def _keep(value: Any) -> Any:
    return value


def _widen(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.dtype is torch.float16 else value


def _widen_all(values: list[torch.Tensor]) -> list[torch.Tensor]:
    return [_widen(v) for v in values]


def wrap(
    run: Compute, kind: Kind, policy: str, args: tuple[Arg, ...], types: list[mil.Type | None],
    operation: mil.Operation,
) -> Compute:  # fmt: skip
    """`run` with its fp16 inputs widened and its fp16 outputs rounded as the policy says."""
    halves = [isinstance(t, mil.TensorType) and t.dtype == "fp16" for t in types]
    rounded = [isinstance(n.type, mil.TensorType) and n.type.dtype == "fp16"
               for n in operation.outputs]  # fmt: skip
    if kind is Kind.RAW or not (any(halves) or any(rounded)):
        return run
    if policy == "fp32":
        return _fp32(run, kind, args, halves)
    if kind is Kind.MOVE or (policy == "hybrid" and kind is Kind.EXACT):
        return run
    return _call(run, _converters(args, halves), _rounding(rounded))


def _converters(args: tuple[Arg, ...], halves: list[bool]) -> list[Callable[[Any], Any]]:
    return [
        _keep if not half or arg.plain else _widen_all if arg.many else _widen
        for arg, half in zip(args, halves, strict=True)
    ]


def _fp32(run: Compute, kind: Kind, args: tuple[Arg, ...], halves: list[bool]) -> Compute:
    if kind is Kind.MOVE and sum(halves) == 1 and not any(a.many for a in args):
        # Move first, widen after: a gather from a large fp16 table touches few of its rows.
        return _call(run, [_keep] * len(args), _widen_result)
    return _call(run, _converters(args, halves), _keep)


def _widen_result(result: Any) -> Any:
    return _widen(result) if isinstance(result, torch.Tensor) else type(result)(map(_widen, result))


def _round_one(value: torch.Tensor) -> torch.Tensor:
    return value.half() if value.dtype is torch.float32 else value


def _rounding(rounded: list[bool]) -> Callable[[Any], Any]:
    if not any(rounded):
        return _keep
    if len(rounded) == 1:
        return _round_one
    return lambda results: [
        _round_one(r) if half else r for r, half in zip(results, rounded, strict=True)
    ]


def _call(run: Compute, into: list[Callable[[Any], Any]], out: Callable[[Any], Any]) -> Compute:
    """`out(run(into...))`, with the common arities spelled out because they are the run loop."""
    if len(into) == 1:
        first = into[0]
        return lambda a: out(run(first(a)))
    if len(into) == 2:
        first, second = into
        return lambda a, b: out(run(first(a), second(b)))
    return lambda *values: out(run(*[f(v) for f, v in zip(into, values, strict=True)]))
