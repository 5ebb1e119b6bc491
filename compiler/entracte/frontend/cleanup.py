"""Clean-up of an exported graph: what remains is arithmetic.

Works in place on an ExportedProgram's graph and keeps its signature right.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from entracte.frontend.rewrite import Writer
from entracte.frontend.widened import read_unwidened

__all__ = ["clean", "clean_graph", "is_view", "view_as_reshape"]

_aten = torch.ops.aten

_ERASED = (
    "_guards_fn",
    "_assert_tensor_metadata",
    "_assert_scalar",
    "_assert_async",
    "sym_constrain_range",
    "sym_constrain_range_for_size",
)
"""Nodes that only check; they would keep values alive across cuts."""

_ALIASES = {
    _aten.alias.default,
    _aten.clone.default,
    _aten.contiguous.default,
    _aten.detach.default,
    _aten.detach_.default,
    _aten.lift_fresh.default,
    _aten.lift_fresh_copy.default,
    _aten.dropout.default,
    _aten.native_dropout.default,
    _aten.positive.default,
}
"""Operations that return their first argument in an inference graph."""

_SAME_WHEN_TYPE_KEPT = {
    _aten._to_copy.default,
    _aten.to.dtype,
    _aten.to.dtype_layout,
    _aten.to.device,
    _aten.type_as.default,
}
_SAME_WHEN_SHAPE_KEPT = {
    _aten.view.default,
    _aten._unsafe_view.default,
    _aten.reshape.default,
    _aten.expand.default,
    _aten.squeeze.dim,
    _aten.squeeze.dims,
    _aten.slice.Tensor,
}
_JOINING = {_aten.cat.default, _aten.concat.default, _aten.concatenate.default}
_RESHAPES = {_aten.view.default, _aten._unsafe_view.default}


def clean(program: ExportedProgram) -> None:
    """Clean `program`'s graph in place; its signature follows when an output is renamed."""
    renamed = clean_graph(program.graph_module.graph)
    for spec in program.graph_signature.output_specs:
        name = getattr(spec.arg, "name", None)
        if name in renamed:
            spec.arg.name = renamed[name]
    program.graph_module.graph.lint()
    program.graph_module.recompile()


def clean_graph(graph: Graph) -> dict[str, str]:
    """Clean `graph` in place.

    Returns:
        For every output that was an erased alias: its old name -> the name that replaces it.
    """
    before = _output_names(graph)
    for rewrite in _REWRITES:
        for node in list(graph.nodes):
            rewrite(graph, node)
    _eliminate_dead(graph)
    after = _output_names(graph)
    return {old: new for old, new in zip(before, after, strict=True) if old and new and old != new}


def _output_names(graph: Graph) -> list[str | None]:
    (output,) = (node for node in graph.nodes if node.op == "output")
    values = output.args[0]
    flat = values if isinstance(values, (list, tuple)) else (values,)
    return [value.name if isinstance(value, Node) else None for value in flat]


def _erase_checks(graph: Graph, node: Node) -> None:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    is_check = node.op.startswith("call") and name.split(".")[0] in _ERASED
    if is_check and not node.users:
        graph.erase_node(node)


def _erase_same(graph: Graph, node: Node) -> None:
    """Replace a node that returns its first argument by that argument."""
    if node.op != "call_function":
        return
    if node.target is operator.getitem:
        source, index = node.args
        if not isinstance(source, Node) or index != 0:
            return
        if source.target is _aten.native_dropout.default:
            _replace(graph, node, source.args[0])
        return
    if node.target is _aten.native_dropout.default:
        return
    if _returns_first_argument(node):
        _replace(graph, node, node.args[0])


def _returns_first_argument(node: Node) -> bool:
    source = node.args[0] if node.args else None
    if not isinstance(source, Node):
        return False
    if node.target in _ALIASES:
        return True
    here, there = node.meta.get("val"), source.meta.get("val")
    if not isinstance(here, Tensor) or not isinstance(there, Tensor):
        return False
    if node.target in _SAME_WHEN_TYPE_KEPT:
        return here.dtype == there.dtype
    # a slice with a step of -1 does not exist in torch, so an equal shape means the whole tensor
    return node.target in _SAME_WHEN_SHAPE_KEPT and here.shape == there.shape


def _replace(graph: Graph, node: Node, value: Any) -> None:
    # the replacement keeps its own meta; `propagate_meta` would copy the alias's strides
    node.replace_all_uses_with(value)
    graph.erase_node(node)


def _drop_empty_operands(graph: Graph, node: Node) -> None:
    """`cat` of a zero-element tensor: causal convolutions with kernel 1 pad by nothing."""
    if node.target not in _JOINING:
        return
    operands: Any = node.args[0]
    kept = [operand for operand in operands if _elements(operand) != 0]
    if len(kept) == len(operands) or not kept:
        return
    if len(kept) == 1:
        _replace(graph, node, kept[0])
        return
    node.args = (kept, *node.args[1:])


def _whole_split(_: Graph, node: Node) -> None:
    """`split` into parts longer than the whole: one part, which converters do not count to."""
    if node.target is not _aten.split.Tensor:
        return
    given: Any = node.args
    dim = given[2] if len(given) > 2 else node.kwargs.get("dim", 0)
    length = int(given[0].meta["val"].shape[dim])
    if given[1] > length:
        node.args = (given[0], length, *given[2:])


