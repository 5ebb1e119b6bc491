"""What a module holds beside its tensors, spelled: numbers, settings, functions with what they
captured. A factory may set them from a file, and its code then does not say what they are."""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, nn

from entracte.store.origin import is_library

__all__ = ["attributes_digest", "spell"]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Of objects in a text: another in every process."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes, PurePath, torch.dtype, torch.device)
_BASE = frozenset(vars(nn.Module()))
"""What every module has: tensors and children, which others look at, and hooks."""
_DEEPEST = 100


def attributes_digest(module: nn.Module, spell_tensor: Callable[[Tensor], str]) -> str:
    """SHA-256 of all attributes of a module and of those inside it.

    Args:
        spell_tensor: what tells a tensor from others.
    """
    found, seen = hashlib.sha256(), _Seen(spell_tensor)
    for child in module.modules():
        seen.note(child)
    for path, child in module.named_modules():
        hooks = (list(child._forward_pre_hooks.values()), list(child._forward_hooks.values()))
        own = {k: v for k, v in vars(child).items() if k not in _BASE}
        for text in seen.spelled((path, child.training, own, hooks, _methods(type(child))), 0):
            found.update(f"{text}\n".encode(errors="surrogatepass"))
    return found.hexdigest()


def spell(text: str) -> str:
    """A text as it is in every process."""
    return _ADDRESS.sub("", text)


class _Seen:
    """A walk over objects that may lead back to themselves: each is spelled once, in order."""

    def __init__(self, spell_tensor: Callable[[Tensor], str]) -> None:
        self._spell_tensor = spell_tensor
        self._known: dict[int, tuple[int, object]] = {}

    def note(self, value: object) -> int | None:
        """The number under which an object was met before; else it is met now."""
        if id(value) in self._known:
            return self._known[id(value)][0]
        # Kept, so that nobody else gets its id.
        self._known[id(value)] = (len(self._known), value)
        return None

    def spelled(self, value: Any, depth: int) -> Iterator[str]:
        """Texts that tell the value from others."""
        if isinstance(value, _PLAIN):
            yield f"{type(value).__name__} {value!r}"
        elif isinstance(value, Tensor):
            yield self._spell_tensor(value)
        elif isinstance(value, type | types.ModuleType | logging.Logger):
            yield f"{type(value).__name__} {_named(value)}"
        elif depth > _DEEPEST:
            yield type(value).__qualname__
        elif (number := self.note(value)) is not None:
            yield f"again {number}"
        else:
            yield type(value).__qualname__
            for part in _parts(value):
                yield from self.spelled(part, depth + 1)


def _named(value: type | types.ModuleType | logging.Logger) -> str:
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return value.__name__ if isinstance(value, types.ModuleType) else value.name


def _parts(value: Any) -> Iterator[Any]:
    """What an object is made of."""
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        yield from (str(value.dtype), str(value.shape))
        yield value.tolist() if value.dtype.hasobject else hashlib.sha256(value.tobytes()).digest()
    elif isinstance(value, Mapping):
        for key, item in _meant(value, value).items():
            yield from (key, item)
    elif isinstance(value, set | frozenset):
        yield from sorted(spell(repr(item)) for item in value)
    elif isinstance(value, list | tuple):
        yield len(value)
        yield from value
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, types.MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, types.FunctionType):
        yield from _function(value)
    elif isinstance(value, nn.Module):  # one that is no child: in a list, in an object
        yield from ({**value._parameters, **value._buffers}, value._modules)
        yield {k: v for k, v in vars(value).items() if k not in _BASE}
    else:
        yield from _object(value)


def _meant(value: Any, held: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Without what libraries note for themselves in their settings: hashes, lists out of sets,
    which are others in every process."""
    top = type(value).__module__.partition(".")[0]
    if top in sys.stdlib_module_names or not is_library(top):
        return held
    return {k: v for k, v in held.items() if not (isinstance(k, str) and k.startswith("_"))}


def _methods(kind: type) -> list[types.FunctionType]:
    """Those that a stranger wrote: they may compute with what their module read from a file."""
    strange = [c for c in kind.__mro__ if _is_strange(c.__module__)]
    return [f for c in strange for f in vars(c).values() if isinstance(f, types.FunctionType)]


def _is_strange(module: str | None) -> bool:
    """Whether it is of a package that has no version that would say what it is."""
    top = (module or "").partition(".")[0]
    return top != "entracte" and not is_library(top)


def _globals(value: types.FunctionType) -> dict[str, Any]:
    """What a function reads of its module by name; of other functions and types their own."""
    names, codes = set[str](), [value.__code__]
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return {n: value.__globals__[n] for n in sorted(names & value.__globals__.keys())}


def _function(value: types.FunctionType) -> Iterator[Any]:
    """Its code is that of its package; what it captured is not, nor what its module holds."""
    yield from (value.__module__, value.__qualname__, value.__defaults__, value.__kwdefaults__)
    if _is_strange(value.__module__):
        yield _globals(value)
    for cell in value.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            yield None


def _object(value: Any) -> Iterator[Any]:
    slots = [s for c in type(value).__mro__ for s in _slots(c) if hasattr(value, s)]
    held = {**{s: getattr(value, s) for s in slots}, **getattr(value, "__dict__", {})}
    if held:
        yield _meant(value, held)
    else:
        yield spell(repr(value))


def _slots(kind: type) -> tuple[str, ...]:
    found = vars(kind).get("__slots__", ())
    return (found,) if isinstance(found, str) else tuple(found)
