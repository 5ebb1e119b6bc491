"""How the modules of a group are called: equal calls are one form, which is exported once.

A first run with stand-ins for tensors tells the calls: of a form only the first call runs, later
ones get tensors like its results. In an export every call of a form is one operation (`AGAIN`).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from entracte.frontend.repeats.alike import Group

__all__ = ["AGAIN", "Calls", "Form", "Shape", "empty", "shape_of"]

_LIBRARY = torch.library.Library("entracte", "FRAGMENT")
_LIBRARY.define("again(Tensor[] given, str path, int form, str made) -> Tensor[]")
AGAIN: Any = torch.ops.entracte.again.default
"""A call of a form, of the module at `path`, which gives tensors like `made` (JSON)."""

Shape = tuple[tuple[int, ...], tuple[int, ...], str]
"""(sizes, strides, type) of a tensor."""


def _again(given: list[Tensor], path: str, form: int, made: str) -> list[Tensor]:
    del given, path, form
    return [empty(shape) for shape in json.loads(made)]


torch.library.register_fake("entracte::again", _again)


def empty(shape: Sequence[Any]) -> Tensor:
    """A tensor like it, of any numbers."""
    sizes, strides, dtype = shape
    return torch.empty_strided(sizes, strides, dtype=getattr(torch, dtype), device="cpu")


def shape_of(tensor: Tensor) -> Shape:
    """As it is compared. Raises `ValueError` where a size depends on values."""
    sizes = [*tensor.shape, *tensor.stride()]
    if not all(type(n) is int for n in sizes) or tensor.device.type != "cpu":
        raise ValueError("no shape")
    return tuple(tensor.shape), tuple(tensor.stride()), str(tensor.dtype).removeprefix("torch.")


@dataclass
class Form:
    """Equal calls of alike modules."""

    number: int
    group: Group
    path: str
    """Of the module that was called first."""
    module: nn.Module
    given: tuple[Any, ...]
    """The arguments' leaves: `Shape`s of tensors, other values as they are."""
    tensors: tuple[int, ...]
    """Positions of the different tensors among the leaves."""
    spec: Any
    made: tuple[Any, ...] = ()
    """The result's leaves: `Shape`s, others as they are, and `_Given` ones."""
    made_spec: Any = None
    count: int = 1
    read: tuple[int, ...] = ()
    """Which of the different tensors its program reads: the others may be nothing but that."""
    is_fit: bool = True
    shares_memory: bool = False
    """Whether its results are views of its arguments, or of each other."""
    places: tuple[Any, ...] = field(default=(), repr=False)
    """Of each leaf: its tensor's position among `tensors`, or None."""

    @property
    def shapes(self) -> list[Shape]:
        """Of the tensors that it makes."""
        return [m.shape for m in self.made if isinstance(m, _Made)]

    def tensors_of(self, leaves: Sequence[Any]) -> tuple[Tensor, ...]:
        """What it makes, of a result's leaves."""
        pairs = zip(leaves, self.made, strict=True)
        return tuple(leaf for leaf, made in pairs if isinstance(made, _Made))

    def arguments(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Of a call with these tensors."""
        leaves = [
            given if place is None else tensors[place]
            for given, place in zip(self.given, self.places, strict=True)
        ]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return args, kwargs

    def result(self, given: Sequence[Tensor], made: Sequence[Tensor]) -> Any:
        """What a call returns that was given and made these tensors."""
        fresh = iter(made)
        leaves = [
            next(fresh) if isinstance(m, _Made) else given[m.place] if isinstance(m, _Given) else m
            for m in self.made
        ]
        return pytree.tree_unflatten(leaves, self.made_spec)


@dataclass(frozen=True)
class _Made:
    shape: Shape


@dataclass(frozen=True)
class _Given:
    """A result that is one of the arguments."""

    place: int


_CONSTANTS = (type(None), bool, int, float, str, torch.dtype, torch.device)


class Calls:
    """Of the grouped modules inside one module, while it is run and exported."""

    def __init__(self, module: nn.Module, groups: Sequence[Group]) -> None:
        self._members = [
            (path, child, group)
            for group in groups
            for path, child in zip(group.paths, group.modules, strict=True)
        ]
        self.forms: list[Form] = []
        """In the order in which their first calls ended."""
        self._found: list[Form] = []
        self._paths = {id(child): path for path, child in module.named_modules()}
        self._inside: Form | None = None
        self._grouped = {id(m) for _, child, _ in self._members for m in child.modules()}

    def is_grouped(self, module: nn.Module) -> bool:
        """Whether a module is one of a group, or inside of one."""
        return id(module) in self._grouped

    def path_of(self, module: nn.Module) -> str | None:
        """Where the model has a module."""
        return self._paths.get(id(module))

    @contextlib.contextmanager
    def looked_at(self, mode: FakeTensorMode) -> Iterator[None]:
        """Inside, forms are found, and a call of a known one runs nothing."""
        with self._replaced(self._look), mode:
            yield

    @contextlib.contextmanager
    def written(self, inside: Form | None = None) -> Iterator[None]:
        """Inside, a call of a fit form is one operation; not that of `inside`, the form that is
        exported itself."""
        self._inside = inside
        with self._replaced(self._write, None if inside is None else inside.module):
            yield

    @contextlib.contextmanager
    def _replaced(self, call: Callable[..., Any], but: nn.Module | None = None) -> Iterator[None]:
        kept = [(m, p, g, vars(m).get("forward"), m.forward) for p, m, g in self._members]
        try:
            for module, path, group, _, own in kept:
                if module is not but:
                    module.forward = _bound(call, path, module, group, own)  # type: ignore[method-assign]
            yield
        finally:
            for module, _, _, before, _ in kept:
                vars(module).pop("forward", None)
                if before is not None:
                    module.forward = before  # type: ignore[method-assign]

    # ------------------------------------------------------------ the two ways
    def _look(self, call: _Call) -> Any:
        form = self._form(call)
        if form is None:
            return call.run()
        if form.count > 1:
            return form.result(call.tensors, [empty(shape) for shape in form.shapes])
        result = call.run()
        form.is_fit = _learn(form, call, result)
        self.forms.append(form)
        return result

    def _write(self, call: _Call) -> Any:
        form = self._known(call)
        if form is None or not form.is_fit or not self._is_covered(call):
            return call.run()
        given = [call.tensors[i] for i in form.read]
        made = AGAIN(given, call.path, form.number, json.dumps(form.shapes))
        return form.result(call.tensors, made)

    def _is_covered(self, call: _Call) -> bool:
        """Whether what differs in the modules of the form around is taken away in this one's
        export too."""
        if self._inside is None or not call.path.startswith(f"{self._inside.path}."):
            return self._inside is None
        own = call.path[len(self._inside.path) + 1 :]
        below = [
            (path[len(own) :].lstrip("."), name)
            for path, name in self._inside.group.differing
            if path == own or path.startswith(f"{own}.")
        ]
        return set(below) <= set(call.group.differing)

    def _form(self, call: _Call) -> Form | None:
        """That of a call, one more time; None where it cannot be one or is being looked at."""
        known = self._known(call)
        if known is not None:
            if known not in self.forms or not known.is_fit:
                return None
            known.count += 1
            return known
        if not call.is_fit or not call.tensors:
            return None
        form = Form(
            len(self._found), call.group, call.path, call.module, call.given, call.positions,
            call.spec, places=call.places,
        )  # fmt: skip
        self._found.append(form)
        return form

    def _known(self, call: _Call) -> Form | None:
        return next((form for form in self._found if call.is_of(form)), None)


def _bound(
    call: Callable[[_Call], Any], path: str, module: nn.Module, group: Group, own: Any
) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        return call(_Call(path, module, group, own, args, kwargs))

    return forward


class _Call:
    """One call of a grouped module."""

    def __init__(
        self, path: str, module: nn.Module, group: Group, own: Any, args: Any, kwargs: Any
    ) -> None:
        self.path, self.module, self.group = path, module, group
        self._own, self._args, self._kwargs = own, args, kwargs
        leaves, self.spec = pytree.tree_flatten((args, kwargs))
        self.leaves: list[Any] = leaves
        self.tensors: list[Tensor] = []
        self.is_fit = True
        places = []
        for leaf in leaves:
            place = None
            if isinstance(leaf, Tensor):
                known = [i for i, t in enumerate(self.tensors) if t is leaf]
                place = known[0] if known else len(self.tensors)
                self.tensors += [] if known else [leaf]
            places.append(place)
        self.places = tuple(places)
        self.positions = tuple(places.index(i) for i in range(len(self.tensors)))
        try:
            self.given = tuple(map(self._described, leaves))
        except ValueError:
            self.given, self.is_fit = (), False

    def _described(self, leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            if leaf.is_complex() or isinstance(leaf, nn.Parameter):
                raise ValueError("no form")
            return shape_of(leaf)
        if isinstance(leaf, nn.Module) or type(leaf) in _CONSTANTS:
            return leaf
        raise ValueError("no form")

    def is_of(self, form: Form) -> bool:
        return (
            self.is_fit
            and form.group is self.group
            and form.places == self.places
            and all(_same(a, b) for a, b in zip(form.given, self.given, strict=True))
            and form.spec == self.spec
        )

    def run(self) -> Any:
        return self._own(*self._args, **self._kwargs)

    def is_unchanged(self) -> bool:
        """Whether the arguments hold what they held before the module ran."""
        leaves, spec = pytree.tree_flatten((self._args, self._kwargs))
        pairs = zip(leaves, self.leaves, strict=False)
        return spec == self.spec and all(a is b for a, b in pairs)


def _same(a: Any, b: Any) -> bool:
    return a is b if isinstance(a, nn.Module) else type(a) is type(b) and bool(a == b)


def _learn(form: Form, call: _Call, result: Any) -> bool:
    """What the first call made; false where it is nothing that other calls could be told of."""
    leaves, form.made_spec = pytree.tree_flatten(result)
    made: list[Any] = []
    memory = {_memory(t) for t in call.tensors}
    for leaf in leaves:
        known = [i for i, t in enumerate(call.tensors) if t is leaf]
        if known:
            made.append(_Given(known[0]))
        elif isinstance(leaf, Tensor):
            if leaf.is_complex():
                return False
            form.shares_memory |= _memory(leaf) in memory
            memory.add(_memory(leaf))
            try:
                made.append(_Made(shape_of(leaf)))
            except ValueError:
                return False
        elif type(leaf) in _CONSTANTS:
            made.append(leaf)
        else:
            return False
    form.made = tuple(made)
    return bool(form.shapes) and call.is_unchanged()


def _memory(tensor: Tensor) -> Any:
    return tensor.untyped_storage()._cdata