def _unbound_stack(graph: Graph, node: Node) -> None:
    """What is taken apart as it was put together; converters fail where a part is not used."""
    if node.target is not operator.getitem:
        return
    source: Any = node.args[0]
    if source.target is not _aten.unbind.int:
        return
    stack: Any = source.args[0]
    index: Any = node.args[1]
    operands = stack.args[0] if stack.target is _aten.stack.default else []
    is_whole = {user.args[1] for user in source.users} == set(range(len(operands)))
    if operands and not is_whole and _dim(stack, stack) == _dim(source, stack):
        _replace(graph, node, operands[index])


def _dim(node: Node, like: Node) -> int:
    given: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    rank: int = like.meta["val"].dim()
    return int(given) % rank


def _elements(node: Node) -> int | None:
    value = node.meta.get("val")
    return value.numel() if isinstance(value, Tensor) else None


def _reshape_for_view(_: Graph, node: Node) -> None:
    if is_view(node):
        view_as_reshape(node)


def is_view(node: Node) -> bool:
    """Whether `node` is a `view` to another shape."""
    return node.op == "call_function" and node.target in _RESHAPES


def view_as_reshape(node: Node) -> None:
    """`view` demands strides that a value read from a file does not have; `reshape` does not."""
    node.target = _aten.reshape.default


def _on_cpu(_: Graph, node: Node) -> None:
    """One spelling of the device, so that meta and real parameters give the same graph."""
    if node.op != "call_function" or "device" not in node.kwargs:
        return
    node.kwargs = {**node.kwargs, "device": torch.device("cpu")}


_FILLED: dict[object, float | None] = {
    _aten.full.default: None,
    _aten.full_like.default: None,
    _aten.new_full.default: None,
    _aten.new_zeros.default: 0,
    _aten.zeros_like.default: 0,
    _aten.ones_like.default: 1,
    _aten.zeros.default: 0,
    _aten.ones.default: 1,
    _aten.empty.memory_format: 0,  # what it holds is anything: the model writes over it
    _aten.fill.Scalar: None,
}
"""Operations that make a tensor of one number -> the number; None where it is an argument."""


def _fill(_: Graph, node: Node) -> None:
    """One operation for all of them, told shape and type: converters take those of another tensor
    for some, and fp32 for others."""
    value = node.meta.get("val")
    if node.op != "call_function" or node.target not in _FILLED or not isinstance(value, Tensor):
        return
    if node.target is _aten.full.default and (
        "dtype" in node.kwargs or value.dtype is torch.float32
    ):
        return
    number: Any = _FILLED[node.target]
    if number is None:
        number = node.args[2 if node.target is _aten.new_full.default else 1]
    if not isinstance(number, int | float):
        return
    is_float = value.is_floating_point()
    number = (
        float(number) if is_float else bool(number) if value.dtype is torch.bool else int(number)
    )
    node.target = _aten.full.default
    node.args = ([int(d) for d in value.shape], number)
    node.kwargs = {"dtype": value.dtype}


def _share_heads(graph: Graph, node: Node) -> None:
    """Attention whose heads share keys, with the keys repeated: converters do not know
    `enable_gqa`."""
    if node.target is not _aten.scaled_dot_product_attention.default:
        return
    if not node.kwargs.get("enable_gqa"):
        return
    write = Writer(graph, node)
    given: Any = node.args
    query, *shared = given[:3]
    heads = query.meta["val"].shape[-3]
    node.args = (query, *(_repeated(write, part, heads) for part in shared), *given[3:])
    node.kwargs = {k: v for k, v in node.kwargs.items() if k != "enable_gqa"}


def _number_truths(graph: Graph, node: Node) -> None:
    """Attention with a mask of truth values, with one of numbers. A query that sees no key gets 0
    from torch; a runtime's softmax of nothing is no number, and spreads."""
    given: Any = node.args
    if node.target is not _aten.scaled_dot_product_attention.default:
        return
    mask = given[3] if len(given) > 3 else node.kwargs.get("attn_mask")
    if not isinstance(mask, Node) or mask.meta["val"].dtype is not torch.bool:
        return
    write = Writer(graph, node)
    seen = write(_aten._to_copy.default, mask, dtype=given[0].meta["val"].dtype)
    added = write(_aten.mul.Tensor, write(_aten.rsub.Scalar, seen, 1), -1e9)
    named = {k: v for k, v in node.kwargs.items() if k != "attn_mask"}
    made = write(node.target, *given[:3], added, *given[4:], **named)
    made = write(_aten.mul.Tensor, made, write(_aten.amax.default, seen, [-1], True))
    _replace(graph, node, made)


def _repeated(write: Writer, part: Any, heads: int) -> Any:
    *batch, given, length, width = part.meta["val"].shape
    if given == heads:
        return part
    wide = write(_aten.unsqueeze.default, part, len(batch) + 1)
    wide = write(_aten.expand.default, wide, [*batch, given, heads // given, length, width])
    return write(_aten.reshape.default, wide, [*batch, heads, length, width])


_REWRITES = (
    _erase_checks, _erase_same, _drop_empty_operands, _whole_split, _unbound_stack,
    _reshape_for_view, _on_cpu, _fill, _share_heads, _number_truths, read_unwidened,
)  # fmt: skip


def _eliminate_dead(graph: Graph) -> None:
    """Erase unused operations. Placeholders stay: the signature lists them.

    torch's own `eliminate_dead_code` keeps whatever it deems impure (random, in-place); after
    functionalisation nothing of that kind has an effect an inference graph may keep.
    """
    for node in reversed(list(graph.nodes)):
        if node.op in ("call_function", "get_attr") and not node.users:
            graph.erase_node(node)
