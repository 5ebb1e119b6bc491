"""What enters and leaves a chunk: casts, repeated outputs and inputs handed through.

coremltools cannot name one value twice, and returns a boolean as fp32 whatever was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

from entracte.lower.errors import LowerError
from entracte.lower.ports import DType, Port

__all__ = ["Copy", "check_inputs_used", "settle_outputs", "user_inputs"]


@dataclass(frozen=True, slots=True)
class Copy:
    """An output with the value of another port: an identity or cast in the finished package."""

    port: Port
    source: str


def check_inputs_used(program: ExportedProgram, ports: Sequence[Port]) -> None:
    """Refuse inputs that nothing reads: they would stay in the package and be fed for nothing.

    Raises:
        LowerError: naming the ports.
    """
    nodes = user_inputs(program)
    unused = [port.name for port, node in zip(ports, nodes, strict=True) if not node.users]
    if unused:
        raise LowerError(
            f"unused inputs: {', '.join(f'`{name}`' for name in unused)}: no operation of the "
            "chunk reads them; leave them out of its inputs"
        )


def user_inputs(program: ExportedProgram) -> list[Node]:
    """The placeholders of the chunk's own arguments, in order."""
    by_name = {node.name: node for node in program.graph.nodes}
    specs = program.graph_signature.input_specs
    return [by_name[spec.arg.name] for spec in specs if spec.kind is InputKind.USER_INPUT]


def settle_outputs(
    program: ExportedProgram, inputs: Sequence[Port], outputs: Sequence[Port]
) -> tuple[list[Port], list[Copy]]:
    """Make every output a distinct value of its port's kind, in place.

    Returns:
        The ports that the graph still returns, and the copies to add to the finished package.

    Raises:
        LowerError: another count or shape than the ports', or a float value for an int32 port.
    """
    values = _returned(program)
    if len(values) != len(outputs):
        raise LowerError(f"{len(outputs)} output ports but the chunk returns {len(values)} values")
    for port, node in zip(outputs, values, strict=True):
        _check_output(port, node)
    given = dict(zip(user_inputs(program), inputs, strict=True))
    sources = _sources(values, outputs, given)
    kept = [(p, n) for p, n in zip(outputs, values, strict=True) if sources[n] is p]
    copies = [
        Copy(port, sources[node].name)
        for port, node in zip(outputs, values, strict=True)
        if sources[node] is not port
    ]
    if not kept:
        raise LowerError("every output is an input handed through: the chunk does nothing")
    _return(program, [_cast_to_port(program, node, port) for port, node in kept])
    return [port for port, _ in kept], copies


def _sources(
    values: Sequence[Node], outputs: Sequence[Port], given: dict[Node, Port]
) -> dict[Node, Port]:
    """Each returned value's own port: an input's, or the first of the most precise outputs."""
    sources = dict(given)
    for port, node in zip(outputs, values, strict=True):
        known = sources.get(node)
        is_wider = known is not None and known.dtype is DType.FP16 and port.dtype is DType.FP32
        if known is None or (is_wider and node not in given):
            sources[node] = port
    return sources


def _returned(program: ExportedProgram) -> list[Node]:
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    return list(output.args[0])


def _check_output(port: Port, node: Node) -> None:
    value = node.meta["val"] if isinstance(node, Node) else None
    if not isinstance(value, torch.Tensor):
        raise LowerError(f"output `{port.name}`: the chunk returns {node!r}, not a tensor")
    if tuple(value.shape) != tuple(port.shape):
        raise LowerError(
            f"output `{port.name}`: the port has shape {tuple(port.shape)}, "
            f"the chunk returns {tuple(value.shape)}"
        )
    if value.is_floating_point() and port.dtype is DType.INT32:
        raise LowerError(
            f"output `{port.name}`: the port is int32 but the chunk returns {value.dtype}; "
            "make the port fp16 or fp32"
        )


def _cast_to_port(program: ExportedProgram, node: Node, port: Port) -> Node:
    """Booleans, and integers for a float port, are cast here; the rest coremltools casts."""
    value = node.meta["val"]
    is_whole = not value.is_floating_point() and port.dtype is not DType.INT32
    if value.dtype is not torch.bool and not is_whole:
        return node
    # fp32 inside: the precision pass turns it into fp16 where the port wants that
    dtype = torch.int32 if port.dtype is DType.INT32 else torch.float32
    with program.graph.inserting_before(next(iter(reversed(program.graph.nodes)))):
        cast: Node = program.graph.call_function(
            torch.ops.aten._to_copy.default, (node,), {"dtype": dtype}
        )
    cast.meta["val"] = value.to(dtype)
    return cast


def _return(program: ExportedProgram, nodes: list[Node]) -> None:
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    old = list(output.args[0])
    specs = program.graph_signature.output_specs
    first = {id(node): spec for node, spec in zip(reversed(old), reversed(specs), strict=True)}
    new_specs = []
    for node in nodes:
        source = first.get(id(node)) or first[id(node.args[0])]
        spec = type(source)(source.kind, type(source.arg)(name=node.name), source.target)
        new_specs.append(spec)
    output.args = (tuple(nodes),)
    specs[:] = new_specs
    program.graph_module.graph.lint()
    program.graph_module.recompile()
