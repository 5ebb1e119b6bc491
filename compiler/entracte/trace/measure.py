"""One stage's torch module -> its measured parts, and the torch graph they were measured on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from entracte.errors import ConfigError
from entracte.frontend import fp32_values
from entracte.ir import Cut, DType, Loop, Op, Port, Stage, StageGraph, Weight
from entracte.trace.codes import Coder
from entracte.trace.flops import flops_of, kind_of, shape_of, workspace_elements
from entracte.trace.hoist import Depends, Node, split
from entracte.trace.names import MAIN, variant_graph
from entracte.trace.traced import FunctionRecord, Traced, TraceRecord
from entracte.trace.variants import Identities, identities, needed_ops, same_values, with_variant

if TYPE_CHECKING:
    import torch
    from torch import fx
    from torch.export import ExportedProgram

    from entracte.graphs.spec import Graph

_ALIASES = {"reshape", "view", "unsqueeze", "squeeze", "getitem", "alias"}
_MAX_RANK = 5
COMPRESSED_WIDTH = {
    "none": None,
    "int8": 1.0,
    "palette8": 1.0,
    "palette6": 0.75,
    "palette4": 0.5,
    "int4_block32": 0.5625,
}
"""Bytes per weight element after compression; scales and tables are counted when emitted."""
_COMPRESSED_FROM = 2048
"""Tensors with fewer elements are left alone."""


def trace_stage(
    stage: Stage, graph: "Graph", ports: Mapping[str, Port], loop: Loop | None
) -> Traced:
    """Export and measure a stage.

    Args:
        ports: the declared inputs of the stage, by port name, as their producers make them.
        loop: the loop the stage is in, for hoisting.

    Raises:
        ConfigError: the ports do not suit the graph, or torch.export refuses the module.
    """
    _check_ports(stage, graph, ports)
    programs = {name: export_stage(stage, graph, name) for name in _function_names(stage)}
    record = _record(stage, graph, programs, ports, loop)
    return Traced(stage, record, programs.__getitem__)


def _function_names(stage: Stage) -> list[str]:
    return [MAIN, *(name for name, _ in stage.functions)]


def export_stage(stage: Stage, graph: "Graph", function: str) -> "ExportedProgram":
    """The exported program of a stage's function.

    Raises `ConfigError` if the graph has no such variant, or torch.export refuses the module.
    """
    from entracte.frontend import export_graph

    modules = {MAIN: graph.module, **graph.variants}
    if function not in modules:
        raise ConfigError(
            f"pipeline.stages.{stage.name}.functions: graph {stage.op} has no variant "
            f"{function!r}; it has {', '.join(graph.variants) or 'none'}"
        )
    try:
        return export_graph(modules[function], _examples(graph))
    except ValueError as error:
        raise ConfigError(f"stage {stage.name}: {error}") from error


def _check_ports(stage: Stage, graph: "Graph", ports: Mapping[str, Port]) -> None:
    wanted = {i.name: i for i in graph.inputs}
    if set(wanted) != set(ports):
        raise ConfigError(
            f"pipeline.stages.{stage.name}.inputs: graph {stage.op} wants "
            f"{', '.join(sorted(wanted))}; given {', '.join(sorted(ports))}"
        )
    for name, port in ports.items():
        if port.shape != wanted[name].shape:
            raise ConfigError(
                f"pipeline.stages.{stage.name}.inputs.{name}: graph {stage.op} wants shape "
                f"{wanted[name].shape}, its source gives {port.shape}"
            )


def _examples(graph: "Graph") -> "tuple[torch.Tensor, ...]":
    import torch

    kinds = {"float": torch.float32, "int": torch.int32}
    return tuple(torch.zeros(i.shape, dtype=kinds[i.kind]) for i in graph.inputs)


def _record(
    stage: Stage,
    graph: "Graph",
    programs: "Mapping[str, ExportedProgram]",
    ports: Mapping[str, Port],
    loop: Loop | None,
) -> TraceRecord:
    main = _Measurement(stage, graph, programs[MAIN], ports, loop)
    parts = main.parts()
    measured = [main]
    for name in list(programs)[1:]:
        variant = _Measurement(stage, graph, programs[name], ports, loop, name, main)
        parts = [with_variant(p, variant.variant_of(p, parts)) for p in parts]
        measured.append(variant)
    weights = [pair for m in measured for pair in m.shapes()]
    return TraceRecord(
        parts=tuple(parts),
        outputs=tuple(graph.outputs),
        functions=tuple(m.function() for m in measured),
        key_of=tuple((w, checkpoint_key(w, graph.key_map)) for w in main.weight_of.values()),
        shapes=tuple(dict(weights).items()),
        known_keys=tuple(checkpoint_key(w, graph.key_map) for w in graph.module.state_dict()),
        owns=tuple(graph.owns),
        checkpoint=graph.checkpoint,
        scales=tuple(graph.scales),
    )


class _Measurement:
    """Working state of one function's measurement; it does not leave this module."""

    def __init__(
        self,
        stage: Stage,
        graph: "Graph",
        program: "ExportedProgram",
        ports: Mapping[str, Port],
        loop: Loop | None,
        function: str = MAIN,
        main: "_Measurement | None" = None,
    ) -> None:
        """A variant's values that are `main`'s too get their names."""
        self.name = function
        self.stage, self.graph, self.program = stage, graph, program
        self.ports, self.loop = ports, loop
        self.width = DType(stage.precision).width_bytes
        signature = program.graph_signature
        self.held = _held(program, graph)
        self.weight_of = {
            node: self._weight_name(name)
            for node, name in {
                **signature.inputs_to_parameters,
                **signature.inputs_to_buffers,
                **signature.inputs_to_lifted_tensor_constants,
            }.items()
        }
        self.calls = [n for n in program.graph.nodes if n.op == "call_function"]
        self.input_of = dict(
            zip(signature.user_inputs, (i.name for i in graph.inputs), strict=True)
        )
        self.fp32_nodes = fp32_values(program) if stage.precision == "fp16" else frozenset()
        self.constants = self._constant_nodes()
        self.coder = Coder(self.weight_of, set(self.constants), self.fp32_nodes)
        self.value_of = self._value_names()
        if main is not None:
            self.value_of |= self._names_of_main(main)
        self.ops = [self._op(n) for n in self.calls if n.name not in self.constants]

    def _weight_name(self, name: str) -> str:
        """Variants have the same weights, but tables of their own."""
        return f"{name}@{self.name}" if self.name != MAIN and name in self.held else name

    def identities(self) -> Identities:
        """What tells this function's values from others', by node."""
        inner = [n for n in self.calls if n.name not in self.constants]
        return identities(inner, self.input_of, self.coder, self._spelled)

    def _spelled(self, weight: str) -> str:
        """A weight by its name, a table by its value too."""
        return f"{weight.partition('@')[0]} {self._digest_of(weight)}"

    def _names_of_main(self, main: "_Measurement") -> dict[str, str]:
        """Node -> value name: `main`'s where both compute the same value, one apart elsewhere."""
        apart = {n.name: f"{n.name}@{self.name}" for n in self.calls}
        return apart | same_values(self.identities(), main.identities(), main.value_of)

    def _value_names(self) -> dict[str, str]:
        returned = list(self.program.graph_signature.user_outputs)
        if len(returned) != len(self.graph.outputs) or len(set(returned)) != len(returned):
            raise ConfigError(
                f"stage {self.stage.name}: graph {self.stage.op} names outputs "
                f"{self.graph.outputs} but returns {len(set(returned))} distinct values"
            )
        names = {n.name: n.name for n in self.calls}
        names |= self.input_of
        taken = set(names.values())
        for node, port in zip(returned, self.graph.outputs, strict=True):
            if node in self.input_of or (port in taken and port != node):
                raise ConfigError(
                    f"stage {self.stage.name}: output {port!r} of graph {self.stage.op} is an "
                    "input, or has the name of one; give it a name of its own"
                )
            names[node] = port
        return names

    def _constant_nodes(self) -> dict[str, None]:
        """Nodes that depend on no input, in graph order."""
        found: dict[str, None] = {}
        for node in self.calls:
            if all(s.name in self.weight_of or s.name in found for s in node.all_input_nodes):
                found[node.name] = None
        return found

    def _op(self, node: "fx.Node") -> Op:
        sources = node.all_input_nodes
        values = tuple(
            self.value_of[s.name]
            for s in sources
            if s.name in self.value_of and s.name not in self.constants
        )
        code = self.coder.code(node)
        kind = kind_of(node)
        return Op(
            name=self.value_of[node.name],
            kind=kind,
            inputs=values,
            weights=code.weights,
            flops=flops_of(node),
            output_bytes=self._bytes(node),
            workspace_bytes=workspace_elements(node) * self.width,
            alias=kind in _ALIASES,
            code=code.digest,
            folded=code.folded,
        )

    def _bytes(self, node: "fx.Node") -> int:
        import torch

        value = node.meta.get("val")
        tensors = value if isinstance(value, tuple | list) else (value,)
        total = 0
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor):
                floating = tensor.dtype.is_floating_point
                wide = not floating or node.name in self.fp32_nodes
                total += tensor.numel() * (4 if wide else self.width)
        return total

    def parts(self) -> list[StageGraph]:
        """The stage's parts: what runs once, what runs for all rows, what runs in the loop."""
        place = self._places()
        names = {
            "once": f"{self.stage.name}.once",
            "schedule": f"{self.stage.name}.schedule",
            "body": self.stage.name,
        }
        parts = []
        for part, name in names.items():
            ops = tuple(o for o in self.ops if place[o.name] == part)
            if ops:
                parts.append(self._part(name, part, ops))
        return parts

    def variant_of(self, part: StageGraph, parts: Sequence[StageGraph]) -> StageGraph | None:
        """This function's form of a part; only what is in the loop has one."""
        if part.part != "body":
            return None
        given = {v.name for p in parts if p is not part for v in p.outputs}
        ops = needed_ops(self.ops, set(self.graph.outputs), given)
        return self._part(variant_graph(part.name, self.name), "body", ops)

    def function(self) -> FunctionRecord:
        held = [(self._weight_name(name), name) for name in sorted(self.held)]
        return FunctionRecord(
            name=self.name,
            node_of=tuple(self._node_name.items()),
            constant_nodes=tuple(self.constants),
            fp32_nodes=tuple(sorted(self.fp32_nodes)),
            held=tuple(held),
        )

    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        return [
            (self.weight_of[n.name], shape_of(n))
            for n in self.program.graph.nodes
            if n.name in self.weight_of
        ]

    def _places(self) -> dict[str, str]:
        if self.loop is None:
            return {o.name: "body" for o in self.ops}
        sizes = {w.name: w.size_bytes for w in self._all_weights(self.ops)}
        nodes = [
            Node(o.name, o.inputs, o.output_bytes, sum(sizes[w] for w in o.weights), o.flops)
            for o in self.ops
        ]
        declared = dict(self.stage.inputs)
        inputs = {
            p: (self._depends(declared[p]), port.size_bytes) for p, port in self.ports.items()
        }
        return split(nodes, inputs, self.loop.count)

    def _depends(self, value: str) -> Depends:
        assert self.loop is not None
        owner, _, name = value.partition(".")
        if owner in self.loop.stages:
            return Depends.STATE
        if owner != self.loop.name:
            return Depends.NOTHING
        return Depends.SCAN if name in dict(self.loop.scan) else Depends.STATE

    def _part(self, name: str, part: str, ops: tuple[Op, ...]) -> StageGraph:
        made = {o.name for o in ops}
        read = dict.fromkeys(i for o in ops for i in o.inputs if i not in made)
        inputs = tuple(self.ports.get(i) or self._port(i) for i in read)
        elsewhere = {i for o in self.ops if o.name not in made for i in o.inputs}
        final = set(self.graph.outputs)
        outputs = tuple(self._port(o.name) for o in ops if o.name in final or o.name in elsewhere)
        crossable = tuple(self._port(o.name) for o in ops if self._can_cross(o.name))
        graph = StageGraph(
            name=name,
            stage=self.stage.name,
            part=part,
            inputs=inputs,
            outputs=outputs,
            ops=ops,
            values=crossable,
            weights=self._all_weights(ops),
            cuts=_cuts(ops, {p.name: p for p in crossable}, {p.name for p in outputs}),
            digest="",
        )
        return replace(graph, digest=_digest(graph))

    def _can_cross(self, value: str) -> bool:
        import torch

        tensor = self._tensors[value]
        if not isinstance(tensor, torch.Tensor) or not 1 <= tensor.dim() <= _MAX_RANK:
            return False
        return tensor.dtype in {torch.float32, torch.float16, torch.int32, torch.int64}

    @cached_property
    def _node_name(self) -> dict[str, str]:
        return {value: node for node, value in self.value_of.items()}

    @cached_property
    def _tensors(self) -> "dict[str, object]":
        return {
            self.value_of[n.name]: n.meta.get("val")
            for n in self.program.graph.nodes
            if n.name in self.value_of
        }

    def _port(self, value: str) -> Port:
        import torch

        tensor = self._tensors[value]
        if not isinstance(tensor, torch.Tensor) or tensor.dim() > _MAX_RANK:
            raise ConfigError(
                f"stage {self.stage.name}: {value} must leave a package but is not a tensor of "
                f"rank 1 to {_MAX_RANK}"
            )
        floating = tensor.dtype.is_floating_point
        dtype = DType(self.stage.precision) if floating else DType.INT32
        if floating and self._node_name[value] in self.fp32_nodes:
            dtype = DType.FP32
        return Port(value, tuple(int(d) for d in tensor.shape), dtype)

    def _all_weights(self, ops: Sequence[Op]) -> tuple[Weight, ...]:
        shapes = {
            self.weight_of[n.name]: shape_of(n)
            for n in self.program.graph.nodes
            if n.name in self.weight_of
        }
        used = sorted({w for o in ops for w in o.weights})
        return tuple(
            Weight(w, shapes[w], self._weight_bytes(shapes[w]), self._digest_of(w)) for w in used
        )

    def _digest_of(self, weight: str) -> str:
        return self.held.get(weight.partition("@")[0], "")

    def _weight_bytes(self, shape: tuple[int, ...]) -> int:
        elements = prod(shape)
        small = elements < _COMPRESSED_FROM or len(shape) < 2
        packed = COMPRESSED_WIDTH[self.stage.compression]
        if packed is None or small:
            return elements * self.width
        return int(elements * packed)


