"""What truth values select, changed and put back where it was: computed with all, then chosen.

`x[mask] *= 0.5` is a selection, a product and a `put`; what is selected has a size that depends on
values, which no package has. Element by element the same is `where(mask, x * 0.5, x)`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from entracte.frontend.rewrite import Writer

__all__ = ["compute_with_all"]

_aten = torch.ops.aten
_SELECTS, _PUTS = _aten.index.Tensor, _aten.index_put.default
_CHECKS = ("_assert_scalar", "sym_constrain_range", "sym_constrain_range_for_size")


def compute_with_all(program: ExportedProgram) -> None:
    """Write such selections as a choice, in place; others stay, and are refused later."""
    changed = False
    for node in list(program.graph.nodes):
        if node.target is _PUTS:
            changed |= _chosen(program, node)
    if changed:
        _erase_unused(program)
        program.graph_module.graph.lint()
        program.graph_module.recompile()


def _chosen(program: ExportedProgram, node: Node) -> bool:
    given: Any = node.args
    mask = _mask(given[1])
    if mask is None or any(given[3:]) or not isinstance(given[2], Node):
        return False
    write = Writer(program.graph, node)
    rank = mask.meta["val"].dim()
    if not _is_possible(given[2], mask, node.meta["val"].dim() - rank):
        return False
    made = _all(write, given[2], mask, {})
    shape = [int(d) for d in node.meta["val"].shape]
    wide = [*shape[:rank], *[1] * (len(shape) - rank)]
    truth = write(_aten.reshape.default, mask, wide)
    if list(made.meta["val"].shape) != shape:
        made = write(_aten.expand.default, made, shape)
    made = write(_aten.where.self, truth, made, given[0])
    node.replace_all_uses_with(made)
    for spec in program.graph_signature.output_specs:
        if getattr(spec.arg, "name", None) == node.name:
            spec.arg.name = made.name
    return True


def _mask(indices: Any) -> Node | None:
    """The truth values that alone select, if that is so."""
    (mask, *others) = indices if isinstance(indices, list | tuple) and indices else (None,)
    if others or not isinstance(mask, Node) or mask.meta["val"].dtype is not torch.bool:
        return None
    return mask


def _is_possible(node: Node, mask: Node, trailing: int) -> bool:
    """Whether `node` is made element by element of what the mask selects, and of values that are
    the same for each that is selected: of `trailing` dimensions at most."""
    if node.target is _SELECTS:
        return _mask(node.args[1]) is mask
    if not _is_by_element(node):
        return False
    sources = node.all_input_nodes
    selected = [s for s in sources if _is_possible(s, mask, trailing)]
    others = [s.meta.get("val") for s in sources if s not in selected]
    return bool(selected) and all(isinstance(v, Tensor) and v.dim() <= trailing for v in others)


def _is_by_element(node: Node) -> bool:
    if node.target is _aten._to_copy.default:
        return True
    return node.op == "call_function" and torch.Tag.pointwise in getattr(node.target, "tags", ())


def _all(write: Writer, node: Node, mask: Node, made: dict[Node, Node]) -> Node:
    """`node` computed of all values instead of the selected ones."""
    if node.target is _SELECTS and _mask(node.args[1]) is mask:
        return node.args[0]  # type: ignore[return-value]
    if node not in made:
        trailing = {s for s in node.all_input_nodes if not _reads(s, mask)}
        args = [_with(a, lambda n: n if n in trailing else _all(write, n, mask, made))
                for a in node.args]  # fmt: skip
        made[node] = write(node.target, *args, **node.kwargs)
    return made[node]


def _reads(node: Node, mask: Node) -> bool:
    if node.target is _SELECTS:
        return _mask(node.args[1]) is mask
    return _is_by_element(node) and any(_reads(s, mask) for s in node.all_input_nodes)


def _with(argument: Any, change: Any) -> Any:
    if isinstance(argument, list | tuple):
        return [_with(item, change) for item in argument]
    return change(argument) if isinstance(argument, Node) else argument


def _erase_unused(program: ExportedProgram) -> None:
    """What nobody reads any more, and what only checked the sizes of selections."""
    for node in reversed(list(program.graph.nodes)):
        name = str(getattr(node.target, "__name__", node.target))
        is_check = any(check in name for check in _CHECKS)
        if node.op == "call_function" and not node.users and (is_check or _is_size(node)):
            program.graph.erase_node(node)


def _is_size(node: Node) -> bool:
    """A selection, what was made of one, or a number that was computed of its size."""
    value = node.meta.get("val")
    if isinstance(value, Tensor):
        return node.target is _PUTS or not all(isinstance(n, int) for n in value.shape)
    return True
