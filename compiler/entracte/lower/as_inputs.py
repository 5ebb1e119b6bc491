"""A converted program whose constants become its inputs: one graph for many equal chunks.

A template (`entracte.lower.template`) says which stored constant is which weight. Here every stored
constant, a weight or a table, becomes an input of the function, and weight.bin goes. Core ML takes
some arguments as constants only; which, coremltools' own table of operations says. Those of linear
layers, norms and convolutions are written with operations that take any value: a product of
matrices and a sum, a norm and a product and a sum. Any other is refused: such a chunk keeps its
weights in a package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from entracte.disk.folder import make_folder
from entracte.ir import Port
from entracte.lower import package
from entracte.lower.errors import LowerError
from entracte.lower.template import offset_spans

__all__ = ["Array", "weights_as_inputs"]

_DTYPES = {number: dtype for dtype, number in package.MIL_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Array:
    """An input that was a constant: its port, and where its bytes are in a chunk's weight.bin."""

    port: Port
    start: int
    size: int


def weights_as_inputs(template: Path, path: Path) -> tuple[Array, ...]:
    """Write the package at `path` (new) that takes the template's constants as inputs.

    Args:
        template: a converted package of one function with neutral names, and its weight.bin.

    Returns:
        The arrays in the order of weight.bin.

    Raises:
        LowerError: an operation takes one of them as a constant only, and cannot be written
            otherwise; the message names it.
    """
    spec = package.read_spec(template)
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    spans = offset_spans(template, spec)
    graph = _Graph(block, _constant_only(function.opset), spans)
    arrays = graph.rewritten()
    for array in arrays:
        _declare(spec, function, array.port)
    make_folder((path / package.MODEL_FILE).parent)
    package.write_spec(path, spec)
    package.write_manifest(path, None)
    return arrays


def _declare(spec: Any, function: Any, port: Port) -> None:
    value = function.inputs.add(name=port.name)
    kind = value.type.tensorType
    kind.dataType, kind.rank = package.MIL_TYPES[port.dtype], len(port.shape)
    for size in port.shape:
        kind.dimensions.add().constant.size = size
    feature = spec.description.input.add(name=port.name)
    feature.type.multiArrayType.shape.extend(port.shape)
    feature.type.multiArrayType.dataType = package.ARRAY_TYPES[port.dtype]


def _constant_only(opset: str) -> Callable[[str, str], bool]:
    """Whether an operation of an opset takes an argument as a constant only, by coremltools."""
    from coremltools.converters.mil._deployment_compatibility import AvailableTarget
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    number = int(opset.removeprefix("CoreML"))
    # CoreML5 came with the format's version 6 (iOS 15), and each has counted on by one since.
    known = {t for t in AvailableTarget if t.value <= number + 1}

    def answer(kind: str, argument: str) -> bool:
        rows = {t: row for t, row in SSAOpRegistry.core_ops.get(kind, {}).items() if t in known}
        if not rows:
            return True
        spec = rows[max(rows, key=lambda t: t.value)].input_spec.input_types
        return argument not in spec or bool(spec[argument].const)

    return answer


