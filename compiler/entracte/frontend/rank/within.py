"""No value of more dimensions than a package has: `stack`, `unflatten` and `permute` often make six
or more between two reshapes.

Such a value stands in memory as the same numbers in the same order with fewer dimensions, which its
operations are written for (`rows.py`). The result is the same to the bit. Left as they are: a
reshape, a permutation and a reshape, which converters write so themselves; and constants, which
are computed while converting.
"""

from __future__ import annotations

import operator

from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from entracte.frontend.errors import GraphError
from entracte.frontend.place import place_of
from entracte.frontend.rank.flat import Flat
from entracte.frontend.rank.rows import row_of
from entracte.frontend.statistics import kind_of

__all__ = ["within_rank"]

_MOVES = frozenset({"permute", "transpose"})
_RESHAPES = frozenset({"reshape", "view", "_unsafe_view"})


def within_rank(program: ExportedProgram, most: int) -> None:
    """Write what has more than `most` dimensions with fewer, in place.

    Raises:
        GraphError: an operation on such a value that is not known here, with its place.
    """
    nodes = list(program.graph.nodes)
    high = {node for node in nodes if _rank(node) > most}
    if not high:
        return
    computed = _computed(program, nodes)
    computed -= _rescued(nodes, high)
    touching = [n for n in nodes if n in computed and _touches(n, high)]
    flat = Flat(program.graph, most)
    for node in touching:
        row = row_of(node)
        if row is None:
            raise GraphError(_refusal(node, most))
        flat.put(node, row(flat.before(node), node))
    _settle(program, touching, flat)
    _drop_unused(program)
    program.graph_module.graph.lint()
    program.graph_module.recompile()


def _rank(node: Node) -> int:
    value = node.meta.get("val")
    parts = value if isinstance(value, list | tuple) else [value]
    return max((part.dim() for part in parts if isinstance(part, Tensor)), default=0)


def _touches(node: Node, high: set[Node]) -> bool:
    if node in high or not high.isdisjoint(node.all_input_nodes):
        return True
    source = node.all_input_nodes[0] if node.target is operator.getitem else node
    return not high.isdisjoint(source.all_input_nodes)


def _computed(program: ExportedProgram, nodes: list[Node]) -> set[Node]:
    """Operations that depend on an input."""
    inputs = set(program.graph_signature.user_inputs)
    found = {n for n in nodes if n.op == "placeholder" and n.name in inputs}
    for node in nodes:
        if node.op == "call_function" and not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return {node for node in found if node.op == "call_function"}


def _rescued(nodes: list[Node], high: set[Node]) -> set[Node]:
    """Chains of reshapes with at most one permutation among them, and nothing beside them."""
    found: set[Node] = set()
    for node in nodes:
        if node not in high or not high.isdisjoint(node.all_input_nodes):
            continue
        chain, last = [node], node
        while last in high and len(last.users) == 1:
            (last,) = last.users
            chain.append(last)
        kinds = [kind_of(n) for n in chain]
        is_plain = set(kinds) <= _MOVES | _RESHAPES and kinds[0] in _RESHAPES
        if last not in high and is_plain and len([k for k in kinds if k in _MOVES]) <= 1:
            found.update(chain)
    return found


def _refusal(node: Node, most: int) -> str:
    kind = kind_of(node) or str(node.target)
    rank = max([_rank(node), *map(_rank, node.all_input_nodes)])
    return (
        f"{place_of(node)}: `{kind}` of a value with {rank} dimensions: packages have at most "
        f"{most}, and this operation is not written with fewer; reshape the value before it, so "
        "that axes that stay together are one"
    )


def _settle(program: ExportedProgram, nodes: list[Node], flat: Flat) -> None:
    """The program without the operations that were written anew, the last one first."""
    for node in reversed(nodes):
        if node.users:
            made = flat.shaped(node)
            _rename_output(program, node, made)
            node.replace_all_uses_with(made)
        program.graph.erase_node(node)


def _drop_unused(program: ExportedProgram) -> None:
    """Parts that nothing reads: a chunk is exported once more, and must come out as it is."""
    for node in reversed(list(program.graph.nodes)):
        if node.op == "call_function" and not node.users:
            program.graph.erase_node(node)


def _rename_output(program: ExportedProgram, node: Node, made: Node) -> None:
    for spec in program.graph_signature.output_specs:
        if getattr(spec.arg, "name", None) == node.name:
            spec.arg.name = made.name
