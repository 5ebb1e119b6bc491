"""One stage's torch module -> its measured parts, and the torch graph they were measured on."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from entracte.declare.scheme import weight_bytes
from entracte.errors import ConfigError
from entracte.frontend.backend import Backend
from entracte.ir import DType, Loop, Op, Port, Stage, StageGraph, Weight
from entracte.trace.cuts import cuts_of
from entracte.trace.exported import (
    Exported,
    export_stage,
    exported_of,
    names_beside,
    value_names,
)
from entracte.trace.flops import (
    flops_of,
    kind_of,
    opening_elements,
    reread_elements,
    workspace_elements,
)
from entracte.trace.names import MAIN, variant_graph
from entracte.trace.numbers import module_state, ties
from entracte.trace.own import check_numbers, own_numbers
from entracte.trace.places import Wired, places_of
from entracte.trace.stores import Types, memory_of, order_of
from entracte.trace.traced import FunctionRecord, Traced, TraceRecord
from entracte.trace.variants import needed_ops, with_variant

if TYPE_CHECKING:
    from torch import fx
    from torch.export import ExportedProgram

    from entracte.graphs.spec import Graph

__all__ = ["checkpoint_key", "trace_stage"]


def trace_stage(  # noqa: PLR0913
    stage: Stage,
    graph: "Graph",
    ports: Mapping[str, Port],
    loop: Loop | None,
    backend: Backend,
    pinned: Collection[str] = (),
    export: Callable[[str], "ExportedProgram"] | None = None,
) -> Traced:
    """Export and measure a stage.

    Args:
        ports: the declared inputs of the stage, by port name, as their producers make them.
        loop: the loop the stage is in, for hoisting.
        backend: what it is traced for; its chunks are converted for the same.
        pinned: outputs that every iteration of the loop makes.
        export: function -> its program, where somebody keeps them; nothing here changes one.

    Raises:
        ConfigError: the ports do not suit the graph, or torch.export refuses the module.
    """
    _check_ports(stage, graph, ports, backend)
    subject = _Subject(
        stage=stage, ports=ports, loop=loop, backend=backend, pinned=frozenset(pinned), graph=graph
    )
    functions = (MAIN, *(name for name, _ in stage.functions))
    make = export or (lambda name: export_stage(stage, graph, name, backend))
    programs = {name: make(name) for name in functions}
    exported = [
        exported_of(stage, graph, program, name, backend) for name, program in programs.items()
    ]
    check_numbers(stage, graph, exported)
    return Traced(
        stage,
        _record(subject, exported),
        backend,
        programs.__getitem__,
        lambda: module_state(graph.module),
    )


def _check_ports(stage: Stage, graph: "Graph", ports: Mapping[str, Port], backend: Backend) -> None:
    wanted, where = {i.name: i for i in graph.inputs}, f"pipeline.stages.{stage.name}.inputs"
    if set(wanted) != set(ports):
        raise ConfigError(
            f"{where}: graph {stage.op} wants {', '.join(sorted(wanted))}; given "
            f"{', '.join(sorted(ports)) or 'none'}"
        )
    for name, port in ports.items():
        source, given = dict(stage.inputs).get(name, port.name), wanted[name]
        if len(port.shape) > backend.max_rank:
            raise ConfigError(
                f"{where}.{name}: {source} has shape {port.shape}; packages take tensors of rank 1 "
                f"to {backend.max_rank}"
            )
        if port.shape != given.shape:
            slices = _slices_wanted(stage, name, port.shape, given.shape)
            raise ConfigError(
                f"{where}.{name}: graph {stage.op} wants shape {given.shape}, its source {source} "
                f"gives {port.shape}{slices}"
            )
        if (port.dtype is DType.INT32) != (given.kind == "int"):
            raise ConfigError(
                f"{where}.{name}: graph {stage.op} wants {_NUMBERS[given.kind]}, its source "
                f"{source} gives {port.dtype}; {_REMEDY[given.kind]}"
            )


def _slices_wanted(stage: Stage, name: str, given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What of a map would make the shapes the same."""
    if stage.map is None or name not in stage.map.ports or len(given) != len(wanted):
        return ""
    axes = [cut.axis for cut in stage.map.slices]
    if any(a != b and i not in axes for i, (a, b) in enumerate(zip(given, wanted, strict=True))):
        return ""
    return f" in each slice; give map.size={', '.join(str(wanted[axis]) for axis in axes)}"


_NUMBERS = {"int": "int32", "float": "fp16 or fp32"}
_REMEDY = {
    "int": "declare the input as `float`, or give ids or a count",
    "float": "declare the input as `int`, and convert it in `forward`",
}


@dataclass(frozen=True, kw_only=True)
class _Subject(Wired):
    """A stage to be measured."""

    graph: "Graph"


