"""A module without its numbers, and with its tables: as a graph of a large checkpoint wants it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

_Module = TypeVar("_Module", bound="nn.Module")


def on_meta(make: Callable[[], _Module]) -> _Module:
    """The module that `make` builds, its parameters on the meta device, its buffers real.

    Parameters take no memory that stays: a checkpoint gives their values. Buffers are what the
    constructor computes (position tables, rotary frequencies), and so are plain tensors that it
    keeps; no checkpoint has most of them. Under `torch.device("meta")` they would be lost.
    Parameters that are tied stay tied.

        module = on_meta(lambda: CLIPTextModel(CLIPTextConfig()))

    Args:
        make: calls the constructor. It must build a new module: what it returns is changed.

    Returns:
        The module in eval mode, without gradients.
    """
    with _registering_on_meta() as moved:
        module = make()
    for child in module.modules():
        for name, parameter in child._parameters.items():
            if parameter is not None:  # those that were put there past `register_parameter`
                child._parameters[name] = moved(parameter)
    return module.requires_grad_(False).eval()


@contextlib.contextmanager
def _registering_on_meta() -> Iterator[Callable[[nn.Parameter], nn.Parameter]]:
    """Inside, whatever becomes a parameter of a module in this thread moves to the meta device.

    Gives the function that moves one: the same stand-in for the same parameter, for ties.
    """
    import threading

    import torch
    from torch import nn
    from torch.utils.weak import WeakTensorKeyDictionary

    register, here = nn.Module.register_parameter, threading.get_ident()
    stand_ins = WeakTensorKeyDictionary()

    def moved(parameter: nn.Parameter) -> nn.Parameter:
        if parameter.device.type == "meta" or torch.nn.parameter.is_lazy(parameter):
            return parameter
        if parameter not in stand_ins:
            stand_ins[parameter] = _stand_in(parameter)
        found: nn.Parameter = stand_ins[parameter]
        return found

    def register_on_meta(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        is_ours = isinstance(param, nn.Parameter) and threading.get_ident() == here
        register(self, name, moved(param) if is_ours and param is not None else param)

    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign]
    try:
        yield moved
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _stand_in(parameter: Tensor) -> nn.Parameter:
    """On the meta device, of the same kind, with whatever libraries noted on it."""
    from torch import nn

    made = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
    made.__dict__.update(parameter.__dict__)
    return made
