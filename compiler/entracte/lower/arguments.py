"""Arguments that a conversion does not read, found by converting the node without them.

coremltools' conversion functions take what they know and drop the rest in silence: `alpha` of
`add`, `threshold` of `softplus`. No table of what they read stays true, so nothing is listed: for
every optional argument that differs from its schema's default the node is converted alone, with
the argument and without it. If both give the same operations, the argument was not read; if torch
itself then gives other numbers with it than without it, the conversion is wrong and is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Graph, Node

from entracte.lower.errors import LowerError

__all__ = ["check_arguments_read", "unread_arguments"]

_NO_VALUES = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking", "copy",
                        "cudnn_enable", "cudnn_enabled"})  # fmt: skip
"""Where and how a tensor lies in memory, and which library computes: no number depends on it. (A
`dtype` is not among them: torch's own numbers tell whether it matters.)"""
_MOST_ELEMENTS = 1 << 28
"""Above this torch is not asked: an argument that is not read is taken to matter."""


def check_arguments_read(
    program: torch.export.ExportedProgram, target: Any, places: Mapping[str, str]
) -> None:
    """Refuse a program with an argument that its conversion would drop.

    Args:
        target: the coremltools deployment target.
        places: node -> where the user wrote it, for the message.

    Raises:
        LowerError: naming operation, argument, value, default and place.
    """
    weights = _weights(program)
    read: set[str] = set()
    for node in program.graph.nodes:
        for name, value, default in _optional(node):
            key = _key(node, name)
            if key in read:
                continue
            if _is_dropped(node, name, target, weights):
                raise _refusal(node, name, value, default, places.get(node.name, ""))
            read.add(key)


def unread_arguments(program: torch.export.ExportedProgram, target: Any) -> list[str]:
    """`operation.argument` of all that its conversion drops, by name."""
    weights = _weights(program)
    found = {
        f"{_kind(node)}.{name}"
        for node in program.graph.nodes
        for name, *_ in _optional(node)
        if _is_dropped(node, name, target, weights)
    }
    return sorted(found)


def _weights(program: torch.export.ExportedProgram) -> frozenset[str]:
    """Placeholders that the conversion takes as constants."""
    signature = program.graph_signature
    given = {spec.arg.name for spec in signature.input_specs}
    return frozenset(given - set(signature.user_inputs))


def _kind(node: Node) -> str:
    schema: Any = node.target._schema  # type: ignore[union-attr]
    return str(schema.name).split("::")[-1]


def _refusal(node: Node, name: str, value: object, default: object, place: str) -> LowerError:
    where = f" of {place}" if place else ""
    return LowerError(
        f"operation {_kind(node)} (node `{node.name}`){where}: its conversion does not read "
        f"{name}={_spell(value)} (default {_spell(default)}), which changes the result; write the "
        "operation without it in the module, or register a conversion that reads it in "
        "entracte/lower/registrations.py"
    )


def _spell(value: object) -> str:
    return f"`{value.name}`" if isinstance(value, Node) else str(value)


def _optional(node: Node) -> Iterator[tuple[str, object, object]]:
    """(argument, value, default) of those that differ from their default."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None:
        return
    for i, argument in enumerate(schema.arguments):
        if not argument.has_default_value() or argument.name in _NO_VALUES:
            continue
        default = argument.default_value
        value = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name, default)
        if isinstance(value, Node) or value != default:
            yield argument.name, value, default


def _without(node: Node, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of the call with one of them at its default."""
    schema: Any = node.target._schema  # type: ignore[union-attr]
    args, kwargs = list(node.args), dict(node.kwargs)
    kwargs.pop(name, None)
    for i, argument in enumerate(schema.arguments[: len(args)]):
        if argument.name == name:
            args[i] = argument.default_value
    return tuple(args), kwargs


def _key(node: Node, name: str) -> str:
    """Equal for nodes that are converted alike."""
    typed = torch.fx.node.map_arg((node.args, dict(node.kwargs)), lambda n: _Typed(_typed(n)))
    return f"{name} {node.target} {typed} {_typed(node)}"


class _Typed(str):
    """Stands for an operand in a key: its type, not its name."""

    __slots__ = ()


def _typed(node: Node) -> str:
    value = node.meta.get("val")
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    return str(type(value).__name__)


def _is_dropped(node: Node, name: str, target: Any, weights: frozenset[str]) -> bool:
    operands = {n.name for n in node.all_input_nodes}
    # Some conversions want constants where the graph has weights, some only where they are alone.
    for constant in (frozenset(), weights & operands, operands - {_first(node)}):
        given = _converted(node, node.args, node.kwargs, target, constant)
        if given is not None:
            same = given == _converted(node, *_without(node, name), target, constant)
            return same and _matters(node, name)
    return False  # it does not convert alone: the conversion itself will say why


def _first(node: Node) -> str:
    return node.all_input_nodes[0].name if node.all_input_nodes else ""


# ---------------------------------------------------------------- conversion of one node


def _converted(
    node: Node, args: Any, kwargs: Any, target: Any, constant: Collection[str]
) -> str | None:
    """The operations that one call becomes, spelled; None if it cannot be converted alone."""
    try:
        return _alone(node, args, kwargs, target, constant)
    except Exception:  # noqa: BLE001 - conversions raise whatever they like
        return None


def _alone(node: Node, args: Any, kwargs: Any, target: Any, constant: Collection[str]) -> str:
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.frontend.torch.converter import TranscriptionContext
    from coremltools.converters.mil.frontend.torch.internal_graph import InternalTorchIRNode
    from coremltools.converters.mil.frontend.torch.utils import TorchFrontend
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import Function

    graph = Graph()
    values: dict[str, Tensor] = {}

    def operand(source: Node) -> Node:
        made = graph.placeholder(source.name)
        made.meta = dict(source.meta)
        values[made.name] = source.meta["val"]
        return made

    call = graph.create_node(
        "call_function", node.target,
        torch.fx.node.map_arg(args, operand), torch.fx.node.map_arg(kwargs, operand),
    )  # fmt: skip
    call.meta = {"val": node.meta.get("val")}
    inputs = {n: _placeholder(v) for n, v in values.items() if n not in constant}
    context = TranscriptionContext(frontend=TorchFrontend.TORCHEXPORT)
    with Function(inputs, opset_version=target) as function:
        for name, value in values.items():
            var = function.inputs[name] if name in inputs else _constant(mb, name, value)
            context.add(var, torch_name=name)
        ops.convert_single_node(context, InternalTorchIRNode.from_exir_node(call))
        return _spelled(function, context[call.name])


def _placeholder(value: Tensor) -> Any:
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    kinds = {torch.bool: types.bool, torch.float16: types.fp16}
    kind = kinds.get(value.dtype, types.fp32 if value.is_floating_point() else types.int32)
    return mb.placeholder(shape=tuple(int(n) for n in value.shape), dtype=kind)


def _constant(mb: Any, name: str, value: Tensor) -> Any:
    kind = np.float32 if value.is_floating_point() else np.int32
    return mb.const(val=np.zeros(tuple(value.shape), kind), name=name)


def _spelled(function: Any, result: Any) -> str:
    """The function's operations, values by number; constants by what they hold."""
    number = {id(var): f"in {name}" for name, var in function.inputs.items()}
    lines = []
    for i, operation in enumerate(function.operations):
        if operation.op_type == "const":
            number[id(operation.outputs[0])] = _held(operation.outputs[0].val)
            continue
        reads = [(key, _refer(given, number)) for key, given in sorted(operation.inputs.items())]
        lines.append(f"{operation.op_type} {reads}")
        for k, var in enumerate(operation.outputs):
            number[id(var)] = f"{i}.{k} {var.shape} {var.dtype}"
    return "\n".join([*lines, str(_refer(result, number))])


def _refer(given: Any, number: Mapping[int, str]) -> object:
    if isinstance(given, list | tuple):
        return [_refer(item, number) for item in given]
    return number.get(id(given), _held(getattr(given, "val", given)))


def _held(value: Any) -> str:
    array = np.asarray(value)
    if array.size <= 16:
        return f"{array.dtype} {array.tolist()}"
    some = array.reshape(-1)[:: max(1, array.size >> 20)]  # weights are zeros here, and large
    return f"{array.dtype} {array.shape} {hashlib.sha256(some.tobytes()).hexdigest()}"


# ---------------------------------------------------------------- does it matter?


def _matters(node: Node, name: str) -> bool:
    """Whether torch itself gives other numbers with the argument than without it."""
    sizes = [v.meta["val"].numel() for v in node.all_input_nodes if _is_tensor(v)]
    made = node.meta.get("val")
    sizes.append(made.numel() if isinstance(made, Tensor) else 0)
    if sum(sizes) > _MOST_ELEMENTS:
        return True
    target: Callable[..., Any] = node.target  # type: ignore[assignment]
    drawn = {n: _drawn(n.meta["val"], i) for i, n in enumerate(node.all_input_nodes)}
    try:
        with torch.no_grad():
            wanted = target(*_filled(node.args, drawn), **_filled(node.kwargs, drawn))
            args, kwargs = _without(node, name)
            found = target(*_filled(args, drawn), **_filled(kwargs, drawn))
    except Exception:  # noqa: BLE001 - it cannot be shown to be harmless
        return True
    return not _same(wanted, found)


def _is_tensor(node: Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


def _filled(arguments: Any, drawn: Mapping[Node, Tensor]) -> Any:
    return torch.fx.node.map_arg(arguments, lambda n: drawn[n])


def _drawn(value: Tensor, seed: int) -> Tensor:
    """Both signs, and a size at which saturating functions (softplus, clamp) show their limits."""
    generator = torch.Generator().manual_seed(seed)
    shape = tuple(int(n) for n in value.shape)
    if value.is_floating_point():
        return (torch.randn(shape, generator=generator) * 10).to(value.dtype)
    return torch.randint(0, 2, shape, generator=generator).to(value.dtype)


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, list | tuple):
        pairs = zip(wanted, found, strict=False)
        return len(wanted) == len(found) and all(_same(a, b) for a, b in pairs)
    if not isinstance(wanted, Tensor):
        return bool(wanted == found)
    if wanted.shape != found.shape:
        return False
    if wanted.dtype != found.dtype:
        wanted, found = wanted.double(), found.double()
    close = torch.isclose(wanted, found, 1e-6, 1e-6, equal_nan=True)
    return bool(close.all())
