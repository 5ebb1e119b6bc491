"""Cutting a piece out of an exported graph, as a module that runs and exports again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor, nn
from torch._export.verifier import Verifier
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature, InputKind
from torch.fx import Graph, GraphModule, Node

from entracte.frontend.cleanup import is_view, view_as_reshape
from entracte.frontend.errors import GraphError
from entracte.frontend.place import PLACE_KEYS

__all__ = ["ATEN", "as_aten", "constants_of", "extract", "has_data", "is_aten"]

ATEN = "ATEN"
"""The dialect of programs that `run_decompositions` makes."""
_IS_ATEN = "entracte_is_aten"
_WEIGHT_KINDS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


@dataclass(frozen=True)
class _Lifted:
    """A weight, buffer or constant that the exported graph takes as a placeholder or attribute."""

    node: Node
    fqn: str


def extract(
    source: ExportedProgram | GraphModule,
    nodes: Sequence[str],
    inputs: Sequence[str] | Mapping[str, str],
    outputs: Sequence[str],
    weights: Mapping[str, Tensor],
    *,
    weight_names: Mapping[str, str] | None = None,
) -> GraphModule:
    """A module made of the named nodes of `source`, in the given order.

    Args:
        source: a program from `export_graph`, or a GraphModule whose weights are `get_attr` nodes.
        nodes: names of the operations to copy, topologically ordered.
        inputs: names of the boundary values that become the module's arguments, in order. A weight
            placeholder may be listed too; it is an argument then. Where the graph has a boolean,
            the module takes numbers too: what is not 0 is true. A mapping gives the arguments' own
            names.
        outputs: names of the values to return, as a tuple, in order. May repeat and may name
            inputs or weights.
        weights: parameter or buffer FQN -> tensor; only the ones the nodes use are read. What is
            missing is taken from the program itself if it holds real data.
        weight_names: FQN -> the name to register a weight under, its FQN by default.

    Returns:
        A GraphModule in eval mode, with placeholders named as `inputs`, weights registered under
        their FQN or the names given instead (cast to the dtype that the graph expects), `view`
        written as `reshape`, so that it may be called with any strides.

    Raises:
        GraphError: an unknown name, a value used but neither copied, given nor a weight, a weight
            that is missing or of another shape.
    """
    graph = source.graph_module.graph if isinstance(source, ExportedProgram) else source.graph
    by_name = {node.name: node for node in graph.nodes}
    lifted = _lifted(source, graph)
    piece, copies = Graph(), {}
    arguments = inputs if isinstance(inputs, Mapping) else {name: name for name in inputs}
    for name, given in arguments.items():
        node = _known(by_name, name, "input")
        copies[node] = _placeholder(piece, node, given)
    copies.update({node: _as_boolean(piece, copy) for node, copy in copies.items()})
    wanted = [_known(by_name, name, "node") for name in nodes]
    returned = [_known(by_name, name, "output") for name in outputs]
    used = _weights_used(wanted, returned, copies, lifted)
    attributes: dict[str, Tensor] = {}
    for item in used:
        target = _attribute_target((weight_names or {}).get(item.fqn, item.fqn))
        attributes[target] = _weight(source, item, weights)
        copies[item.node] = _attribute(piece, item, target)
    for node in wanted:
        _copy(piece, node, copies)
    piece.output(tuple(_copied(copies, node, "an output") for node in returned))
    module = GraphModule(nn.Module(), piece) if not attributes else GraphModule(attributes, piece)
    module.meta[_IS_ATEN] = _is_aten(source)
    return module.requires_grad_(False).eval()


def is_aten(module: nn.Module) -> bool:
    """Whether it was cut out of a program of functional ATen operations: it has no others."""
    return isinstance(module, GraphModule) and bool(module.meta.get(_IS_ATEN))


def as_aten(
    program: ExportedProgram, graph: Graph, signature: ExportGraphSignature
) -> ExportedProgram:
    """A program with that graph, declared to be what `run_decompositions` makes: tracing a graph
    twice more takes as long as exporting it."""
    return ExportedProgram(
        root=program.graph_module,
        graph=graph,
        graph_signature=signature,
        state_dict=program.state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants=program.constants,
        verifiers=[Verifier],
    )


def _is_aten(source: ExportedProgram | GraphModule) -> bool:
    return source.dialect == ATEN if isinstance(source, ExportedProgram) else is_aten(source)


def constants_of(program: ExportedProgram) -> dict[str, Tensor]:
    """FQN -> tensor of every buffer and constant of `program` that holds real data.

    These are values that no checkpoint holds (position tables, lifted literals).
    """
    names = [s.target for s in program.graph_signature.input_specs if s.kind in _WEIGHT_KINDS[1:]]
    found = {name: _own_tensor(program, name) for name in names}
    return {n: tensor for n, tensor in found.items() if tensor is not None and has_data(tensor)}


def _known(by_name: Mapping[str, Node], name: str, role: str) -> Node:
    if name in by_name:
        return by_name[name]
    near = get_close_matches(name, by_name, n=3)
    raise GraphError(
        f"extract: {role} `{name}` is not a node of the graph ({len(by_name)} nodes); "
        f"nearest names: {', '.join(near) or 'none'}"
    )


def _lifted(source: ExportedProgram | GraphModule, graph: Graph) -> dict[Node, _Lifted]:
    found: dict[Node, _Lifted] = {}
    targets: dict[str, str] = {}
    if isinstance(source, ExportedProgram):
        specs = source.graph_signature.input_specs
        targets = {s.arg.name: s.target for s in specs if s.kind in _WEIGHT_KINDS}
    for node in graph.nodes:
        if node.op == "placeholder" and node.name in targets:
            found[node] = _Lifted(node, targets[node.name])
        if node.op == "get_attr":
            found[node] = _Lifted(node, str(node.target))
    return found


def _weights_used(
    nodes: Iterable[Node],
    returned: Iterable[Node],
    given: Mapping[Node, Node],
    lifted: Mapping[Node, _Lifted],
) -> list[_Lifted]:
    """The weights that the nodes read, in order of first use."""
    used: dict[Node, None] = {}
    for node in nodes:
        used.update(dict.fromkeys(node.all_input_nodes))
    used.update(dict.fromkeys(returned))
    return [lifted[node] for node in used if node in lifted and node not in given]


def _placeholder(piece: Graph, node: Node, name: str) -> Node:
    made = piece.create_node("placeholder", name, name=name)
    made.meta = _meta(node)
    return made


def _as_boolean(piece: Graph, placeholder: Node) -> Node:
    """A boolean argument as `argument != 0`: no package has boolean ports, so numbers may come."""
    value = placeholder.meta.get("val")
    if not isinstance(value, Tensor) or value.dtype is not torch.bool:
        return placeholder
    made = piece.call_function(torch.ops.aten.ne.Scalar, (placeholder, 0))
    made.meta = _meta(placeholder)
    return made


def _attribute(piece: Graph, item: _Lifted, target: str) -> Node:
    made = piece.create_node("get_attr", target, name=item.node.name)
    made.meta = _meta(item.node)
    return made


def _meta(node: Node) -> dict[str, object]:
    # shapes, and the line of the model that an error message names
    return {key: node.meta[key] for key in ("val", *PLACE_KEYS) if key in node.meta}


def _copy(piece: Graph, node: Node, copies: dict[Node, Node]) -> None:
    if node.op == "get_attr" and node in copies:
        return
    if node.op != "call_function":
        raise GraphError(
            f"extract: node `{node.name}` is a {node.op}, not an operation; "
            "list boundary values under `inputs`; weights need no listing"
        )
    reader = f"node `{node.name}`"
    made = piece.node_copy(node, lambda argument: _copied(copies, argument, reader))
    made.meta = _meta(node)
    if is_view(made):
        view_as_reshape(made)
    copies[node] = made


def _copied(copies: Mapping[Node, Node], node: Node, reader: str) -> Node:
    if node in copies:
        return copies[node]
    raise GraphError(
        f"extract: {reader} reads `{node.name}`, which is neither among the nodes before it nor an "
        f"input; add `{node.name}` to `inputs`, or to `nodes` ahead of its reader"
    )


def _attribute_target(fqn: str) -> str:
    """The dotted name to register under; a GraphModule's own attributes may not be shadowed."""
    first, _, rest = fqn.partition(".")
    first = f"{first}_" if hasattr(GraphModule, first) else first
    return f"{first}.{rest}" if rest else first