@dataclass
class _Graph:
    """A block that is written anew, operation by operation."""

    block: Any
    constant_only: Callable[[str, str], bool]
    spans: Mapping[int, tuple[int, int]]
    """Offset of a record -> start and size of its data."""
    arrays: dict[str, Array] = field(default_factory=dict)
    """By the name that the constant had."""
    made: list[Any] = field(default_factory=list)
    kinds: dict[str, Any] = field(default_factory=dict)

    def rewritten(self) -> tuple[Array, ...]:
        names = self._inputs()
        for op in self.block.operations:
            self.kinds |= {v.name: v.type.tensorType for v in op.outputs}
        for op in self.block.operations:
            if op.type == "const" and op.outputs[0].name in self.arrays:
                continue
            self._rewrite(op)
        made = [type(op).FromString(op.SerializeToString()) for op in self.made]
        for op in made:
            _rename(op, names)
        del self.block.operations[:]
        self.block.operations.extend(made)
        return tuple(sorted(dict.fromkeys(self.arrays.values()), key=lambda a: a.start))

    def _inputs(self) -> dict[str, str]:
        """Every stored constant as an array; constant's name -> input's name. Constants of one
        record are one input."""
        found: dict[int, Array] = {}
        for op in self.block.operations:
            if _inner(op) and any(_stored(o) for b in op.blocks for o in _walk(b)):
                raise _refused(op, "holds constants of its own in a block")
            if op.type != "const" or not _stored(op):
                continue
            offset = op.attributes["val"].blobFileValue.offset
            kind = op.outputs[0].type.tensorType
            if offset not in found:
                found[offset] = self._array(op, kind, *self.spans[offset])
            self.arrays[op.outputs[0].name] = found[offset]
        places = {a: i for i, a in enumerate(sorted(found.values(), key=lambda a: a.start))}
        named = {n: f"w{places[a]}" for n, a in self.arrays.items()}
        self.arrays = {
            n: Array(Port(named[n], a.port.shape, a.port.dtype), a.start, a.size)
            for n, a in self.arrays.items()
        }
        return named

    def _array(self, op: Any, kind: Any, start: int, size: int) -> Array:
        if kind.dataType not in _DTYPES:
            raise _refused(op, "stores numbers that no input can have (fp16, fp32, int32 can)")
        shape = tuple(d.constant.size for d in kind.dimensions) or (1,)
        return Array(Port(op.outputs[0].name, shape, _DTYPES[kind.dataType]), start, size)

    def _rewrite(self, op: Any) -> None:
        """The operation itself, or others that take its weights as any value."""
        stuck = [
            name
            for name, argument in op.inputs.items()
            if self.constant_only(op.type, name)
            and any(b.name in self.arrays for b in argument.arguments)
        ]
        if not stuck:
            self.made.append(op)
            return
        rule = _RULES.get(op.type)
        if rule is None or not rule(self, op, stuck):
            raise _refused(op, f"takes {', '.join(sorted(stuck))} as a constant only")

    # ------------------------------------------------------------ what rules are made of

    def array_of(self, op: Any, argument: str) -> str | None:
        """The constant that an argument is, if it is one that becomes an input."""
        if argument not in op.inputs:
            return None
        name: str = op.inputs[argument].arguments[0].name
        return name if name in self.arrays else None

    def rank(self, op: Any, argument: str = "x") -> int:
        """Of an argument; 0 where it is no value of the block."""
        kind = self.kinds.get(op.inputs[argument].arguments[0].name)
        return int(op.outputs[0].type.tensorType.rank if kind is None else kind.rank)

    def reshape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Let an array come in another shape; not if it is read in two."""
        array = self.arrays[name]
        users = [o for o in self.block.operations for a in o.inputs.values()
                 if any(b.name in self.arrays and self.arrays[b.name] is array
                        for b in a.arguments)]  # fmt: skip
        if len(users) > 1:
            return False
        port = Port(array.port.name, shape, array.port.dtype)
        self.arrays[name] = Array(port, array.start, array.size)
        return True

    def append(self, kind: str, op: Any, out: str, **inputs: str) -> None:
        """An operation with the type of `op`'s result."""
        made = type(op)(type=kind)
        for argument, name in inputs.items():
            made.inputs[argument].arguments.add(name=name)
        made.outputs.add(name=out, type=op.outputs[0].type)
        made.attributes["name"].CopyFrom(package.string_value(out))
        self.made.append(made)

    def append_flag(self, op: Any, out: str, value: bool) -> str:
        """A boolean constant."""
        made = type(op)(type="const")
        flag = package.flag_value(value)
        made.attributes["name"].CopyFrom(package.string_value(out))
        made.attributes["val"].CopyFrom(flag)
        made.outputs.add(name=out, type=flag.type)
        self.made.append(made)
        return out

    def affine(self, op: Any, last: str, factor: str | None, term: str | None) -> None:
        """last * factor + term, of which one may be missing, as what `op` made."""
        out = op.outputs[0].name
        if factor is not None:
            scaled = out if term is None else f"{out}_scaled"
            self.append("mul", op, scaled, x=last, y=factor)
            last = scaled
        if term is not None:
            self.append("add", op, out, x=last, y=term)

    def without(self, op: Any, *arguments: str) -> str:
        """`op` without some arguments; the name of its result."""
        plain = type(op).FromString(op.SerializeToString())
        for argument in arguments:
            plain.inputs.pop(argument, None)
        name = f"{op.outputs[0].name}_plain"
        plain.outputs[0].name = name
        plain.attributes["name"].CopyFrom(package.string_value(name))
        self.made.append(plain)
        return name


