"""Values that fp16 cannot carry, found in the graph of a whole stage.

The converter finds the same patterns inside one chunk (`entracte.lower.islands`); a cut through
the middle of one hides it from both sides. Whoever cuts a graph keeps these values in fp32 ports
and passes their names to the conversion as `fp32_ops`.
"""

from __future__ import annotations

from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from entracte.frontend.backend import Islands

__all__ = ["fp32_values"]


def fp32_values(source: ExportedProgram | GraphModule, islands: Islands) -> frozenset[str]:
    """Names of the values that must not be rounded to fp16; `islands` is in ATen's names.

    These are sines, cosines and what they are computed from by elementwise operations, back to the
    program's own inputs (a timestep), and the inside of RMS norms, from the square to rsqrt.
    """
    graph = source.graph_module.graph if isinstance(source, ExportedProgram) else source.graph
    weights = _weight_names(source)
    found: set[str] = set()
    for node in graph.nodes:
        if _kind(node) in islands.sines:
            found |= _sine_chain(node, weights, islands)
        if _kind(node) in islands.roots:
            found |= _norm_chain(node, islands)
    return frozenset(found)


def _kind(node: Node) -> str:
    """`aten.pow.Tensor_Scalar` -> `pow`; empty for what is no ATen operation."""
    parts = str(node.target).split(".") if node.op == "call_function" else []
    return parts[1] if len(parts) == 3 and parts[0] == "aten" else ""


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
            if argument.name in found or not (is_input or _kind(argument) in islands.followed):
                continue
            found.add(argument.name)
            waiting.append(argument)
    return found


def _norm_chain(node: Node, islands: Islands) -> set[str]:
    found, waiting, squares = {node.name}, [node], 0
    while waiting:
        for argument in waiting.pop().all_input_nodes:
            is_square = _is_square(argument, islands)
            is_inside = is_square or _kind(argument) in islands.averaging
            if argument.name in found or not is_inside:
                continue
            found.add(argument.name)
            squares += is_square
            if not is_square:
                waiting.append(argument)
    return found if squares else set()


def _is_square(node: Node, islands: Islands) -> bool:
    is_product = _kind(node) == islands.product and len(node.args) > 1
    return _kind(node) in islands.squares or (is_product and node.args[0] is node.args[1])