def _weight(
    source: ExportedProgram | GraphModule, item: _Lifted, weights: Mapping[str, Tensor]
) -> Tensor:
    tensor = weights[item.fqn] if item.fqn in weights else _own_tensor(source, item.fqn)
    if tensor is None or not has_data(tensor):
        near = get_close_matches(item.fqn, list(weights), n=3)
        raise GraphError(
            f"extract: no data for weight `{item.fqn}`: it is not among the {len(weights)} given "
            f"weights and the graph was made without real data; nearest names: "
            f"{', '.join(near) or 'none'}"
        )
    wanted = item.node.meta.get("val")
    if isinstance(wanted, Tensor) and wanted.shape != tensor.shape:
        raise GraphError(
            f"extract: weight `{item.fqn}` has shape {tuple(tensor.shape)}, "
            f"the graph was made with {tuple(wanted.shape)}: the checkpoint is of another model"
        )
    dtype = wanted.dtype if isinstance(wanted, Tensor) else tensor.dtype
    return tensor.detach().to(dtype)


def _own_tensor(source: ExportedProgram | GraphModule, fqn: str) -> Tensor | None:
    if isinstance(source, ExportedProgram):
        constant: Tensor | None = source.constants.get(fqn)
        return source.state_dict.get(fqn) if constant is None else constant
    value: object = source
    for part in fqn.split("."):
        value = getattr(value, part)
    return value if isinstance(value, Tensor) else None


def has_data(tensor: Tensor | None) -> bool:
    """Whether it has values, and not only a shape."""
    if not isinstance(tensor, torch.Tensor):
        return False
    return not isinstance(tensor, FakeTensor) and tensor.device.type != "meta"