def _held(program: "ExportedProgram", graph: "Graph") -> dict[str, str]:
    """Digests of the tables and literals that no checkpoint holds: they are the module's own."""
    from entracte.frontend import constants_of

    persistent = set(graph.module.state_dict())
    held = {k: v for k, v in constants_of(program).items() if k not in persistent}
    return {k: _tensor_digest(v) for k, v in held.items()}


def _tensor_digest(tensor: "torch.Tensor") -> str:
    spelled = f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
    return hashlib.sha256(spelled + tensor.contiguous().numpy().tobytes()).hexdigest()


def _cuts(ops: Sequence[Op], ports: Mapping[str, Port], final: set[str]) -> tuple[Cut, ...]:
    """Every position whose whole frontier may cross: tensors of rank 1 to 5, no tuples."""
    last = {}
    for i, op in enumerate(ops):
        for name in op.inputs:
            last[name] = i
    made_at = {op.name: i for i, op in enumerate(ops)}
    cuts = []
    alive: dict[str, int] = {}
    for position in range(1, len(ops)):
        op = ops[position - 1]
        alive[op.name] = made_at[op.name]
        alive = {n: i for n, i in alive.items() if last.get(n, -1) >= position}
        names = tuple(sorted(alive, key=lambda n: made_at[n]))
        if names and all(n in ports for n in names):
            cuts.append(Cut(position, names, sum(ports[n].size_bytes for n in names)))
    return tuple(cuts)


def checkpoint_key(name: str, key_map: Sequence[tuple[str, str]]) -> str:
    """A module's weight name as the checkpoint spells it: the longest matching prefix wins."""
    for prefix, replacement in sorted(key_map, key=lambda pair: -len(pair[0])):
        if name.startswith(prefix):
            return replacement + name[len(prefix) :]
    return name


def _digest(graph: StageGraph) -> str:
    text = json.dumps(asdict(graph), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
