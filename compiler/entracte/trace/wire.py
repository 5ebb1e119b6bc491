"""Follow a pipeline's values from stage to stage: every port's shape and type, every trace."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from entracte.declare.edges import SINGLE, output_fault
from entracte.declare.host_ops import HOST_OPS, SHAPE_OF, TENSOR
from entracte.declare.rests import COPIES, JOINED
from entracte.errors import ConfigError
from entracte.ir import (
    DType,
    Loop,
    Map,
    MeasuredPipeline,
    Output,
    Pipeline,
    Port,
    Stage,
    StageGraph,
    StageKind,
)
from entracte.program.loops import axis_of
from entracte.program.slices import piece_of
from entracte.store.cache import Cache
from entracte.trace.graph_files import with_files
from entracte.trace.maps import (
    carried_types,
    cut_alike,
    first_values,
    put_together,
    with_types,
)
from entracte.trace.rounds import Found, closed, known, looked_at, opened
from entracte.trace.shared import linked, named_beside, names_beside
from entracte.trace.stored import Shelf
from entracte.trace.traced import Traced

if TYPE_CHECKING:
    import numpy as np

    from entracte.frontend.backend import Backend

_ZEROS = "zeros"
"""The constants whose shape may be another graph's."""

OnStage = Callable[[str, int, int], None]
"""(stage, done, total)"""
Look = Callable[[Stage, str | None], None]
"""(stage, checkpoint of its graph): looks at the files, and raises `ConfigError`."""


@dataclass(frozen=True)
class TracedPipeline:
    """A pipeline with everything tracing found; the torch side stays in `stages`."""

    pipeline: Pipeline
    ports: dict[str, Port]
    """Every declared value: `stage.port`, `loop.state`, `loop.scan` (one piece), inputs."""
    stages: dict[str, Traced]
    constants: "dict[str, np.ndarray]"

    @property
    def graphs(self) -> dict[str, tuple[StageGraph, ...]]:
        """Stage -> its parts."""
        return {name: traced.parts for name, traced in self.stages.items()}

    @property
    def measured(self) -> MeasuredPipeline:
        """Without the torch side. Weights of another stage go by the names that they have there."""
        graphs = {name: _beside(self.stages, traced) for name, traced in self.stages.items()}
        return MeasuredPipeline(self.pipeline, graphs, self.ports)


def trace_pipeline(
    pipeline: Pipeline,
    backend: "Backend",
    progress: OnStage = lambda *_: None,
    cache: Cache | None = None,
    look: Look | None = None,
) -> TracedPipeline:
    """Build and trace every stage in order, for one backend. Raises `ConfigError` naming the stage.

    With a `cache`, stages that were traced before are read from it. `look` is called with every
    stage's graph before any is traced, which may take minutes.
    """
    pipeline = with_files(pipeline)
    shelf = Shelf(backend, cache)
    if look is not None:
        for stage in pipeline.stages:
            if stage.kind is StageKind.GRAPH and stage.op != JOINED:
                look(stage, shelf.checkpoint(stage))
    pipeline = _with_shapes(pipeline, shelf)
    result = TracedPipeline(pipeline, _input_ports(pipeline), {}, {})
    done: set[str] = set()
    for i, stage in enumerate(pipeline.stages):
        progress(stage.name, i, len(pipeline.stages))
        loop = pipeline.loop_of(stage.name)
        if loop is None:
            _build(result, stage, None, shelf)
        elif loop.name not in done:
            done.add(loop.name)
            _build_loop(result, loop, shelf)
    for output in pipeline.outputs:
        _check_output(result, output)
    result.stages.update(linked(result.stages))
    return result


def _beside(stages: Mapping[str, Traced], traced: Traced) -> tuple[StageGraph, ...]:
    leader = stages.get(traced.stage.weights_of)
    if leader is None:
        return traced.parts
    names = names_beside(leader.record, traced.stage.name, traced.record)
    return tuple(named_beside(part, names) for part in traced.parts)