def _record(subject: _Subject, exported: Sequence[Exported]) -> TraceRecord:
    graph, (first, *others) = subject.graph, exported
    main = _Measurement(subject, first, value_names(subject.stage, graph, first))
    variants = [_beside(subject, other, main) for other in others]
    parts = main.parts()
    for variant in variants:
        parts = [with_variant(p, variant.variant_of(p, parts)) for p in parts]
    _check_rests(subject.stage, parts)
    shapes = {name: shape for e in exported for name, shape in e.shapes.items()}
    used = frozenset[str]().union(*(e.used for e in exported))
    read = [w for w in first.weight_of.values() if w in used]
    return TraceRecord(
        parts=tuple(parts),
        outputs=tuple(graph.outputs),
        functions=tuple(m.function() for m in (main, *variants)),
        key_of=tuple((w, checkpoint_key(w, graph.key_map)) for w in read),
        shapes=tuple(shapes.items()),
        known_keys=tuple(checkpoint_key(w, graph.key_map) for w in _names(graph)),
        owns=tuple(graph.owns),
        checkpoint=graph.checkpoint,
        scales=tuple(graph.scales),
        own=tuple(own_numbers(subject.stage, graph, used).items()),
        whole=tuple(sorted(used & frozenset[str]().union(*(e.whole for e in exported)))),
        buffers=tuple(sorted(used & dict(graph.module.named_buffers()).keys())),
        ties=_tied_keys(graph, read),
        compression=subject.stage.compression,
    )


def _check_rests(stage: Stage, parts: Sequence[StageGraph]) -> None:
    """What rests can be cut out of what is in the loop, in all functions."""
    if stage.reuse is None:
        return
    where = f"pipeline.stages.{stage.name}.reuse"
    part = next((p for p in parts if p.rests is not None), None)
    if part is None or part.rests is None:
        raise ConfigError(
            f"{where}: nothing of these blocks depends on the loop's state, so they run before it; "
            "leave `reuse` out"
        )
    places = {0, len(part.ops), *(c.position for c in part.cuts)}
    if not places.issuperset(part.rests):
        raise ConfigError(
            f"{where}: what stands between blocks there cannot leave a package; give another "
            "`first` or `last`"
        )


def _names(graph: "Graph") -> dict[str, None]:
    """Of all that a file of the module may hold: also of tables, which older files have."""
    return dict.fromkeys((*graph.module.state_dict(), *module_state(graph.module)))


