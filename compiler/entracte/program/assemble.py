"""Pipeline x partition -> Program: which call reads and writes what, in which order.

Stages come in the order of the configuration. A loop becomes one segment; the parts of its
stages that do not change are put before it, and a loop of which nothing else is left is none.
Values are named `<stage>.<value>`.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from entracte.errors import ConfigError
from entracte.ir import (
    Binding,
    By,
    Call,
    HostStep,
    Loop,
    MeasuredPipeline,
    Output,
    Partition,
    Port,
    Program,
    Segment,
    Stage,
    StageGraph,
    StageKind,
    Step,
    Window,
)
from entracte.program.builder import Builder
from entracte.program.frees import reads, with_frees, writes
from entracte.program.groups import Grouping, Piece, at_of, rests_by
from entracte.program.loops import axis_of, is_dissolved, is_steady
from entracte.program.mapped import add_map, map_calls
from entracte.program.writers import with_streams

__all__ = ["build_program", "reads", "with_frees", "writes"]


def build_program(
    source: MeasuredPipeline, partition: Partition, grouping: Grouping | None = None
) -> Program:
    """The program that computes the pipeline's outputs, in chunks of this partition.

    Args:
        grouping: which chunks of maps do slice after slice together (`program/groups.py`).
    """
    pipeline = source.pipeline
    b = Builder(pipeline, source.graphs, partition, source.ports, grouping or {})
    constants = _declare_constants(b)
    done: set[str] = set()
    for stage in pipeline.stages:
        loop = pipeline.loop_of(stage.name)
        if loop is None:
            _add_stage(b, stage)
        elif loop.name not in done:
            done.add(loop.name)
            _add_loop(b, loop)
    b.flush()
    program = Program(
        inputs=pipeline.inputs,
        constants=constants,
        tensors=tuple(b.tensors.values()),
        segments=tuple(b.segments),
        outputs=tuple(_output(b, o) for o in pipeline.outputs),
    )
    return with_frees(with_streams(program))


def _declare_constants(b: Builder) -> tuple[Port, ...]:
    constants = []
    for stage in b.pipeline.stages:
        if stage.kind is StageKind.CONSTANT:
            named = [p for n, p in b.ports.items() if n.startswith(stage.name + ".")]
            constants += [replace(p, name=f"{stage.name}.{p.name}") for p in named]
    for i in b.pipeline.inputs:
        if i.name in b.ports:
            b.declare(i.name, b.ports[i.name])
    for port in constants:
        b.declare(port.name, port)
    return tuple(constants)


def _output(b: Builder, output: Output) -> Output:
    """Its parts by the names of their tensors, its axis counted from the front."""
    values = tuple(map(b.tensor, output.values))
    for i, tensor in enumerate(values):
        if (first := values.index(tensor)) != i:
            raise ConfigError(
                f"pipeline.outputs.{output.name}.value: {output.values[first]} and "
                f"{output.values[i]} are the same value; name one of them"
            )
    axis = axis_of(output.axis, b.tensors[values[0]].port.shape)
    return replace(output, values=values, axis=axis)


def _add_stage(b: Builder, stage: Stage) -> None:
    if stage.map is None:
        b.straight.extend(_steps(b, stage, "body", None))
        return
    for graph in b.graphs[stage.name]:
        add_map(b, stage, graph)


# ---------------------------------------------------------------- loops


def _add_loop(b: Builder, loop: Loop) -> None:
    stages = [b.pipeline.stage(n) for n in loop.stages]
    carried = [x for x in loop.state if not is_steady(loop, x[0])]
    for name, first, _ in loop.state:
        if is_steady(loop, name):
            b.aliases[f"{loop.name}.{name}"] = b.tensor(first)
    for part in ("once", "schedule"):
        for stage in stages:
            b.straight.extend(_steps(b, stage, part, loop))
    if is_dissolved(b.pipeline, loop, b.graphs):
        for name, _, after in carried:
            b.aliases[f"{loop.name}.{name}"] = b.tensor(after)
        return
    for name, _, _ in carried:
        value = f"{loop.name}.{name}"
        b.declare(value, b.ports[value])
    body = [step for stage in stages for step in _steps(b, stage, "body", loop)]
    b.flush()
    state = tuple((f"{loop.name}.{n}", b.tensor(x), b.tensor(after)) for n, x, after in carried)
    _check_until(b, loop, body)
    b.add(
        Segment(name=loop.name, count=loop.count, steps=tuple(body), state=state, until=loop.until)
    )


def _check_until(b: Builder, loop: Loop, body: list[Step]) -> None:
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


# ---------------------------------------------------------------- steps


def _steps(b: Builder, stage: Stage, part: str, loop: Loop | None) -> list[Step]:
    """Of a part of a stage that has slices only inside of a loop."""
    if stage.kind is StageKind.HOST and part == "body":
        return [_host_step(b, stage)]
    if stage.kind is not StageKind.GRAPH:
        return []
    graph = next((g for g in b.graphs[stage.name] if g.part == part), None)
    if graph is None:
        return []
    if stage.map is not None:
        assert loop is not None
        return list(map_calls(b, stage, graph, loop))
    return [_call(b, stage, graph, piece, loop) for piece in b.pieces(graph.name)]


def _host_step(b: Builder, stage: Stage) -> HostStep:
    outputs = []
    for name, port in b.ports.items():
        if name.startswith(stage.name + "."):
            outputs.append(Binding(port.name, b.declare(name, port)))
    return HostStep(
        stage=stage.name,
        op=stage.op,
        params=stage.params,
        inputs=tuple((port, b.tensor(value)) for port, value in stage.inputs),
        outputs=tuple(outputs),
    )


def _call(b: Builder, stage: Stage, graph: StageGraph, piece: Piece, loop: Loop | None) -> Call:
    # What is hoisted runs once, before there are iterations to tell apart.
    iterates = graph.part == "body" and loop is not None
    repeat = loop.count if graph.part == "schedule" and loop is not None else 1
    return Call(
        stage=graph.name,
        chunk=piece.chunk,
        inputs=tuple(_input(b, stage, graph, port, loop) for port in piece.inputs),
        outputs=tuple(
            x for port in piece.outputs for x in _outputs(b, stage, graph, port, loop, repeat)
        ),
        repeat=repeat,
        function=piece.function,
        switch=stage.functions if iterates else (),
        at=at_of(stage, piece) if iterates else (),
        rests_by=rests_by(stage, piece) if iterates else "",
    )


def _input(b: Builder, stage: Stage, graph: StageGraph, port: Port, loop: Loop | None) -> Binding:
    declared = b.declared[stage.name].get(port.name)
    if declared is not None:
        return b.source(port.name, declared, loop, graph.part)
    # A value made by an earlier chunk of the same stage, maybe by another part of it.
    tensor = f"{stage.name}.{port.name}"
    if b.tensors[tensor].slots == 1:
        return Binding(port.name, tensor)
    return Binding(port.name, tensor, By.MAP if graph.part == "schedule" else By.ITERATION)


def _outputs(
    b: Builder, stage: Stage, graph: StageGraph, port: Port, loop: Loop | None, repeat: int
) -> Iterator[Binding]:
    """For those that read it, and for what is collected of it."""
    tensor = f"{stage.name}.{port.name}"
    collected = [c for c in loop.collect if c.value == tensor] if loop is not None else []
    if not collected or tensor in b.read() or port.name in b.inner(stage.name):
        b.declare(tensor, port, repeat)
        yield Binding(port.name, tensor, By.MAP) if repeat > 1 else Binding(port.name, tensor)
    for collect in collected:
        assert loop is not None
        whole = f"{loop.name}.{collect.name}"
        axis = axis_of(collect.axis, port.shape)
        window = Window(axis, port.shape[axis], loop.count, port.shape[axis])
        by = By.MAP if graph.part == "schedule" else By.ITERATION
        yield Binding(port.name, b.declare(whole, b.ports[whole]), by, (window,))
