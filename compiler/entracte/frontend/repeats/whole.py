"""The export of a module in pieces: each repeated module once, and the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from entracte.frontend.repeats.alike import groups_of, without
from entracte.frontend.repeats.calls import Calls, Form, empty, shape_of
from entracte.frontend.repeats.spliced import BLOCK, Piece, Unfit, is_plain, splice

__all__ = ["WORTH_MODULES", "Pieces", "in_pieces"]

WORTH_MODULES = 12
"""Modules that need not be traced again, below which nothing is saved: an export by itself costs as
much as they do."""

Export = Callable[[nn.Module, tuple[Tensor, ...]], ExportedProgram]


class Pieces:
    """A module's program in pieces: of everything but its forms, and of each form."""

    def __init__(self, module: nn.Module, outer: Piece, forms: dict[int, Piece]) -> None:
        self._module, self.outer, self.forms = module, outer, forms

    @property
    def every(self) -> list[Piece]:
        """All of them."""
        return [self.outer, *self.forms.values()]

    def joined(self) -> ExportedProgram:
        """The program of everything. Raises `Unfit`."""
        tensors = {
            name: tensor
            for named in (self._module.named_parameters, self._module.named_buffers)
            for name, tensor in named(remove_duplicate=False)
        }
        known = {id(tensors[name]): name for name in reversed(tensors)}
        return splice(self.outer, self.forms, lambda n: known.get(id(tensors.get(n)), n))


def in_pieces(
    module: nn.Module,
    args: tuple[Tensor, ...],
    export: Export,
    worth_modules: int = WORTH_MODULES,
) -> Pieces | None:
    """`module` exported in pieces; None where that is not worth it, or not possible.

    Args:
        module: with stand-ins for its parameters.
        args: stand-ins too.
        export: exports a module for inputs; that of `module` raises what it finds wrong.
        worth_modules: how many modules at least need not be traced again.
    """
    mode = next((a.fake_mode for a in args if isinstance(a, FakeTensor)), None)
    if mode is None:
        return None
    groups = groups_of(module)
    if sum((len(g.paths) - 1) * g.count for g in groups) < worth_modules:
        return None
    calls = Calls(module, groups)
    if not _look(calls, module, args, mode):
        return None
    for form in calls.forms:
        form.is_fit &= (form.count - 1) * form.group.count >= worth_modules
    pieces = _exported(calls, mode, export)
    if not pieces:
        return None
    with calls.written():
        outer = Piece(export(module, args))
    return Pieces(module, outer, pieces)


def _look(calls: Calls, module: nn.Module, args: tuple[Tensor, ...], mode: FakeTensorMode) -> bool:
    """Find forms; false where the module cannot run, or is another one afterwards."""
    before = _state(module)
    try:
        with calls.looked_at(mode), torch.no_grad():
            module(*args)
    except Exception:  # noqa: BLE001  an export tells what is wrong
        return False
    finally:
        is_changed = _restore(module, before)
    return not is_changed


_State = list[tuple[nn.Module, dict[str, Any], dict[str, Any]]]


def _state(module: nn.Module) -> _State:
    """The attributes of all modules, and what those hold that hold several."""
    return [(m, dict(vars(m)), {k: _held(v) for k, v in vars(m).items()}) for m in module.modules()]


def _held(value: Any) -> Any:
    return value.copy() if isinstance(value, dict | list) else None


def _restore(module: nn.Module, before: _State) -> bool:
    """Put attributes back as they were; whether anything had changed."""
    is_changed = False
    for child, attributes, held in before:
        own = vars(child)
        if own.keys() != attributes.keys() or any(own[k] is not v for k, v in attributes.items()):
            is_changed = True
            own.clear()
            own.update(attributes)
        for name, value in held.items():
            if value is None or _is_same(value, own[name]):
                continue
            is_changed = True
            own[name].clear()
            (own[name].update if isinstance(value, dict) else own[name].extend)(value)
    return is_changed


def _is_same(a: Any, b: Any) -> bool:
    """Whether two tables or lists hold the same objects."""
    if isinstance(a, dict):
        return list(a) == list(b) and all(a[k] is b[k] for k in a)
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


# ---------------------------------------------------------------- forms by themselves
def _exported(calls: Calls, mode: FakeTensorMode, export: Export) -> dict[int, Piece]:
    """Each form's piece, by number; forms that cannot be exported by themselves are told so."""
    pieces = {}
    for form in calls.forms:
        piece = _piece(calls, form, mode, export) if form.is_fit else None
        form.is_fit = piece is not None
        if piece is not None:
            pieces[form.number] = piece
    return pieces


def _piece(calls: Calls, form: Form, mode: FakeTensorMode, export: Export) -> Piece | None:
    alone = _Alone(form)
    kept = {name: calls.path_of(child) for name, child in alone.kept.items()}
    if any(path is None or _holds(child, form.module) for path, child in
           zip(kept.values(), alone.kept.values(), strict=True)):  # fmt: skip
        return None
    with mode:
        given = tuple(empty(form.given[i]) for i in form.tensors)
    try:
        with calls.written(inside=form), without(form.module, form.group.differing) as asked:
            program = export(alone, given)
    except Exception:  # noqa: BLE001  the export of everything tells what is wrong
        return None
    if asked or not is_plain(program) or _made(program) != form.shapes:
        return None
    return Piece(program, path=form.path, kept={n: p for n, p in kept.items() if p is not None})


def _holds(module: nn.Module, other: nn.Module) -> bool:
    return any(child is other for child in module.modules())


def _made(program: ExportedProgram) -> list[Any]:
    values = {n.name: n.meta.get("val") for n in program.graph.nodes}
    return [shape_of(values[name]) for name in program.graph_signature.user_outputs]


class _Alone(nn.Module):
    """A call of a form with tensors alone: what else it is given is part of it."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.training = False
        self.add_module(BLOCK, form.module)
        modules = {id(g): g for g in form.given if isinstance(g, nn.Module)}
        self.kept = {f"kept_{i}": child for i, child in enumerate(modules.values())}
        for name, child in self.kept.items():
            self.add_module(name, child)
        self._form = form

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        args, kwargs = self._form.arguments(given)
        leaves, _ = pytree.tree_flatten(self.get_submodule(BLOCK)(*args, **kwargs))
        return self._form.tensors_of(leaves)
