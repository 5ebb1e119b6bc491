"""Pipeline x partition -> Program: which call reads and writes what, in which order.

Stages come in the order of the configuration. A loop becomes one segment; the parts of its
stages that do not change are put before it. Values are named `<stage>.<value>`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod

from entracte.errors import ConfigError
from entracte.ir import (
    Binding,
    By,
    Call,
    Chunk,
    HostStep,
    Loop,
    MeasuredPipeline,
    Partition,
    Pipeline,
    Port,
    Program,
    Segment,
    Stage,
    StageGraph,
    StageKind,
    Step,
    TensorDecl,
    Window,
)

PARTS = ("once", "schedule", "body")


@dataclass
class _Builder:
    """Working state; it does not leave this module."""

    pipeline: Pipeline
    graphs: Mapping[str, tuple[StageGraph, ...]]
    partition: Partition
    ports: Mapping[str, Port]
    tensors: dict[str, TensorDecl] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    straight: list[Step] = field(default_factory=list)


def build_program(source: MeasuredPipeline, partition: Partition) -> Program:
    """The program that computes the pipeline's output, in chunks of this partition."""
    pipeline = source.pipeline
    b = _Builder(pipeline, source.graphs, partition, source.ports)
    constants = _declare_constants(b)
    done: set[str] = set()
    for stage in pipeline.stages:
        loop = pipeline.loop_of(stage.name)
        if loop is None:
            b.straight.extend(_steps(b, stage, "body", None))
        elif loop.name not in done:
            done.add(loop.name)
            _add_loop(b, loop)
    _flush(b)
    program = Program(
        inputs=pipeline.inputs,
        constants=constants,
        tensors=tuple(b.tensors.values()),
        segments=tuple(b.segments),
        outputs=pipeline.outputs,
    )
    return with_frees(program)


def _declare_constants(b: _Builder) -> tuple[Port, ...]:
    constants = []
    for stage in b.pipeline.stages:
        if stage.kind is StageKind.CONSTANT:
            named = [p for n, p in b.ports.items() if n.startswith(stage.name + ".")]
            constants += [replace(p, name=f"{stage.name}.{p.name}") for p in named]
    for i in b.pipeline.inputs:
        if i.name in b.ports:
            b.tensors[i.name] = TensorDecl(replace(b.ports[i.name], name=i.name))
    b.tensors |= {p.name: TensorDecl(p) for p in constants}
    return tuple(constants)


def _add_loop(b: _Builder, loop: Loop) -> None:
    stages = [b.pipeline.stage(n) for n in loop.stages]
    for part in ("once", "schedule"):
        for stage in stages:
            b.straight.extend(_steps(b, stage, part, loop))
    for name, init, _ in loop.state:
        value = f"{loop.name}.{name}"
        b.tensors[value] = TensorDecl(replace(b.ports[init], name=value))
    body = [step for stage in stages for step in _steps(b, stage, "body", loop)]
    _flush(b)
    state = tuple((f"{loop.name}.{n}", init, after) for n, init, after in loop.state)
    _check_until(b, loop, body)
    b.segments.append(
        Segment(name=loop.name, count=loop.count, steps=tuple(body), state=state, until=loop.until)
    )


def _check_until(b: _Builder, loop: Loop, body: list[Step]) -> None:
    """The value is one number, and each iteration makes its own."""
    if loop.until is None:
        return
    where = f"pipeline.loops.{loop.name}.until"
    made = set().union(*(writes(s) for s in body))
    if loop.until not in made:
        raise ConfigError(
            f"{where}: no iteration makes {loop.until} anew (it depends on nothing that changes, "
            f"or is no output); allowed here: {', '.join(sorted(made & set(b.ports)))}"
        )
    port = b.tensors[loop.until].port
    if prod(port.shape) != 1:
        raise ConfigError(
            f"{where}: {loop.until} has shape {port.shape}; it must be one element, (1,)"
        )


def _flush(b: _Builder) -> None:
    if b.straight:
        name = b.straight[0].stage if len(b.straight) == 1 else f"{b.straight[0].stage}.."
        b.segments.append(Segment(name=name, count=1, steps=tuple(b.straight)))
        b.straight = []


def _steps(b: _Builder, stage: Stage, part: str, loop: Loop | None) -> list[Step]:
    if stage.kind is StageKind.HOST and part == "body":
        return [_host_step(b, stage)]
    if stage.kind is not StageKind.GRAPH:
        return []
    graph = next((g for g in b.graphs[stage.name] if g.part == part), None)
    if graph is None:
        return []
    chunks = b.partition.functions_of(graph.name)
    return [_call(b, stage, graph, chunk, function, loop) for chunk, function in chunks]


def _host_step(b: _Builder, stage: Stage) -> HostStep:
    outputs = []
    for name, port in b.ports.items():
        if name.startswith(stage.name + "."):
            b.tensors[name] = TensorDecl(replace(port, name=name))
            outputs.append(Binding(port.name, name))
    return HostStep(
        stage=stage.name,
        op=stage.op,
        params=stage.params,
        inputs=stage.inputs,
        outputs=tuple(outputs),
    )


def _call(  # noqa: PLR0913 - a call is all of these
    b: _Builder, stage: Stage, graph: StageGraph, chunk: Chunk, function: str, loop: Loop | None
) -> Call:
    repeat = _repeat(b, stage, graph, loop)
    wanted, made = chunk.ports_of(function)
    inputs = tuple(_input_binding(b, stage, graph, p, loop) for p in wanted)
    outputs = tuple(_output_binding(b, stage, graph, p, repeat) for p in made)
    # What is hoisted runs once, before there are iterations to tell apart.
    switch = stage.functions if graph.part == "body" and loop is not None else ()
    return Call(
        stage=graph.name,
        chunk=chunk.id,
        inputs=inputs,
        outputs=outputs,
        repeat=repeat,
        function=function,
        switch=switch,
    )


