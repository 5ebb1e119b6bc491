"""A model's nodes become steps of a module; what depends on no input is computed here and now.

Every node runs once on fake tensors, which have shapes and no numbers: so sizes are known before
memory is taken, and what is refused is refused with the name of its node.
"""

from __future__ import annotations

import hashlib
from collections import ChainMap
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from entracte.graphs.onnx.control import CONTROL
from entracte.graphs.onnx.faults import OnnxFault, shown
from entracte.graphs.onnx.module import Step
from entracte.graphs.onnx.node import MOST_AXES, Compute, Names, Node, Value, decoded
from entracte.graphs.onnx.numbers import normal, tensor_of, type_name
from entracte.graphs.onnx.table import OPERATORS

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, NodeProto
    from onnx.defs import OpSchema

__all__ = ["Assembly"]

OPSETS = range(7, 25)
"""Of the default domain: those whose rules the rows know."""
_MOST_BYTES = 1 << 32
"""Of any value."""
_FOLDED_BYTES, _FOLDED_TIMES = 1 << 30, 8
"""All constants that are computed have at most so many bytes, and so many times those of the
constants that the file holds: codes of 8 bits become fp32, matrices are transposed."""
_MOST_STEPS = 100_000
_MOST_LOOKED_AT = 200_000
"""Nodes, each as often as it is written out."""
_INT32 = (-(1 << 31), (1 << 31) - 1)