def _tied_keys(graph: "Graph", names: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Weight -> keys of the other names that the module has for it."""
    others = {
        name: [o for o in group if o != name] for group in ties(graph.module) for name in group
    }
    return tuple(
        (name, tuple(checkpoint_key(other, graph.key_map) for other in others[name]))
        for name in names
        if name in others
    )


def _beside(subject: _Subject, variant: Exported, main: "_Measurement") -> "_Measurement":
    """A variant's measurement: values that are `main`'s too get their names, but what it hands out
    has its port's, and nothing else has."""
    own, ports = value_names(subject.stage, subject.graph, variant), set(subject.graph.outputs)
    outputs = {node: name for node, name in own.items() if name in ports}
    shared = names_beside(variant, main.exported, main.value_of)
    inner = {n: f"{n}@{variant.name}" if name in ports else name for n, name in shared.items()}
    return _Measurement(subject, variant, own | inner | outputs)


@dataclass(frozen=True)
class _Measurement:
    """One function's operations, counted; it does not leave this module."""

    subject: _Subject
    exported: Exported
    value_of: Mapping[str, str]
    """Node -> name of its value."""

    @cached_property
    def ops(self) -> tuple[Op, ...]:
        return tuple(self._op(node) for node in self.exported.computed)

    @property
    def _width_bytes(self) -> int:
        return DType(self.subject.stage.precision).width_bytes

    @cached_property
    def _types(self) -> Types:
        subject = self.subject
        return Types.of(self.exported, subject.stage, subject.ports, subject.backend, self.value_of)

    def _op(self, node: "fx.Node") -> Op:
        backend, precision = self.subject.backend, self.subject.stage.precision
        known = [s.name for s in node.all_input_nodes if s.name in self.value_of]
        code = self.exported.coder.code(node)
        kind = kind_of(node)
        return Op(
            name=self.value_of[node.name],
            kind=kind,
            inputs=tuple(self.value_of[n] for n in known if n not in self.exported.constants),
            weights=code.weights,
            flops=flops_of(node),
            output_bytes=self._types.output_bytes(node),
            workspace_bytes=workspace_elements(node, backend, precision) * self._width_bytes
            + self._types.unfolded_bytes(node),
            alias=kind in backend.aliases,
            code=code.digest,
            # Whole numbers are part of the program: no marker stands for an index.
            folded=(*code.folded, *(w for w in code.weights if w in self.exported.whole)),
            memory=memory_of(node, backend.sharing),
            order=order_of(node, backend.sharing),
            casts=self._types.casts(node),
            unrounded_bytes=self._types.unrounded_bytes(node),
            opening_bytes=opening_elements(node) * self._width_bytes,
            reread_bytes=reread_elements(node) * self._width_bytes,
        )

    def parts(self) -> list[StageGraph]:
        """The stage's parts: what runs once, what runs for all rows, what runs in the loop."""
        stage = self.subject.stage.name
        names = {"once": f"{stage}.once", "schedule": f"{stage}.schedule", "body": stage}
        place = self._places()
        ops = {part: tuple(o for o in self.ops if place[o.name] == part) for part in names}
        return [self._part(name, part, ops[part]) for part, name in names.items() if ops[part]]

    def variant_of(self, part: StageGraph, parts: Sequence[StageGraph]) -> StageGraph | None:
        """This function's form of a part; only what is in the loop has one."""
        if part.part != "body":
            return None
        given = {v.name for p in parts if p is not part for v in p.outputs}
        ops = needed_ops(self.ops, set(self.subject.graph.outputs), given)
        return self._part(variant_graph(part.name, self.exported.name), "body", ops)

    def function(self) -> FunctionRecord:
        exported = self.exported
        return FunctionRecord(
            name=exported.name,
            node_of=tuple(self._node_name.items()),
            constant_nodes=tuple(exported.constants),
            fp32_nodes=tuple(sorted(exported.fp32_nodes)),
            held=tuple((exported.weight_name(name), name) for name in sorted(exported.held)),
        )

    def _places(self) -> dict[str, str]:
        """Value -> the part it is made in."""
        size_bytes = {w.name: w.size_bytes for w in self._weights(self.ops)}
        crossable = {o.name for o in self.ops if self._can_cross(o.name)}
        return places_of(self.ops, size_bytes, crossable, self.subject)

    def _part(self, name: str, part: str, ops: tuple[Op, ...]) -> StageGraph:
        made = {o.name for o in ops}
        read = dict.fromkeys(i for o in ops for i in o.inputs if i not in made)
        elsewhere = {i for o in self.ops if o.name not in made for i in o.inputs}
        wanted = elsewhere | set(self.subject.graph.outputs)
        crossable = tuple(self._port(o.name) for o in ops if self._can_cross(o.name))
        resting = [i for i, o in enumerate(ops) if self._node_name[o.name] in self._resting]
        return StageGraph(
            name=name,
            stage=self.subject.stage.name,
            part=part,
            inputs=tuple(self.subject.ports.get(i) or self._port(i) for i in read),
            outputs=tuple(self._port(o.name) for o in ops if o.name in wanted),
            ops=ops,
            values=crossable,
            weights=self._weights(ops),
            cuts=cuts_of(ops, {p.name: p for p in crossable}),
            rests=(resting[0], resting[-1] + 1) if resting and part == "body" else None,
        )

    @property
    def _resting(self) -> frozenset[str]:
        return self.exported.resting

    def _can_cross(self, value: str) -> bool:
        import torch

        tensor = self._tensors[value]
        if not isinstance(tensor, torch.Tensor):
            return False
        is_port = 1 <= tensor.dim() <= self.subject.backend.max_rank
        return is_port and tensor.dtype in (torch.float32, torch.float16, torch.int32, torch.int64)

    @cached_property
    def _node_name(self) -> dict[str, str]:
        return {value: node for node, value in self.value_of.items()}

    @cached_property
    def _tensors(self) -> dict[str, object]:
        nodes = self.exported.program.graph.nodes
        return {self.value_of[n.name]: n.meta.get("val") for n in nodes if n.name in self.value_of}

    def _port(self, value: str) -> Port:
        import torch

        tensor, limit = self._tensors[value], self.subject.backend.max_rank
        if not isinstance(tensor, torch.Tensor) or tensor.dim() > limit:
            stage = self.subject.stage
            shape = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else "no tensor"
            raise ConfigError(
                f"pipeline.stages.{stage.name}: graph {stage.op!r}: {value}, {shape}, must "
                f"leave a package, which takes tensors of rank 1 to {limit}; reshape it in "
                "`forward`"
            )
        dtype = DType(self.subject.stage.precision)
        if self._node_name[value] in self.exported.fp32_nodes:
            dtype = DType.FP32
        if not tensor.dtype.is_floating_point:
            dtype = DType.INT32
        return Port(value, tuple(int(d) for d in tensor.shape), dtype)

    def _weights(self, ops: Sequence[Op]) -> tuple[Weight, ...]:
        stage, shapes = self.subject.stage, self.exported.shapes
        return tuple(
            Weight(
                name,
                shapes[name],
                weight_bytes(shapes[name], stage.precision, stage.compression),
                self.exported.digest_of(name),
            )
            for name in sorted({w for o in ops for w in o.weights})
        )


def checkpoint_key(name: str, key_map: Sequence[tuple[str, str]]) -> str:
    """A module's weight name as the checkpoint spells it: the longest matching prefix wins."""
    for prefix, replacement in sorted(key_map, key=lambda pair: -len(pair[0])):
        if name.startswith(prefix):
            return replacement + name[len(prefix) :]
    return name
