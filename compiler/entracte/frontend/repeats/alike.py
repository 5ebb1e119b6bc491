"""Modules of one model that compute the same of other weights.

Two are alike where their trees of modules have the same classes, the same names, and parameters of
the same shapes, and their plain attributes are equal. An attribute in which all members of a group
differ (the number of a layer) does not part them: it is taken away while one of them is exported,
and where their code asks for it the group is given up.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Group", "groups_of", "without"]

_OWN = frozenset(vars(nn.Module()))
"""What every module has: tables of tensors and modules, and of hooks."""
_HOOKS = tuple(name for name in sorted(_OWN) if name.endswith("_hooks"))
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device,
          torch.Size, enum.Enum)  # fmt: skip
_LEAST_MODULES = 3
"""Of a tree: smaller ones are a few operations, for which an export of their own is too dear."""


@dataclass(frozen=True)
class Group:
    """Modules that are alike."""

    paths: tuple[str, ...]
    modules: tuple[nn.Module, ...]
    differing: tuple[tuple[str, str], ...]
    """(path of a module below, name of an attribute): each member has another value."""
    count: int
    """Modules in each."""


def groups_of(module: nn.Module) -> list[Group]:
    """All groups of two and more inside of `module`, whatever contains what."""
    codes: dict[Hashable, int] = {}
    found: dict[int, list[tuple[str, nn.Module]]] = {}
    for path, child in module.named_modules():
        if path and _is_fit(child):
            found.setdefault(_structure(child, codes), []).append((path, child))
    several = [members for members in found.values() if len(members) > 1]
    return [group for members in several for group in _groups(members)]


def _is_fit(module: nn.Module) -> bool:
    """Big enough, without hooks, and with no tensor or module twice."""
    tree = list(module.named_modules(remove_duplicate=False))
    if len(tree) < _LEAST_MODULES or len({id(m) for _, m in tree}) < len(tree):
        return False
    if any(getattr(m, hooks, None) for _, m in tree for hooks in _HOOKS):
        return False
    tensors = [id(t) for _, m in tree for t in _tensors(m).values() if t is not None]
    return len(set(tensors)) == len(tensors)


def _tensors(module: nn.Module) -> dict[str, Tensor | None]:
    return {**module._parameters, **module._buffers}


def _structure(module: nn.Module, codes: dict[Hashable, int]) -> int:
    """One number for all trees of the same classes, names and shapes."""
    children = tuple(
        (name, None if child is None else _structure(child, codes))
        for name, child in module._modules.items()
    )
    tables = tuple(
        tuple((name, _described(tensor)) for name, tensor in table.items())
        for table in (module._parameters, module._buffers)
    )
    lasting = tuple(sorted(module._non_persistent_buffers_set))
    code = (type(module), children, tables, lasting)
    return codes.setdefault(code, len(codes))


def _described(tensor: Tensor | None) -> Hashable:
    if tensor is None:
        return None
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.requires_grad


# ---------------------------------------------------------------- attributes
_Row = dict[tuple[str, str], Hashable]
_Member = tuple[str, nn.Module, _Row]


def _groups(members: Sequence[tuple[str, nn.Module]]) -> list[Group]:
    rows = [(path, module, _attributes(module)) for path, module in members]
    by_names: dict[frozenset[tuple[str, str]], list[_Member]] = {}
    for row in rows:
        by_names.setdefault(frozenset(row[2]), []).append(row)
    return [group for same in by_names.values() for group in _parted(same)]


def _parted(members: Sequence[_Member]) -> list[Group]:
    """By the attributes that some have in common, the one of fewest values first."""
    if len(members) < 2:
        return []
    counts = {name: len({row[name] for _, _, row in members}) for name in members[0][2]}
    first = members[0][1]
    parting = [
        (n, name) for name, n in counts.items() if 1 < n < len(members) or _is_shadow(first, name, n)
    ]
    if not parting:
        paths, modules, _ = zip(*members, strict=True)
        differing = tuple(sorted(name for name, n in counts.items() if n > 1))
        return [Group(paths, modules, differing, sum(1 for _ in first.modules()))]
    _, name = min(parting)
    parts: dict[Hashable, list[_Member]] = {}
    for member in members:
        parts.setdefault(member[2][name], []).append(member)
    return [group for part in parts.values() for group in _parted(part)]


def _is_shadow(module: nn.Module, name: tuple[str, str], count: int) -> bool:
    """Whether the class would answer where the attribute were taken away."""
    return count > 1 and hasattr(type(module.get_submodule(name[0])), name[1])


def _attributes(module: nn.Module) -> _Row:
    return {
        (path, name): _value(value)
        for path, child in module.named_modules()
        for name, value in vars(child).items()
        if name not in _OWN
    }


def _value(value: Any) -> Hashable:
    """Equal for equal values; of an object that is not known by itself, who it is."""
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_value, value))
    if isinstance(value, dict):
        return dict, tuple((_value(k), _value(v)) for k, v in value.items())
    if isinstance(value, FunctionType | BuiltinFunctionType | type):
        return "is", id(value)
    return "is", id(value)


# ---------------------------------------------------------------- taken away
@contextlib.contextmanager
def without(module: nn.Module, names: Sequence[tuple[str, str]]) -> Iterator[list[str]]:
    """Inside, `module` has none of these attributes; hands out a list of those asked for."""
    asked: list[str] = []
    taken = [(module.get_submodule(path), name) for path, name in names]
    values = [vars(child).pop(name) for child, name in taken]
    absent = {(id(child), name) for child, name in taken}
    own = nn.Module.__getattr__

    def told(self: nn.Module, name: str) -> Any:
        if (id(self), name) in absent:
            asked.append(name)
        return own(self, name)

    nn.Module.__getattr__ = told  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        nn.Module.__getattr__ = own  # type: ignore[method-assign]
        for (child, name), value in zip(taken, values, strict=True):
            vars(child)[name] = value
