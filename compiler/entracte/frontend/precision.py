"""Values that fp16 cannot carry, found in the graph of a whole stage.

The converter finds some of the same patterns inside one chunk (`entracte.lower.islands`); a cut
through the middle of one hides it from both sides. Whoever cuts a graph keeps these values in fp32
ports and passes their names to the conversion as `fp32_ops`. What is computed in fp32 and then
rounded, because its result fits, is `fp32_operations`: each chunk finds that for itself.
"""

from __future__ import annotations

from collections.abc import Collection

from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node

from entracte.frontend.backend import Islands
from entracte.frontend.statistics import VIEWS, kind_of, size_of, statistics

__all__ = ["fp32_operations", "fp32_values"]


def fp32_values(source: ExportedProgram | GraphModule, islands: Islands) -> frozenset[str]:
    """Names of the values that must not be rounded to fp16; `islands` is in ATen's names.

    These are sines, cosines and what they are computed from by elementwise operations, back to the
    program's own inputs (a timestep); sums and means of squares, and what is computed from them,
    up to where a whole tensor is scaled; and the quiet tails of which a logarithm is taken.
    """
    graph, weights = _graph(source), _weight_names(source)
    found = set(statistics(graph, islands))
    for node in graph.nodes:
        if kind_of(node) in islands.sines:
            found |= _sine_chain(node, weights, islands)
        if _is_root(node, islands):
            found |= _norm_chain(node, islands)
        if kind_of(node) in islands.logarithms:
            found |= _tail_chain(node, islands)
    return frozenset(found)


def fp32_operations(
    program: ExportedProgram, islands: Islands, wide: Collection[str] = ()
) -> frozenset[str]:
    """Names of the operations that an fp16 program of one chunk computes in fp32.

    Beside what makes `fp32_values`: logarithms, and what scales a whole tensor by a statistic of
    its squares. Their results are rounded.

    Args:
        wide: values that are not rounded, as is known of the whole stage: names of operations, and
            of inputs with fp32 ports.
    """
    graph, weights = _graph(program), _weight_names(program)
    angles: set[str] = set()
    for node in graph.nodes:
        if kind_of(node) in islands.sines:
            angles |= _sine_chain(node, weights, islands)
    own = fp32_values(program, islands)
    scales = (own | set(wide)) - angles
    found = set(own)
    for node in graph.nodes:
        kind = kind_of(node)
        reads = any(s.name in scales and size_of(s) < size_of(node) for s in _read(node))
        if kind in islands.logarithms or (kind in islands.scaling and reads):
            found.add(node.name)
    return frozenset(found)


def _read(node: Node) -> list[Node]:
    """What a node reads, through views."""
    found = list(node.all_input_nodes)
    for source in found:
        if kind_of(source) in VIEWS:
            found += source.all_input_nodes
    return found


def _tail_chain(node: Node, islands: Islands) -> set[str]:
    """What the argument of a logarithm is computed from: what is small there must not vanish."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        for argument in waiting.pop().all_input_nodes:
            if argument.name in found or kind_of(argument) not in islands.tails:
                continue
            if not _is_scaled_by_less(argument):
                continue
            found.add(argument.name)
            waiting.append(argument)
    return found


def _is_scaled_by_less(node: Node) -> bool:
    """Of operations on two tensors: whether one is smaller, as the sum of a softmax is.

    Two tensors of one size are a network's residual or gate, which no logarithm turns fp32.
    """
    sizes = [size_of(source) for source in node.all_input_nodes if source.op != "get_attr"]
    return len(sizes) < 2 or len(set(sizes)) > 1


def _graph(source: ExportedProgram | GraphModule) -> Graph:
    return source.graph_module.graph if isinstance(source, ExportedProgram) else source.graph


def _weight_names(source: ExportedProgram | GraphModule) -> set[str]:
    if isinstance(source, GraphModule):
        return set()  # weights are get_attr nodes there
    placeholders = {spec.arg.name for spec in source.graph_signature.input_specs}
    return placeholders - set(source.graph_signature.user_inputs)


def _sine_chain(node: Node, weights: set[str], islands: Islands) -> set[str]:
    found, waiting = {node.name}, [node]
    while waiting:
        for argument in waiting.pop().all_input_nodes:
            is_input = argument.op == "placeholder" and argument.name not in weights
            if argument.name in found or not (is_input or _follows(argument, weights, islands)):
                continue
            found.add(argument.name)
            waiting.append(argument)
    return found


def _follows(node: Node, weights: set[str], islands: Islands) -> bool:
    kind = kind_of(node)
    if kind in islands.followed:
        return True
    if kind not in islands.outer | islands.lookups or not isinstance(node.args[0], Node):
        return False
    first = node.args[0]
    if kind in islands.lookups:
        return first.op != "get_attr" and first.name not in weights
    return bool(first.meta["val"].shape[-1] == 1)


def _is_root(node: Node, islands: Islands) -> bool:
    is_half = kind_of(node) == "pow" and len(node.args) > 1 and node.args[1] in (0.5, -0.5)
    return is_half or kind_of(node) in islands.roots


def _norm_chain(node: Node, islands: Islands) -> set[str]:
    found, waiting, squares = {node.name}, [node], 0
    while waiting:
        for argument in waiting.pop().all_input_nodes:
            is_square = _is_square(argument, islands)
            is_inside = is_square or kind_of(argument) in islands.averaging
            if argument.name in found or not is_inside:
                continue
            found.add(argument.name)
            squares += is_square
            if not is_square:
                waiting.append(argument)
    return found if squares else set()


def _is_square(node: Node, islands: Islands) -> bool:
    is_product = kind_of(node) == islands.product and len(node.args) > 1
    return kind_of(node) in islands.squares or (is_product and node.args[0] is node.args[1])