def _build_loop(result: TracedPipeline, loop: Loop, shelf: Shelf) -> None:
    """Rounds of tracing, until one shows nothing new (`trace/rounds.py`)."""
    pipeline, before, found = result.pipeline, dict(result.ports), Found()
    while True:
        # What stages behind a reader made in an earlier round is not there for it.
        result.ports.clear()
        result.ports.update(before | opened(loop, before, found))
        for stage in pipeline.stages:
            if stage.name in loop.stages:
                _build(result, stage, loop, shelf, found.pinned_of(stage.name))
        now = looked_at(pipeline, loop, result.ports, result.graphs, found)
        if now == found:
            break
        found = now
    result.ports.update(closed(pipeline, loop, result.ports, result.graphs))


def _with_shapes(pipeline: Pipeline, shelf: Shelf) -> Pipeline:
    """`shape_of: STAGE.INPUT` of host steps, zeros and what tests saw becomes the shape that graph
    declares."""
    return replace(pipeline, stages=tuple(_with_shape(pipeline, s, shelf) for s in pipeline.stages))


def _with_shape(pipeline: Pipeline, stage: Stage, shelf: Shelf) -> Stage:
    params: dict[str, Any] = dict(stage.params)
    fills = stage.kind is StageKind.HOST or stage.op in (_ZEROS, JOINED)
    if not fills or SHAPE_OF not in params:
        return stage
    if "shape" in params:
        raise ConfigError(
            f"pipeline.stages.{stage.name}.params: both shape and {SHAPE_OF}; give one of them"
        )
    name, _, port = str(params.pop(SHAPE_OF)).partition(".")
    graphs = {s.name: s for s in pipeline.stages if s.kind is StageKind.GRAPH}
    shapes = shelf.input_shapes(graphs[name]) if name in graphs else {}
    if port not in shapes:
        there = [f"{name}.{p}" for p in shapes] or sorted(graphs)
        raise ConfigError(
            f"pipeline.stages.{stage.name}.params.shape_of: no graph declares {name}.{port}; "
            f"known: {', '.join(there)}"
        )
    shape = list(shapes[port])
    if COPIES in params:
        axis, many = params.pop(COPIES)
        if axis >= len(shape):
            raise ConfigError(
                f"pipeline.stages.{name}.map.axis: {axis}: the stream of its blocks has shape "
                f"{tuple(shape)}; a first-block test needs slices along an axis of it"
            )
        shape[axis] *= many
    return replace(stage, params=tuple((params | {"shape": tuple(shape)}).items()))


def _input_ports(pipeline: Pipeline) -> dict[str, Port]:
    """Numbers and choices are tensors of one element; texts and seeds go to host steps only."""
    ports = {i.name: i.port for i in pipeline.inputs if i.port is not None}
    for i in pipeline.inputs:
        if i.kind in SINGLE:
            ports[i.name] = Port(i.name, (1,), SINGLE[i.kind])
    return ports


def _check_output(result: TracedPipeline, output: Output) -> None:
    """All parts are there, differ in the axis along which they are joined only, and together are
    what a writer of that kind takes."""
    where = f"pipeline.outputs.{output.name}.value"
    ports = [known(result.ports, where, value) for value in output.values]
    axis = axis_of(output.axis, ports[0].shape)
    if not 0 <= axis < len(ports[0].shape):
        raise ConfigError(
            f"{where}: {output.values[0]} has shape {ports[0].shape}, which has no axis "
            f"{output.axis}"
        )
    alike = {(_without(p.shape, axis), p.dtype) for p in ports}
    if len(alike) > 1:
        told = ", ".join(
            f"{value} {p.dtype} {p.shape}" for value, p in zip(output.values, ports, strict=True)
        )
        raise ConfigError(
            f"{where}: parts are joined along axis {axis} and must be alike but there; {told}"
        )
    if fault := output_fault(output, ports):
        raise ConfigError(f"{where}: {fault}")


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _host_ports(result: TracedPipeline, stage: Stage) -> dict[str, Port]:
    where, params = f"pipeline.stages.{stage.name}", dict(stage.params)
    op, inputs = HOST_OPS[stage.op], dict(stage.inputs)
    if fault := op.declared_fault(params, inputs):
        raise ConfigError(f"{where}.{fault}")
    tensors = {
        reads.name: known(result.ports, f"{where}.inputs.{reads.name}", inputs[reads.name])
        for reads in op.inputs
        if reads.kind == TENSOR
    }
    if fault := op.wired_fault(params, tensors):
        raise ConfigError(f"{where}.{fault}")
    return {f"{stage.name}.{p.name}": p for p in op.ports(params, tensors)}