_Rule = Callable[[_Graph, Any, Sequence[str]], bool]
"""Writes an operation anew; False where it cannot."""


def _linear(graph: _Graph, op: Any, stuck: Sequence[str]) -> bool:
    """x W^T + b."""
    if set(stuck) - {"weight", "bias"} or graph.rank(op) < 2:
        return False
    weight = op.inputs["weight"].arguments[0].name
    bias = op.inputs["bias"].arguments[0].name if "bias" in op.inputs else None
    out = op.outputs[0].name
    given = graph.append_flag(op, f"{out}_given_x", False)
    turned = graph.append_flag(op, f"{out}_given_y", True)
    product = out if bias is None else f"{out}_product"
    x = op.inputs["x"].arguments[0].name
    graph.append("matmul", op, product, x=x, y=weight, transpose_x=given, transpose_y=turned)
    if bias is not None:
        graph.append("add", op, out, x=product, y=bias)
    return True


def _layer_norm(graph: _Graph, op: Any, stuck: Sequence[str]) -> bool:
    """Over the last axes, which gamma and beta then have in their order."""
    factor, term = graph.array_of(op, "gamma"), graph.array_of(op, "beta")
    axes = _whole_numbers(graph, op, "axes")
    rank = graph.rank(op)
    last = sorted(a % rank for a in axes) if axes and rank else []
    if set(stuck) - {"gamma", "beta"} or last != list(range(rank - len(last), rank)) or not last:
        return False
    kept = {"gamma", "beta"} - set(stuck)
    if any(name in op.inputs for name in kept):
        return False
    graph.affine(op, graph.without(op, "gamma", "beta"), factor, term)
    return True


def _of_channels(factor: str | None, term: str) -> _Rule:
    """One number for each channel, which is the second axis."""

    def rule(graph: _Graph, op: Any, stuck: Sequence[str]) -> bool:
        wanted = [name for name in (factor, term) if name is not None]
        if set(stuck) - set(wanted):
            return False
        arrays = {name: graph.array_of(op, name) for name in wanted}
        if any(name in op.inputs and found is None for name, found in arrays.items()):
            return False
        after = (1,) * (graph.rank(op) - 2)
        for found in arrays.values():
            if found is not None and not graph.reshape(
                found, (graph.arrays[found].port.shape[0], *after)
            ):
                return False
        scale = arrays[factor] if factor is not None else None
        graph.affine(op, graph.without(op, *wanted), scale, arrays[term])
        return True

    return rule


_RULES: dict[str, _Rule] = {
    "linear": _linear,
    "layer_norm": _layer_norm,
    "conv": _of_channels(None, "bias"),
    "conv_transpose": _of_channels(None, "bias"),
    "instance_norm": _of_channels("gamma", "beta"),
}


def _whole_numbers(graph: _Graph, op: Any, argument: str) -> list[int]:
    """Of an argument that is a constant in the program itself."""
    if argument not in op.inputs:
        return []
    name = op.inputs[argument].arguments[0].name
    constant = next((o for o in graph.block.operations if o.outputs[0].name == name), None)
    if constant is None or constant.type != "const":
        return []
    return list(constant.attributes["val"].immediateValue.tensor.ints.values)


def _stored(op: Any) -> bool:
    values = [*op.attributes.values(), *(b.value for a in op.inputs.values() for b in a.arguments)]
    return any(v.WhichOneof("value") == "blobFileValue" for v in values)


def _inner(op: Any) -> bool:
    return len(op.blocks) > 0


def _walk(block: Any) -> Iterator[Any]:
    for op in block.operations:
        yield op
        for inner in op.blocks:
            yield from _walk(inner)


def _rename(op: Any, names: Mapping[str, str]) -> None:
    for argument in op.inputs.values():
        for binding in argument.arguments:
            if binding.WhichOneof("binding") == "name":
                binding.name = names.get(binding.name, binding.name)
    for block in op.blocks:
        for inner in block.operations:
            _rename(inner, names)
        block.outputs[:] = [names.get(n, n) for n in block.outputs]


def _refused(op: Any, why: str) -> LowerError:
    name = op.outputs[0].name if op.outputs else op.type
    return LowerError(f"{op.type} `{name}` {why}")