def _repeat(b: _Builder, stage: Stage, graph: StageGraph, loop: Loop | None) -> int:
    if graph.part == "schedule":
        assert loop is not None
        return loop.count
    if stage.map is None:
        return 1
    (cut,) = stage.map.slices
    value = dict(stage.inputs)[stage.map.ports[0]]
    extent = b.ports[value].shape[cut.axis]
    if extent % cut.size:
        raise ConfigError(
            f"pipeline.stages.{stage.name}.map.size: {cut.size} does not divide the "
            f"{extent} rows of {value}; choose a divisor"
        )
    return extent // cut.size


def _input_binding(
    b: _Builder, stage: Stage, graph: StageGraph, port: Port, loop: Loop | None
) -> Binding:
    declared = dict(stage.inputs).get(port.name)
    if declared is None:
        return _value_binding(b, stage, graph, port.name)
    owner, _, name = declared.partition(".")
    scans = {s.name: s for s in loop.scan} if loop is not None and owner == loop.name else {}
    if name in scans:
        assert loop is not None
        scan, by = scans[name], By.MAP if graph.part == "schedule" else By.ITERATION
        window = Window(scan.axis, scan.size, loop.count, scan.size)
        return Binding(port.name, scan.value, by, (window,))
    if stage.map is not None and port.name in stage.map.ports:
        (cut,) = stage.map.slices
        window = Window(cut.axis, cut.size, _repeat(b, stage, graph, loop), cut.stride)
        return Binding(port.name, declared, By.MAP, (window,))
    return Binding(port.name, declared)


def _value_binding(b: _Builder, stage: Stage, graph: StageGraph, value: str) -> Binding:
    """A value made by an earlier chunk of the same stage, maybe by another part of it."""
    tensor = f"{stage.name}.{value}"
    if b.tensors[tensor].slots == 1:
        return Binding(value, tensor)
    by = By.ITERATION if graph.part == "body" and stage.map is None else By.MAP
    return Binding(value, tensor, by)


def _output_binding(
    b: _Builder, stage: Stage, graph: StageGraph, port: Port, repeat: int
) -> Binding:
    tensor = f"{stage.name}.{port.name}"
    if repeat == 1:
        b.tensors[tensor] = TensorDecl(replace(port, name=tensor))
        return Binding(port.name, tensor)
    final = graph.part == "body" and tensor in b.ports
    if not final or stage.map is None:
        b.tensors[tensor] = TensorDecl(replace(port, name=tensor), slots=repeat)
        return Binding(port.name, tensor, By.MAP)
    axis = stage.map.slices[0].output_axis
    b.tensors[tensor] = TensorDecl(replace(b.ports[tensor], name=tensor))
    window = Window(axis, port.shape[axis], repeat, port.shape[axis])
    return Binding(port.name, tensor, By.MAP, (window,))


# ---------------------------------------------------------------- frees


def reads(step: Step) -> set[str]:
    """The tensors a step reads."""
    if isinstance(step, HostStep):
        return {value for _, value in step.inputs}
    return {x.tensor for x in step.inputs}


def writes(step: Step) -> set[str]:
    """The tensors a step writes."""
    return {x.tensor for x in step.outputs}


def with_frees(program: Program) -> Program:
    """Drop every tensor after its last use; the output and constants in use stay."""
    known = {t.name for t in program.tensors}
    later = set(program.output_values)
    segments: list[Segment] = []
    for segment in reversed(program.segments):
        with_own = _loop_frees if segment.is_loop else _straight_frees
        segments.append(with_own(segment, later, known))
        later |= _touched(segment) & known
    return replace(program, segments=tuple(reversed(segments)))


def _touched(segment: Segment) -> set[str]:
    """Tensors that a segment reads, writes or carries."""
    touched = {x for carried in segment.state for x in carried}
    return touched.union(*(reads(s) | writes(s) for s in segment.steps))


def _straight_frees(segment: Segment, later: set[str], known: set[str]) -> Segment:
    """Steps done once: each drops what no later step, here or in a later segment, uses."""
    return replace(segment, steps=_step_frees(segment, known - later), frees=())


def _loop_frees(segment: Segment, later: set[str], known: set[str]) -> Segment:
    """An iteration drops what it made itself. What came from before the loop is read again in the
    next iteration, so it goes when the loop is over, and so does its state."""
    inside = set().union(*(writes(s) for s in segment.steps))
    following = {after for _, _, after in segment.state}
    # Read by the runner after an iteration's last step, and dropped there.
    kept = following | {segment.until}
    before = {x for s in segment.steps for x in reads(s) | writes(s)} - inside
    over = before | {x for carried in segment.state for x in carried}
    return replace(
        segment,
        steps=_step_frees(segment, (inside & known) - later - kept),
        frees=tuple(sorted(over & known - later)),
    )


def _step_frees(segment: Segment, droppable: set[str]) -> tuple[Step, ...]:
    """Each step drops those of the tensors that no step after it uses."""
    steps: list[Step] = []
    seen: set[str] = set()
    for step in reversed(segment.steps):
        own = (reads(step) | writes(step)) & droppable
        steps.append(replace(step, frees=tuple(sorted(own - seen))))
        seen |= own
    return tuple(reversed(steps))
