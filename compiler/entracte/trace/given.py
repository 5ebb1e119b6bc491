"""What every source of weights asks of a traced stage: which keys, which factors, which numbers are
the module's own."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from entracte.trace.traced import Traced


def scale_of(scales: Iterable[tuple[str, float]], name: str) -> float:
    """By what the checkpoint's value of the weight `name` is multiplied when it is read, by a
    record's `scales`."""
    return next((factor for suffix, factor in scales if name.endswith(suffix)), 1.0)


def scaled(tensor: "torch.Tensor", traced: "Traced", name: str) -> "torch.Tensor":
    """A value, times the factor of its weight."""
    factor = scale_of(traced.record.scales, name)
    return tensor if factor == 1.0 else tensor * factor


def read(tensor: "torch.Tensor", traced: "Traced", name: str) -> "torch.Tensor":
    """A checkpoint's value as it is computed with."""
    if name in traced.record.whole:
        return tensor
    return scaled(tensor.float(), traced, name)


def identity(traced: "Traced", name: str, digest: str) -> str:
    """What tells a weight's value from others, by the digest of what its source has."""
    return f"{digest} x {scale_of(traced.record.scales, name)}"


def wanted(traced: "Traced", names: Collection[str] | None) -> dict[str, str]:
    """Name -> key of the weights a checkpoint must give."""
    if traced.is_its_own:
        return {}
    held = traced.held
    chosen = set(traced.key_of) if names is None else set(names)
    return {n: k for n, k in traced.key_of.items() if n in chosen and n not in held}


def own_identities(
    traced: "Traced", names: Collection[str], *, with_buffers: bool = False
) -> dict[str, str]:
    """Name -> what tells its value from others, of those that the module gives."""
    if not traced.is_its_own and not with_buffers:
        return {}
    return {n: f"own {traced.own[n]}" for n in names if n in traced.own}


def given_by_module(
    traced: "Traced", names: Collection[str] | None, *, with_buffers: bool = False
) -> "dict[str, torch.Tensor]":
    """What neither a file nor a seed gives.

    Args:
        with_buffers: also those buffers that a checkpoint would give, if there were one.
    """
    found = held_by_module(traced, names)
    return found | own(traced, names) if traced.is_its_own or with_buffers else found


def own(traced: "Traced", names: Collection[str] | None) -> "dict[str, torch.Tensor]":
    """The module's own parameters and buffers, as they are computed with."""
    chosen = traced.own.keys() if names is None else traced.own.keys() & set(names)
    state = traced.state() if chosen else {}
    return {name: _computed_with(state[name].detach()) for name in chosen}


def _computed_with(tensor: "torch.Tensor") -> "torch.Tensor":
    """As programs have it: fp32, complex numbers as pairs, whole numbers as they are."""
    import torch

    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    wide = tensor.float() if tensor.dtype.is_floating_point else tensor
    return wide.contiguous()


def held_by_module(traced: "Traced", names: Collection[str] | None) -> "dict[str, torch.Tensor]":
    """Tables and literals that no checkpoint holds: they are the module's own."""
    chosen = traced.held if names is None else {n for n in traced.held if n in names}
    if not chosen:
        return {}
    from entracte.frontend.extract import constants_of

    found: dict[str, torch.Tensor] = {}
    for function in traced.record.functions:
        wanted = {name: own for name, own in function.held if name in chosen}
        if wanted:
            constants = constants_of(traced.program_of(function.name))
            found |= {name: constants[own] for name, own in wanted.items()}
    return found


def listed(names: list[str]) -> str:
    """The first few names, and how many more."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
