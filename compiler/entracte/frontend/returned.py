"""What a module's `forward` returns, as the tensors that its graph names."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from entracte.frontend.errors import GraphError

__all__ = ["returning"]

_TYPES = {
    torch.bool: "give truth values as numbers: `.to(torch.float32)`",
    torch.complex64: "give real and imaginary parts: `torch.view_as_real(y)`",
    torch.complex128: "give real and imaginary parts: `torch.view_as_real(y)`",
}
"""What no port can be, and what to do instead."""


@contextlib.contextmanager
def returning(module: nn.Module, names: Sequence[str]) -> Iterator[list[GraphError]]:
    """Inside, `forward` gives a tuple of the tensors that `names` names.

    A mapping gives those that are named, by its keys; a tuple or a tensor must be all of them.
    The list that is handed out holds the fault, where what it returns is something else: exporters
    wrap what a module raises. Without names nothing is changed.
    """
    faults: list[GraphError] = []
    if not names:
        yield faults
        return
    own = module.forward

    @functools.wraps(own)
    def forward(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        try:
            return _tensors(own(*args, **kwargs), names)
        except GraphError as error:
            faults.append(error)
            raise

    before = module.__dict__.get("forward")
    module.forward = forward  # type: ignore[method-assign]
    try:
        yield faults
    finally:
        del module.forward
        if before is not None:
            module.forward = before  # type: ignore[method-assign]


def _tensors(value: Any, names: Sequence[str]) -> tuple[Tensor, ...]:
    if isinstance(value, Mapping):
        missing = [n for n in names if n not in value]
        if missing:
            raise GraphError(
                f"`forward` returns a {type(value).__name__} of {', '.join(map(str, value))}, and "
                f"the graph's outputs name {', '.join(missing)}; name those keys that you want"
            )
        values = tuple(value[n] for n in names)
    else:
        values = tuple(value) if isinstance(value, tuple | list) else (value,)
    if len(values) != len(names):
        raise GraphError(
            f"`forward` returns {len(values)} value{'s'[: len(values) != 1]}, the graph's outputs "
            f"name {len(names)}: {', '.join(names)}; name every one, in order"
        )
    for name, one in zip(names, values, strict=True):
        _check(name, one)
    return values


def _check(name: str, value: Any) -> None:
    if not isinstance(value, Tensor):
        what = "None" if value is None else f"a {type(value).__name__}"
        raise GraphError(
            f"output {name!r} is {what}, no tensor; return tensors: one, a flat tuple of them, or "
            "a dict of them by name"
        )
    if value.dim() == 0:
        raise GraphError(
            f"output {name!r} is a number of rank 0; packages give tensors of rank 1 and more: "
            "`.reshape(1)`"
        )
    if value.numel() == 0:
        raise GraphError(
            f"output {name!r} of shape {tuple(value.shape)} holds nothing; leave it out"
        )
    if value.dtype in _TYPES:
        raise GraphError(
            f"output {name!r} is {str(value.dtype).removeprefix('torch.')}, which no package "
            f"gives; {_TYPES[value.dtype]}"
        )
