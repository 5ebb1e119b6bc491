"""One stage's torch module -> its measured parts, and the torch graph they were measured on."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from compiler.errors import ConfigError
from compiler.frontend import fp32_values
from compiler.ir import Chunk, Cut, DType, Loop, Op, Port, Stage, StageGraph, Weight
from compiler.trace.codes import Coder
from compiler.trace.flops import flops_of, kind_of, shape_of, workspace_elements
from compiler.trace.hoist import Depends, Node, split

if TYPE_CHECKING:
    import torch
    from torch import fx
    from torch.export import ExportedProgram

    from graphs.spec import Graph

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRecord:
    """All that is known of a traced stage, without torch: what the cache keeps."""

    parts: tuple[StageGraph, ...]
    outputs: tuple[str, ...]
    node_of: tuple[tuple[str, str], ...]
    constant_nodes: tuple[str, ...]
    """Nodes that read weights only, in graph order: they are folded into whoever reads them."""
    key_of: tuple[tuple[str, str], ...]
    """Weight name in the module -> key in the checkpoint."""
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    held: tuple[str, ...]
    """Weights whose values the module itself holds: tables and literals."""
    known_keys: tuple[str, ...]
    """Keys of everything the module has, used or not."""
    owns: tuple[str, ...]
    """Prefixes of the checkpoint's keys that the stage reads completely."""
    fp32_nodes: tuple[str, ...]
    """Nodes whose values fp16 cannot carry: the inside of RMS norms, arguments of sines."""
    checkpoint: str | None
    scales: tuple[tuple[str, float], ...]
    """(suffix of a weight's name, factor on the checkpoint's value)"""


@dataclass(frozen=True)
class Traced:
    """A compiled stage: what was measured, and how to get the torch program it was measured on.

    The program is exported again only where a chunk must be converted: a stage read from the cache
    never imports torch.
    """

    stage: Stage
    record: TraceRecord
    export: "Callable[[], ExportedProgram]" = field(repr=False, compare=False)

    @property
    def parts(self) -> tuple[StageGraph, ...]:
        return self.record.parts

    @cached_property
    def program(self) -> "ExportedProgram":
        return self.export()

    @cached_property
    def node_of(self) -> Mapping[str, str]:
        """Value name -> node name; they differ for outputs, which carry their port's name."""
        return dict(self.record.node_of)

    @cached_property
    def key_of(self) -> Mapping[str, str]:
        """Weight name in the module -> key in the checkpoint."""
        return dict(self.record.key_of)

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Weight name in the module -> its shape."""
        return dict(self.record.shapes)

    @cached_property
    def held(self) -> frozenset[str]:
        """Weights whose values the module itself holds."""
        return frozenset(self.record.held)

    @property
    def fp32_nodes(self) -> frozenset[str]:
        return frozenset(self.record.fp32_nodes)

    def part(self, name: str) -> StageGraph:
        return next(p for p in self.parts if p.name == name)

    def chunk_nodes(self, chunk: Chunk) -> list[str]:
        """Names of the nodes that make up a chunk, in graph order."""
        own = {self.node_of[o.name] for o in self.part(chunk.graph).ops[chunk.start : chunk.stop]}
        nodes = list(self.program.graph.nodes)
        constant = set(self.record.constant_nodes)
        needed = set(own)
        for node in reversed(nodes):
            if node.name in needed:
                needed |= {n.name for n in node.all_input_nodes if n.name in constant}
        return [n.name for n in nodes if n.name in needed]


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
    program = export_stage(stage, graph)
    record = _Measurement(stage, graph, program, ports, loop).record()
    return Traced(stage, record, lambda: program)


def export_stage(stage: Stage, graph: "Graph") -> "ExportedProgram":
    """The stage's exported program. Raises `ConfigError` if torch.export refuses the module."""
    from compiler.frontend import export_graph

    try:
        return export_graph(graph.module, _examples(graph))
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


class _Measurement:
    """Working state of one stage's measurement; it does not leave this module."""

    def __init__(
        self,
        stage: Stage,
        graph: "Graph",
        program: "ExportedProgram",
        ports: Mapping[str, Port],
        loop: Loop | None,
    ) -> None:
        self.stage, self.graph, self.program = stage, graph, program
        self.ports, self.loop = ports, loop
        self.width = DType(stage.precision).width_bytes
        signature = program.graph_signature
        self.weight_of = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self.calls = [n for n in program.graph.nodes if n.op == "call_function"]
        self.input_of = dict(
            zip(signature.user_inputs, (i.name for i in graph.inputs), strict=True)
        )
        self.value_of = self._value_names()
        self.fp32_nodes = fp32_values(program) if stage.precision == "fp16" else frozenset()
        self.constants = self._constant_nodes()
        self.held = _held(program, graph)
        self.coder = Coder(self.weight_of, set(self.constants), self.fp32_nodes)
        self.ops = [self._op(n) for n in self.calls if n.name not in self.constants]

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

    def record(self) -> TraceRecord:
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
        return TraceRecord(
            parts=tuple(parts),
            outputs=tuple(self.graph.outputs),
            node_of=tuple(self._node_name.items()),
            constant_nodes=tuple(self.constants),
            key_of=tuple(
                (w, checkpoint_key(w, self.graph.key_map)) for w in self.weight_of.values()
            ),
            shapes=tuple(
                (self.weight_of[n.name], shape_of(n))
                for n in self.program.graph.nodes
                if n.name in self.weight_of
            ),
            held=tuple(sorted(self.held)),
            known_keys=tuple(
                checkpoint_key(w, self.graph.key_map) for w in self.graph.module.state_dict()
            ),
            owns=tuple(self.graph.owns),
            fp32_nodes=tuple(sorted(self.fp32_nodes)),
            checkpoint=self.graph.checkpoint,
            scales=tuple(self.graph.scales),
        )

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
            Weight(w, shapes[w], self._weight_bytes(shapes[w]), self.held.get(w, "")) for w in used
        )

    def _weight_bytes(self, shape: tuple[int, ...]) -> int:
        elements = prod(shape)
        small = elements < _COMPRESSED_FROM or len(shape) < 2
        packed = COMPRESSED_WIDTH[self.stage.compression]
        if packed is None or small:
            return elements * self.width
        return int(elements * packed)


def _held(program: "ExportedProgram", graph: "Graph") -> dict[str, str]:
    """Digests of the tables and literals that no checkpoint holds: they are the module's own."""
    from compiler.frontend import constants_of

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
