"""The export of a module in pieces: each repeated module once, and the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._export.utils import _compiling_state_context
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from entracte.frontend.repeats.alike import HOOKS, groups_of, without
from entracte.frontend.repeats.aside import set_aside
from entracte.frontend.repeats.calls import Calls, Form, empty, shape_of
from entracte.frontend.repeats.spliced import (
    BLOCK,
    Piece,
    changes_results,
    is_plain,
    splice,
)

__all__ = ["WORTH_MODULES", "Pieces", "in_pieces"]

WORTH_MODULES = 20
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
        # torch.export calls a tensor that has several names by the last of them.
        known = {id(tensor): name for name, tensor in tensors.items()}
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
    made = Pieces(module, outer, pieces)
    shares = any(form.shares_memory for form in calls.forms if form.number in pieces)
    if shares and any(changes_results(piece.program) for piece in made.every):
        return None
    outer.aside = set_aside(outer.program)
    return made


def _look(calls: Calls, module: nn.Module, args: tuple[Tensor, ...], mode: FakeTensorMode) -> bool:
    """Find forms; false where the module cannot run, or keeps what it computed."""
    before = _state(module)
    try:
        # Libraries ask whether they are exported, and compute other masks then.
        with calls.looked_at(mode), torch.no_grad(), _compiling_state_context():
            module(*args)
    except Exception:  # noqa: BLE001  an export tells what is wrong
        return False
    finally:
        changed = _restore(before)
    return all(
        name in HOOKS or (is_plain_value and not calls.is_grouped(child))
        for child, name, is_plain_value in changed
    )


_State = list[tuple[nn.Module, dict[str, Any], dict[str, Any]]]


def _state(module: nn.Module) -> _State:
    """The attributes of all modules, and what those hold that hold several."""
    return [(m, dict(vars(m)), {k: _held(v) for k, v in vars(m).items()}) for m in module.modules()]


def _held(value: Any) -> Any:
    return value.copy() if isinstance(value, dict | list) else None


def _restore(before: _State) -> list[tuple[nn.Module, str, bool]]:
    """Put attributes back as they were; (module, name, whether it was and is a plain value) of
    each that had changed."""
    changed = []
    for child, attributes, held in before:
        own = vars(child)
        names = [
            n for n in {**own, **attributes} if own.get(n, _none) is not attributes.get(n, _none)
        ]
        changed += [
            (child, n, _is_plain(own.get(n)) and _is_plain(attributes.get(n))) for n in names
        ]
        if names:
            own.clear()
            own.update(attributes)
        for name, value in held.items():
            if value is None or _is_same(value, own[name]):
                continue
            changed.append((child, name, False))
            own[name].clear()
            (own[name].update if isinstance(value, dict) else own[name].extend)(value)
    return changed


_none = object()


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | None)


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
    used = {n.name for n in program.graph.nodes if n.op == "placeholder" and n.users}
    inputs = program.graph_signature.user_inputs
    form.read = tuple(i for i, name in enumerate(inputs) if name in used)
    known = {name: path for name, path in kept.items() if path is not None}
    return Piece(program, path=form.path, read=form.read, kept=known) if form.read else None


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