class Assembly:
    """Nodes that were looked at: the steps that are left, and the constants that they read."""

    def __init__(self, path: Path, opset: int) -> None:
        self.path, self.opset = path, opset
        self.steps: list[Step] = []
        self.values: dict[int, Value] = {}
        self.read = hashlib.sha256()
        """Of the constants that became part of what steps compute."""
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._keys = count()
        self._left_bytes, self._looked_at = _FOLDED_BYTES, 0
        self._fakes: dict[int, Tensor] = {}

    # ------------------------------------------------------------ values

    def given(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Value:
        """An input of the module."""
        with self._fake:
            return self._new(name, torch.empty(shape, dtype=dtype), is_constant=False)

    def known(self, name: str, tensor: Tensor, kind: str = "") -> Value:
        """A constant."""
        return self._new(name, tensor, is_constant=True, kind=kind)

    def _new(self, name: str, tensor: Tensor, *, is_constant: bool, kind: str = "") -> Value:
        value = Value(name, tensor, is_constant, next(self._keys), kind)
        self.values[value.key] = value
        return value

    def _faked(self, value: Value) -> Tensor:
        if not value.is_constant:
            return value.tensor
        if value.key not in self._fakes:
            self._fakes[value.key] = self._fake.from_tensor(value.tensor)
        return self._fakes[value.key]

    # ------------------------------------------------------------ graphs

    def run(self, graph: GraphProto, outer: Names, given: Names) -> dict[str, Value]:
        """All values that a graph's names stand for after its nodes.

        Args:
            outer: those around it, which it may read.
            given: its own inputs.
        """
        names = dict(given)
        for proto in graph.initializer:
            if proto.name not in given:
                value = self.known(
                    proto.name, tensor_of(proto, self.path), type_name(proto.data_type)
                )
                self._name(names, proto.name, value)
                self._left_bytes += _FOLDED_TIMES * value.tensor.nbytes
        if graph.sparse_initializer:
            raise OnnxFault(f"{self.path}: holds sparse tensors, which are not read; save it dense")
        for index, proto in enumerate(graph.node):
            place = self._place(proto, index)
            read = {n: v for n in proto.input if n for v in [names.get(n) or outer.get(n)] if v}
            missing = [n for n in proto.input if n and n not in read]
            if missing:
                raise OnnxFault(
                    f"{place}: reads {shown(missing[0])!r}, which nothing before it makes: the "
                    "model has a circle, its nodes are out of order, or an input is missing"
                )
            values = tuple(read.get(n) for n in proto.input)
            made = self._node(proto, place, values, ChainMap(names, outer))
            for name, value in zip(proto.output, made, strict=False):
                if name:
                    self._name(names, name, value)
            unmade = [n for n in proto.output[len(made) :] if n]
            if unmade:
                raise OnnxFault(f"{place}: its output {shown(unmade[0])!r} is not carried out")
        return names

    def _name(self, names: dict[str, Value], name: str, value: Value) -> None:
        if name in names:
            raise OnnxFault(f"{self.path}: two values are called {shown(name)!r}")
        names[name] = value

    def _place(self, proto: NodeProto, index: int) -> str:
        name = f" {shown(proto.name)!r}" if proto.name else f" {index}"
        domain = f"{shown(proto.domain)}." if proto.domain not in ("", "ai.onnx") else ""
        return f"{self.path}: node{name} ({domain}{shown(proto.op_type)})"

    def results(self, graph: GraphProto, names: Names, outer: Names) -> list[Value]:
        """The values that a graph's outputs name."""
        found = []
        for output in graph.output:
            value = names.get(output.name) or outer.get(output.name)
            if value is None:
                raise OnnxFault(f"{self.path}: nothing makes the output {shown(output.name)!r}")
            found.append(value)
        return found

    # ------------------------------------------------------------ nodes

    def _node(
        self, proto: NodeProto, place: str, values: tuple[Value | None, ...], around: Names
    ) -> Sequence[Value]:
        self._looked_at += 1
        if self._looked_at > _MOST_LOOKED_AT:
            raise OnnxFault(f"{place}: with its loops written out there is too much to do")
        node = self._seen(proto, place, values)
        if proto.op_type in CONTROL:
            return CONTROL[proto.op_type](self, node, around)
        try:
            compute = OPERATORS[proto.op_type](node)
        except OnnxFault:
            raise
        except (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError) as error:
            node.fail(_first_line(error))
        node.check_all_used()
        for index in sorted(node.constants):
            if node.is_constant(index):
                self.read.update(node.value(index).tensor.contiguous().numpy().tobytes())
        return self.computed(node, compute)

    def _seen(self, proto: NodeProto, place: str, values: tuple[Value | None, ...]) -> Node:
        from onnx import defs

        if proto.domain not in ("", "ai.onnx"):
            raise OnnxFault(
                f"{place}: operators of the domain {shown(proto.domain)!r} are not carried out; "
                "export the model without that runtime's fusions (an optimisation level that "
                "keeps to ai.onnx)"
            )
        if proto.op_type not in {*OPERATORS, *CONTROL}:
            raise OnnxFault(
                f"{place}: the operator is not carried out; docs/onnx-stages.md lists those that "
                "are"
            )
        try:
            schema = defs.get_schema(proto.op_type, self.opset, "")
        except defs.SchemaError:
            raise OnnxFault(f"{place}: opset {self.opset} has no such operator") from None
        if not schema.min_input <= len(values) <= schema.max_input:
            raise OnnxFault(f"{place}: has {len(values)} inputs")
        attributes = {a.name: self._attribute(a, place, schema) for a in proto.attribute}
        return Node(proto, schema, self.opset, place, values, attributes)

    def _attribute(self, proto: AttributeProto, place: str, schema: OpSchema) -> Any:
        from onnx import AttributeProto as Kinds
        from onnx import helper

        known: Any = schema.attributes.get(proto.name)
        name = shown(proto.name)
        if proto.ref_attr_name:
            raise OnnxFault(f"{place}: the attribute {name!r} refers to a function's")
        if known is not None and known.type.value != proto.type:
            raise OnnxFault(f"{place}: the attribute {name!r} is of another type than {known.type}")
        if proto.type == Kinds.TENSOR:
            return tensor_of(proto.t, self.path)
        if proto.type == Kinds.GRAPH:
            return proto.g
        try:
            return decoded(helper.get_attribute_value(proto))
        except ValueError:
            raise OnnxFault(f"{place}: the attribute {name!r} has no value") from None

    def computed(self, node: Node, compute: Compute) -> Sequence[Value]:
        """The node as a step, or its result if that is a constant."""
        kept = [None if i in node.constants else v for i, v in enumerate(node.values)]
        is_constant = all(v is None or v.is_constant for v in kept)
        fakes = self._tried(node, compute, kept, is_constant)
        if is_constant:
            return self._folded(node, compute, kept, fakes)
        names = node.proto.output
        made = [self._new(n, t, is_constant=False) for n, t in zip(names, fakes, strict=False)]
        inputs = tuple(None if v is None else v.key for v in kept)
        self._add(Step(_step_name(node), compute, inputs, tuple(v.key for v in made)))
        return made

    def _add(self, step: Step) -> None:
        if len(self.steps) == _MOST_STEPS:
            raise OnnxFault(f"{self.path}: becomes more than {_MOST_STEPS} operations")
        self.steps.append(step)

    def _tried(
        self, node: Node, compute: Compute, kept: Sequence[Value | None], is_constant: bool
    ) -> list[Tensor]:
        """Shapes and types of what a node makes."""
        inputs = [None if v is None else self._faked(v) for v in kept]
        try:
            with self._fake, torch.no_grad():
                made = _listed(compute(*inputs))
        except (DataDependentOutputException, DynamicOutputShapeException):
            if is_constant:
                return []
            node.fail("the size of what it makes depends on values; sizes must be known")
        except OnnxFault:
            raise
        except Exception as error:
            node.fail(f"does not suit its inputs {_shapes(inputs)}: {_first_line(error)}")
        for tensor in made:
            if tensor.dim() > MOST_AXES:
                node.fail(f"would make a tensor of {tensor.dim()} axes, at most {MOST_AXES} are")
            if tensor.numel() * tensor.element_size() > _MOST_BYTES:
                node.fail(f"would make a tensor of {tuple(tensor.shape)}")
        return made

    def _folded(
        self,
        node: Node,
        compute: Compute,
        kept: Sequence[Value | None],
        fakes: Sequence[Tensor],
    ) -> Sequence[Value]:
        self._left_bytes -= sum(t.numel() * t.element_size() for t in fakes)
        if self._left_bytes < 0:
            node.fail("constants that are computed take too many bytes")
        try:
            with torch.no_grad():
                made = _listed(compute(*(None if v is None else v.tensor for v in kept)))
        except Exception as error:  # indices out of range, say
            node.fail(f"cannot be computed from constants: {_first_line(error)}")
        names = node.proto.output
        return [self.known(n, normal(t), _kind(node)) for n, t in zip(names, made, strict=False)]

    # ------------------------------------------------------------ results

    def needed(self, outputs: Sequence[Value]) -> tuple[list[Step], dict[int, tuple[str, Tensor]]]:
        """The steps that these outputs depend on, and the constants that those read."""
        wanted = {v.key for v in outputs}
        kept = []
        for step in reversed(self.steps):
            if wanted & set(step.outputs):
                kept.append(step)
                wanted |= {key for key in step.inputs if key is not None}
        constants = {}
        for key in sorted(wanted):
            value = self.values[key]
            if value.is_constant:
                constants[key] = (value.name or "constant", self._checked(value))
        return kept[::-1], constants

    def _checked(self, value: Value) -> Tensor:
        tensor = value.tensor
        if tensor.is_floating_point() and bool((tensor == torch.inf).any()):
            raise OnnxFault(
                f"{self.path}: the constant {shown(value.name)!r} holds infinity; the file is "
                "damaged, or was saved in fp16 after an overflow"
            )
        if tensor.dtype is torch.int64 and tensor.numel():
            least, most = int(tensor.min()), int(tensor.max())
            if least < _INT32[0] or most > _INT32[1]:
                raise OnnxFault(
                    f"{self.path}: the constant {shown(value.name)!r} holds {least} to {most}; "
                    "whole numbers have 32 bits on the device"
                )
        return tensor


def _kind(node: Node) -> str:
    """The stored type of what a constant, or a copy of one, gives."""
    if node.proto.op_type == "Constant":
        stored = [a.t.data_type for a in node.proto.attribute if a.name == "value"]
        return type_name(stored[0]) if stored else ""
    if node.proto.op_type == "Identity" and node.values[0] is not None:
        return node.values[0].kind
    return ""


def _listed(made: Any) -> list[Tensor]:
    tensors = list(made) if isinstance(made, tuple | list) else [made]
    return [normal(t) for t in tensors]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _shapes(inputs: Sequence[Tensor | None]) -> str:
    return ", ".join("none" if t is None else str(tuple(t.shape)) for t in inputs)


def _step_name(node: Node) -> str:
    return "_".join(n for n in (node.proto.op_type, shown(node.proto.name)) if n)
