"""A row becomes a module of its library, called by position."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tools.foreign.rows import TINY, class_of
from tools.foreign.tiny import Draw, Tiny

__all__ = ["Whole", "made"]

_MOST_DIMENSIONS = 5


class Whole(nn.Module):
    """The model called by position; the first tensors of what it returns, in a tuple."""

    def __init__(self, model: nn.Module, tiny: Tiny) -> None:
        super().__init__()
        self.model, self.tiny = model, tiny

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        leaves, structure = pytree.tree_flatten(dict(self.tiny.arguments))
        tensors = iter(inputs)
        named = [_given(leaf, tensors) for leaf in leaves]
        arguments = pytree.tree_unflatten(named, structure)
        call = getattr(self.model, self.tiny.method)
        result = call(**arguments, **_plain(call))
        return tuple(_folded(tensor) for tensor in _tensors(result)[: self.tiny.outputs])


def _given(leaf: Any, tensors: Iterator[Tensor]) -> Any:
    if not isinstance(leaf, Draw):
        return leaf
    tensor = next(tensors)
    if leaf.type.startswith("complex"):
        return torch.view_as_complex(tensor)
    return tensor.reshape(leaf.shape) if len(leaf.shape) > _MOST_DIMENSIONS else tensor


def _folded(tensor: Tensor) -> Tensor:
    """With as many dimensions as packages take, the first ones in one."""
    more = tensor.dim() - _MOST_DIMENSIONS
    return tensor.flatten(0, more) if more > 0 else tensor


def _plain(call: Callable[..., Any]) -> dict[str, bool]:
    called = call.forward if isinstance(call, nn.Module) else call
    return {"return_dict": False} if "return_dict" in inspect.signature(called).parameters else {}


def _tensors(result: Any) -> list[Tensor]:
    """In order; a distribution is its parameters."""
    if isinstance(result, Tensor):
        return [result]
    if hasattr(result, "parameters") and isinstance(result.parameters, Tensor):
        return [result.parameters]
    values = result.values() if hasattr(result, "values") else result
    if not isinstance(values, list | tuple) and not hasattr(result, "values"):
        return [value for value in vars(result).values() if isinstance(value, Tensor)]
    return [tensor for value in values for tensor in _tensors(value)]


def made(row: str) -> tuple[Whole, tuple[Tensor, ...]]:
    """The tiny model of that row and its inputs, the same at every call."""
    torch.manual_seed(0)
    tiny = TINY[row]
    model = _built(class_of(row), tiny).eval().requires_grad_(False)
    for tensor in (*model.parameters(), *model.buffers()):
        _settle(tensor)
    draws = [leaf for leaf in pytree.tree_leaves(dict(tiny.arguments)) if isinstance(leaf, Draw)]
    return Whole(model, tiny).eval(), tuple(_folded(_drawn(draw)) for draw in draws)


def _built(name: str, tiny: Tiny) -> nn.Module:
    library = importlib.import_module(tiny.library)
    kind: Any = getattr(library, name)
    is_plain = tiny.library == "diffusers"
    model: nn.Module = (
        kind(**tiny.settings) if is_plain else kind(kind.config_class(**tiny.settings))
    )
    return model


def _settle(tensor: Tensor) -> None:
    """Weights that the library begins with zeros, so that what they scale counts too."""
    if tensor.is_floating_point() and tensor.numel() > 1 and not tensor.any():
        tensor.normal_(std=0.05)


def _drawn(draw: Draw) -> Tensor:
    made: Callable[[], Tensor] = {
        "normal": lambda: torch.randn(draw.shape).half().float(),
        "zeros": lambda: torch.zeros(draw.shape),
        "among": lambda: torch.randint(draw.values[0], draw.shape),
        "given": lambda: torch.tensor(draw.values),
        "kept": lambda: (torch.arange(draw.shape[-1]) < draw.values[0]).long()[None],
    }[draw.kind]
    tensor = made()
    is_named = draw.type and not draw.type.startswith("complex")
    return tensor.to(getattr(torch, draw.type)) if is_named else tensor
