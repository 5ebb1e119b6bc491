"""Tensors that a module holds: by name, by digest, by what they are tied to."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

from entracte.errors import ConfigError
from entracte.frontend.extract import has_data
from entracte.trace.attributes import attributes_digest, spell

if TYPE_CHECKING:
    from torch import Tensor, nn

    from entracte.graphs.spec import Graph

__all__ = [
    "check_finite",
    "digest_of_graph",
    "has_nan",
    "module_state",
    "saved_names",
    "tensor_digest",
    "ties",
]


def module_state(module: nn.Module) -> dict[str, Tensor]:
    """Name -> tensor of all parameters and buffers, tied ones under each of their names."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    return {**parameters, **dict(module.named_buffers(remove_duplicate=False))}


def saved_names(module: nn.Module) -> frozenset[str]:
    """Names of what a checkpoint of the module holds."""
    parameters = (name for name, _ in module.named_parameters(remove_duplicate=False))
    return frozenset(module.state_dict()) | frozenset(parameters)


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 of a tensor's type, shape and values, wherever and however they lie."""
    found = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    # A clone's strides are plain; `contiguous` lets those of a single number be 0.
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    plain = plain.clone(memory_format=torch.contiguous_format)
    found.update(plain.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def check_finite(place: str, name: str, tensor: Tensor, *, endless: bool = True) -> None:
    """Raises `ConfigError` for NaN, and for infinity unless that is allowed (in masks)."""
    if has_nan(tensor):
        raise ConfigError(
            f"{place}: {name!r} holds NaN, a number that is none; the file is damaged, or its "
            "training failed: give other weights"
        )
    if not endless and bool(torch.isinf(_wide(tensor)).any()):
        raise ConfigError(
            f"{place}: {name!r} holds an infinite number; it was saved in a type that cannot hold "
            "it (fp16), or training failed: give weights that were saved in bf16 or fp32"
        )


def has_nan(tensor: Tensor) -> bool:
    """Whether it holds a number that is none."""
    return bool(torch.isnan(_wide(tensor)).any())


def _wide(tensor: Tensor) -> Tensor:
    """In a type that can be asked; 8-bit floats cannot."""
    tensor = tensor.detach()
    is_narrow = tensor.dtype.is_floating_point and tensor.itemsize == 1
    return tensor.float() if is_narrow else tensor


def ties(module: nn.Module) -> list[list[str]]:
    """Names that stand for one tensor, in the module's order; only what has several."""
    groups: dict[object, list[str]] = {}
    for name, tensor in module_state(module).items():
        groups.setdefault(_identity(tensor), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _identity(tensor: Tensor) -> object:
    """The same for names of one tensor, also where it was wrapped twice."""
    if not has_data(tensor) or tensor.numel() == 0 or tensor.device.type != "cpu":
        return id(tensor)
    return (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def digest_of_graph(graph: Graph) -> str:
    """What tells a graph from others that the same code and parameters may give: its modules'
    structure, every number and setting that they hold, and all that it says of itself."""

    def spelled(tensor: Tensor) -> str:
        is_read = graph.checkpoint is None or not isinstance(tensor, torch.nn.Parameter)
        if has_data(tensor) and is_read:
            return tensor_digest(tensor)
        return f"{tensor.dtype} {tuple(tensor.shape)}"

    found = hashlib.sha256()
    for name, module in (("main", graph.module), *sorted(graph.variants.items())):
        found.update(f"{name} {spell(str(module))}\n".encode())
        for key, tensor in sorted(module_state(module).items()):
            found.update(f"{key} {spelled(tensor)}\n".encode())
        found.update(repr(ties(module)).encode())
        found.update(attributes_digest(module, spelled).encode())
    said = (graph.inputs, graph.outputs, graph.checkpoint, graph.key_map, graph.scales, graph.owns)
    found.update(repr(said).encode())
    return found.hexdigest()
