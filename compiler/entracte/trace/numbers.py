"""Tensors that a module holds: by name, by digest, by what they are tied to."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import torch

from entracte.errors import ConfigError
from entracte.frontend.extract import has_data

if TYPE_CHECKING:
    from torch import Tensor, nn

    from entracte.graphs.spec import Graph

__all__ = [
    "check_finite",
    "digest_of_graph",
    "module_state",
    "saved_names",
    "tensor_digest",
    "ties",
]


_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Of objects in a module's text: another in every process."""


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
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    found.update(plain.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def check_finite(place: str, name: str, tensor: Tensor, *, endless: bool = True) -> None:
    """Raises `ConfigError` for NaN, and for infinity unless that is allowed (in masks)."""
    if not tensor.dtype.is_floating_point or tensor.numel() == 0:
        return
    wide = tensor if tensor.itemsize in (2, 4) else tensor.float()
    if bool(torch.isnan(wide).any()):
        raise ConfigError(
            f"{place}: {name!r} holds NaN, a number that is none; the file is damaged, or its "
            "training failed: give other weights"
        )
    if not endless and bool(torch.isinf(wide).any()):
        raise ConfigError(
            f"{place}: {name!r} holds an infinite number; it was saved in a type that cannot hold "
            "it (fp16), or training failed: give weights that were saved in bf16 or fp32"
        )


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
    structure, every number that they hold, and all that it says of itself."""
    found = hashlib.sha256()
    for name, module in (("main", graph.module), *sorted(graph.variants.items())):
        structure = _ADDRESS.sub("", str(module))
        found.update(f"{name} {structure}\n".encode())
        for key, tensor in sorted((module_state(module) | _plain(module)).items()):
            is_read = graph.checkpoint is None or not isinstance(tensor, torch.nn.Parameter)
            holds = has_data(tensor) and is_read
            spelled = tensor_digest(tensor) if holds else (tensor.dtype, tuple(tensor.shape))
            found.update(f"{key} {spelled}\n".encode())
    said = (graph.inputs, graph.outputs, graph.checkpoint, graph.key_map, graph.scales, graph.owns)
    found.update(repr(said).encode())
    return found.hexdigest()


def _plain(module: nn.Module) -> dict[str, Tensor]:
    """Tensors that are attributes and neither parameters nor buffers."""
    return {
        f"{path}.{name} (plain)": value
        for path, child in module.named_modules()
        for name, value in vars(child).items()
        if isinstance(value, torch.Tensor)
    }