def _build(
    result: TracedPipeline,
    stage: Stage,
    loop: Loop | None,
    shelf: Shelf,
    pinned: Collection[str] = (),
) -> None:
    if stage.kind is StageKind.HOST:
        result.ports.update(_host_ports(result, stage))
    elif stage.kind is StageKind.CONSTANT:
        _add_constants(result, stage, shelf.constants(stage))
    elif stage.map is not None:
        _build_map(
            result, stage, stage.map, loop, lambda ports: shelf.traced(stage, ports, loop, pinned)
        )
    else:
        traced = shelf.traced(stage, _stage_inputs(result, stage), loop, pinned)
        _add(result, stage, traced)


def _add(result: TracedPipeline, stage: Stage, traced: Traced) -> dict[str, Port]:
    """A traced stage, and the ports it makes in one call."""
    result.stages[stage.name] = traced
    parts = {p.name: p for part in traced.parts for p in part.outputs}
    if lost := sorted(set(traced.record.outputs) - parts.keys()):
        raise ConfigError(
            f"pipeline.stages.{stage.name}: output {lost[0]} of graph {stage.op} depends on none "
            "of its inputs; make it a constant stage"
        )
    made = {name: parts[name] for name in traced.record.outputs}
    result.ports.update({f"{stage.name}.{name}": port for name, port in made.items()})
    return made


def _build_map(
    result: TracedPipeline,
    stage: Stage,
    given: Map,
    loop: Loop | None,
    traced_as: Callable[[Mapping[str, Port]], Traced],
) -> None:
    """A graph over slices: what it reads of them is a piece, what it carries the wider of both
    ends, and its outputs are put together."""
    ports = _stage_inputs(result, stage)
    windows = cut_alike(stage, given, loop, ports)
    ports |= {name: piece_of(ports[name], windows) for name in given.ports}
    first = first_values(stage, given, result.ports)
    types = {name: port.dtype for name, port in first.items()}
    while True:
        made = _add(result, stage, traced_as(ports | with_types(first, types)))
        now = carried_types(stage, given, first, made)
        if now == types:
            break
        types = now
    whole = put_together(stage, given, windows, made, types)
    result.ports.update({f"{stage.name}.{name}": port for name, port in whole.items()})


def _add_constants(
    result: TracedPipeline, stage: Stage, arrays: "Mapping[str, np.ndarray]"
) -> None:
    for name, array in arrays.items():
        dtype = DType.INT32 if array.dtype.kind in "iu" else DType.FP32
        if array.dtype == "float16":
            dtype = DType.FP16
        value = f"{stage.name}.{name}"
        result.ports[value] = Port(name, tuple(array.shape), dtype)
        result.constants[value] = array.astype(_STORED[dtype])


_STORED = {DType.FP16: "float16", DType.FP32: "float32", DType.INT32: "int32"}


def _stage_inputs(result: TracedPipeline, stage: Stage) -> dict[str, Port]:
    ports = {}
    for port, value in stage.inputs:
        where = f"pipeline.stages.{stage.name}.inputs.{port}"
        ports[port] = replace(known(result.ports, where, value), name=port)
    return ports
