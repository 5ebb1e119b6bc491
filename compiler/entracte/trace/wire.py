"""Follow a pipeline's values from stage to stage: every port's shape and type, every trace."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from entracte.declare.host_ops import HOST_OPS, SHAPE_OF
from entracte.errors import ConfigError
from entracte.ir import (
    DType,
    Loop,
    MeasuredPipeline,
    Output,
    Pipeline,
    Port,
    Stage,
    StageGraph,
    StageKind,
)
from entracte.store.cache import Cache
from entracte.trace.shared import linked, named_beside, names_beside
from entracte.trace.stored import Shelf
from entracte.trace.traced import Traced

if TYPE_CHECKING:
    import numpy as np

    from entracte.frontend.backend import Backend

OnStage = Callable[[str, int, int], None]
"""(stage, done, total)"""


@dataclass(frozen=True)
class TracedPipeline:
    """A pipeline with everything tracing found; the torch side stays in `stages`."""

    pipeline: Pipeline
    ports: dict[str, Port]
    """Every declared value: `stage.port`, `loop.state`, `loop.scan` (one row), inputs."""
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
) -> TracedPipeline:
    """Build and trace every stage in order, for one backend. Raises `ConfigError` naming the stage.

    With a `cache`, stages that were traced before are read from it.
    """
    shelf = Shelf(backend, cache)
    pipeline = _with_shapes(pipeline, shelf)
    result = TracedPipeline(pipeline, _input_ports(pipeline), {}, {})
    for i, stage in enumerate(pipeline.stages):
        progress(stage.name, i, len(pipeline.stages))
        loop = pipeline.loop_of(stage.name)
        if loop is not None:
            _open_loop(result, loop)
        if stage.kind is StageKind.HOST:
            result.ports.update(_host_ports(stage))
        else:
            _build(result, stage, loop, shelf)
    _check_loops(result)
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


def _with_shapes(pipeline: Pipeline, shelf: Shelf) -> Pipeline:
    """`shape_of: STAGE.INPUT` of a host step becomes the shape that graph declares."""
    return replace(pipeline, stages=tuple(_with_shape(pipeline, s, shelf) for s in pipeline.stages))


def _with_shape(pipeline: Pipeline, stage: Stage, shelf: Shelf) -> Stage:
    params = dict(stage.params)
    if stage.kind is not StageKind.HOST or SHAPE_OF not in params:
        return stage
    name, _, port = str(params.pop(SHAPE_OF)).partition(".")
    graphs = {s.name: s for s in pipeline.stages if s.kind is StageKind.GRAPH}
    shapes = shelf.input_shapes(graphs[name]) if name in graphs else {}
    if port not in shapes:
        known = [f"{name}.{p}" for p in shapes] or sorted(graphs)
        raise ConfigError(
            f"pipeline.stages.{stage.name}.params.shape_of: no graph declares {name}.{port}; "
            f"known: {', '.join(known)}"
        )
    return replace(stage, params=tuple((params | {"shape": shapes[port]}).items()))


def _input_ports(pipeline: Pipeline) -> dict[str, Port]:
    """Numbers and choices are tensors of one element; texts and seeds go to host steps only."""
    ports = {i.name: i.port for i in pipeline.inputs if i.port is not None}
    for i in pipeline.inputs:
        if i.kind in _SINGLE:
            ports[i.name] = Port(i.name, (1,), _SINGLE[i.kind])
    return ports


_SINGLE = {"number": DType.FP32, "choice": DType.INT32}


def _check_output(result: TracedPipeline, output: Output) -> None:
    """All parts are there, and differ in the axis along which they are joined only."""
    where = f"pipeline.outputs.{output.name}.value"
    ports = [_known(result, where, value) for value in output.values]
    axis = output.axis if output.axis >= 0 else output.axis + len(ports[0].shape)
    if not 0 <= axis < len(ports[0].shape):
        raise ConfigError(
            f"{where}: {output.values[0]} has shape {ports[0].shape}, without axis {output.axis}"
        )
    alike = {(_without(p.shape, axis), p.dtype) for p in ports}
    if len(alike) > 1:
        told = ", ".join(
            f"{value} {p.dtype} {p.shape}" for value, p in zip(output.values, ports, strict=True)
        )
        raise ConfigError(
            f"{where}: parts are joined along axis {axis} and must be alike but there; {told}"
        )


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _open_loop(result: TracedPipeline, loop: Loop) -> None:
    for name, init, _ in loop.state:
        source = _known(result, f"pipeline.loops.{loop.name}.state.{name}", init)
        result.ports.setdefault(f"{loop.name}.{name}", replace(source, name=name))
    for scan in loop.scan:
        where = f"pipeline.loops.{loop.name}.scan.{scan.name}"
        source, size = _known(result, where, scan.value), loop.count * scan.size
        if scan.axis >= len(source.shape) or source.shape[scan.axis] != size:
            raise ConfigError(
                f"{where}: {scan.value} has shape {source.shape}; its axis {scan.axis} must be "
                f"{size}, {scan.size} for each of {loop.count} iterations (sampler.steps)"
            )
        shape = (*source.shape[: scan.axis], scan.size, *source.shape[scan.axis + 1 :])
        result.ports.setdefault(
            f"{loop.name}.{scan.name}", replace(source, name=scan.name, shape=shape)
        )


def _known(result: TracedPipeline, where: str, value: str) -> Port:
    if value not in result.ports:
        raise ConfigError(
            f"{where}: {value!r} is not made by an earlier stage; "
            f"known here: {', '.join(sorted(result.ports))}"
        )
    return result.ports[value]


def _host_ports(stage: Stage) -> dict[str, Port]:
    params = dict(stage.params)
    op = HOST_OPS[stage.op]
    if fault := op.fault(params, dict(stage.inputs)):
        raise ConfigError(f"pipeline.stages.{stage.name}.{fault}")
    return {f"{stage.name}.{p.name}": p for p in op.ports(params)}


def _build(result: TracedPipeline, stage: Stage, loop: Loop | None, shelf: Shelf) -> None:
    if stage.kind is StageKind.CONSTANT:
        _add_constants(result, stage, shelf.constants(stage))
        return
    traced = shelf.traced(stage, _stage_inputs(result, stage), loop)
    result.stages[stage.name] = traced
    made = {p.name: p for part in traced.parts for p in part.outputs}
    for name in traced.record.outputs:
        result.ports[f"{stage.name}.{name}"] = _whole(result, stage, made[name])


def _add_constants(
    result: TracedPipeline, stage: Stage, arrays: "Mapping[str, np.ndarray]"
) -> None:
    for name, array in arrays.items():
        dtype = DType.INT32 if array.dtype.kind in "iu" else DType.FP32
        value = f"{stage.name}.{name}"
        result.ports[value] = Port(name, tuple(array.shape), dtype)
        result.constants[value] = array.astype("int32" if dtype is DType.INT32 else "float32")


def _stage_inputs(result: TracedPipeline, stage: Stage) -> dict[str, Port]:
    ports = {}
    for port, value in stage.inputs:
        where = f"pipeline.stages.{stage.name}.inputs.{port}"
        source = replace(_known(result, where, value), name=port)
        if stage.map is not None and port in stage.map.ports:
            source = _slice(where, source, stage.map.slices[0].axis, stage.map.slices[0].size)
        ports[port] = source
    return ports


def _slice(where: str, port: Port, axis: int, size: int) -> Port:
    if not 0 <= axis < len(port.shape) or port.shape[axis] % size:
        raise ConfigError(
            f"{where}: cannot map over axis {axis} of {port.shape} in slices of {size}; "
            "choose a size that divides it"
        )
    shape = (*port.shape[:axis], size, *port.shape[axis + 1 :])
    return replace(port, shape=shape)


def _whole(result: TracedPipeline, stage: Stage, port: Port) -> Port:
    """An output of a mapped stage, put together again."""
    if stage.map is None:
        return port
    (cut,) = stage.map.slices
    source = result.ports[dict(stage.inputs)[stage.map.ports[0]]]
    slices = source.shape[cut.axis] // cut.size
    axis = cut.output_axis
    if not 0 <= axis < len(port.shape):
        raise ConfigError(
            f"pipeline.stages.{stage.name}.map.output_axis: {port.name} has shape {port.shape}"
        )
    shape = (*port.shape[:axis], port.shape[axis] * slices, *port.shape[axis + 1 :])
    return replace(port, shape=shape)


def _check_loops(result: TracedPipeline) -> None:
    for loop in result.pipeline.loops:
        for name, init, after in loop.state:
            where = f"pipeline.loops.{loop.name}.state.{name}"
            first, following = _known(result, where, init), _known(result, where, after)
            if (first.shape, first.dtype) != (following.shape, following.dtype):
                raise ConfigError(
                    f"{where}: starts as {first.dtype} {first.shape} from {init} but goes on as "
                    f"{following.dtype} {following.shape} from {after}; set that stage's "
                    f"precision to {first.dtype}"
                )
