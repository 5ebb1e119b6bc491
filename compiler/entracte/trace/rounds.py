"""What a loop's values are, which is known only when its stages are traced: so it is traced again.

A state has the wider type of what it starts as and what it goes on as. What each iteration has to
make itself must not be moved before the loop, although it could be. Both are found after a round
of tracing and change the next one; both only grow, so rounds end (and traces are cached).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from entracte.errors import ConfigError
from entracte.ir import Collect, DType, Loop, Pipeline, Port, StageGraph, StageKind
from entracte.program.loops import axis_of, is_dissolved, is_steady

Ports = Mapping[str, Port]
Graphs = Mapping[str, tuple[StageGraph, ...]]


@dataclass(frozen=True)
class Found:
    """What earlier rounds have shown of a loop."""

    types: Mapping[str, DType] = field(default_factory=dict)
    """State -> its type, where it is wider than what it starts as."""
    pinned: frozenset[str] = frozenset()
    """Values that every iteration makes, also where they could be made before."""

    def pinned_of(self, stage: str) -> frozenset[str]:
        """By the names of the stage's ports."""
        split = [value.partition(".") for value in self.pinned]
        return frozenset(port for owner, _, port in split if owner == stage)


def known(ports: Ports, where: str, value: str) -> Port:
    """The port of a value that is made by now. Raises `ConfigError`."""
    if value not in ports:
        raise ConfigError(
            f"{where}: {value!r} is not made by an earlier stage; "
            f"known here: {', '.join(sorted(ports))}"
        )
    return ports[value]


def opened(loop: Loop, ports: Ports, found: Found) -> dict[str, Port]:
    """The values of a loop that its stages read."""
    made: dict[str, Port] = {}
    for name, first, _ in loop.state:
        source = known(ports, f"pipeline.loops.{loop.name}.state.{name}", first)
        dtype = found.types.get(name, source.dtype)
        made[f"{loop.name}.{name}"] = replace(source, name=name, dtype=dtype)
    for scan in loop.scan:
        where = f"pipeline.loops.{loop.name}.scan.{scan.name}"
        source, size = known(ports, where, scan.value), loop.count * scan.size
        if scan.axis >= len(source.shape) or source.shape[scan.axis] != size:
            raise ConfigError(
                f"{where}: {scan.value} has shape {source.shape}; its axis {scan.axis} must be "
                f"{size}, {scan.size} for each of {loop.count} iterations (sampler.steps)"
            )
        shape = (*source.shape[: scan.axis], scan.size, *source.shape[scan.axis + 1 :])
        made[f"{loop.name}.{scan.name}"] = replace(source, name=scan.name, shape=shape)
    return made


def wider(where: str, starts: tuple[str, Port], goes_on: tuple[str, Port]) -> DType:
    """The type that holds both ends of what is carried. Raises `ConfigError`."""
    (first, one), (after, other) = starts, goes_on
    whole = [p.dtype is DType.INT32 for p in (one, other)]
    if one.shape != other.shape or whole[0] != whole[1]:
        raise ConfigError(
            f"{where}: starts as {one.dtype} {one.shape} from {first} but goes on as "
            f"{other.dtype} {other.shape} from {after}; both must have one shape, and be whole "
            "numbers or not"
        )
    return DType.FP32 if DType.FP32 in (one.dtype, other.dtype) else one.dtype


def looked_at(pipeline: Pipeline, loop: Loop, ports: Ports, graphs: Graphs, was: Found) -> Found:
    """What a round has shown; the same as before where nothing has to be traced again."""
    _check_next(pipeline, loop, graphs)
    _check_functions(pipeline, loop, graphs)
    types = dict(was.types)
    for name, first, after in loop.state:
        where = f"pipeline.loops.{loop.name}.state.{name}"
        ends = [(x, known(ports, where, x)) for x in (first, after)]
        dtype = wider(where, ends[0], ends[1])
        if dtype is not ends[0][1].dtype:
            types[name] = dtype
    return Found(types, was.pinned | _to_pin(pipeline, loop, graphs))


def closed(pipeline: Pipeline, loop: Loop, ports: Ports, graphs: Graphs) -> dict[str, Port]:
    """The values of a loop that are there after it."""
    made = {}
    for collect in loop.collect:
        made[f"{loop.name}.{collect.name}"] = _collected(pipeline, loop, ports, graphs, collect)
    if is_dissolved(pipeline, loop, graphs):
        # Nothing is carried: a state is what it would have gone on as.
        made |= {f"{loop.name}.{n}": replace(ports[x], name=n) for n, _, x in loop.state}
    return made


# ---------------------------------------------------------------- what iterations must make


def _parts_of(graphs: Graphs, value: str) -> str | None:
    """The part that makes a value of a graph; None for other values."""
    owner, _, name = value.partition(".")
    for graph in graphs.get(owner, ()):
        if name in {p.name for p in graph.outputs}:
            return graph.part
    return None


def _check_next(pipeline: Pipeline, loop: Loop, graphs: Graphs) -> None:
    inside = {name for name in loop.stages if pipeline.stage(name).kind is not StageKind.CONSTANT}
    nothing_left = is_dissolved(pipeline, loop, graphs)
    taken: dict[str, str] = {}
    for name, _, after in loop.state:
        where = f"pipeline.loops.{loop.name}.state.{name}"
        owner = after.partition(".")[0]
        if is_steady(loop, name):
            continue
        if owner == loop.name:
            raise ConfigError(
                f"{where}: goes on as {after}, which the loop itself hands in; let a stage of the "
                "loop make what a state takes next"
            )
        if owner not in inside and not nothing_left:
            raise ConfigError(
                f"{where}: goes on as {after}, which no stage of the loop makes; name a value of "
                f"{', '.join(sorted(inside)) or 'a stage in it'}"
            )
        if owner in inside and (other := taken.setdefault(after, name)) != name:
            raise ConfigError(
                f"{where}: goes on as {after}, as {other} does; let the stage make it twice, or "
                "carry one of them"
            )


def _check_functions(pipeline: Pipeline, loop: Loop, graphs: Graphs) -> None:
    for name in loop.stages:
        left = any(g.part == "body" for g in graphs.get(name, ()))
        if pipeline.stage(name).functions and not left:
            raise ConfigError(
                f"pipeline.stages.{name}.functions: nothing of {name} changes from iteration to "
                "iteration by the loop's state, so it runs before the loop, where there are no "
                "first iterations; leave `functions` out"
            )


def _to_pin(pipeline: Pipeline, loop: Loop, graphs: Graphs) -> frozenset[str]:
    """Values that were moved before the loop, and that are needed of every iteration."""
    following = {after for _, _, after in loop.state}
    moved = {x: part for x in following if (part := _parts_of(graphs, x)) in ("once", "schedule")}
    _check_until(loop, graphs)
    if (
        is_dissolved(pipeline, loop, graphs)
        and "schedule" not in moved.values()
        and (loop.until is None)
    ):
        return frozenset()
    wanted = set(moved)
    if loop.until is not None:
        # What an iteration that does not come would have collected must not be there.
        wanted |= {loop.until, *(c.value for c in loop.collect)}
    wanted |= _needed_whole(pipeline, loop) | _resting(pipeline, loop, graphs)
    parts = {value: _parts_of(graphs, value) for value in wanted}
    return frozenset(
        value
        for value, part in parts.items()
        if part == "schedule" or (part == "once" and value in following)
    )


def _needed_whole(pipeline: Pipeline, loop: Loop) -> set[str]:
    """What is read in an iteration in another way than as the iteration's own piece."""
    found: set[str] = set()
    for name in loop.stages:
        stage = pipeline.stage(name)
        cut = stage.map.ports if stage.map is not None else ()
        whole = stage.kind is StageKind.HOST
        found |= {value for port, value in stage.inputs if whole or port in cut}
    return found


def _resting(pipeline: Pipeline, loop: Loop, graphs: Graphs) -> set[str]:
    """What a stage makes that rests in some iterations: there what it made last is read, not what
    it would make."""
    names = [name for name in loop.stages if pipeline.stage(name).at]
    return {f"{name}.{p.name}" for name in names for g in graphs[name] for p in g.outputs}


def _check_until(loop: Loop, graphs: Graphs) -> None:
    if loop.until is not None and _parts_of(graphs, loop.until) == "once":
        raise ConfigError(
            f"pipeline.loops.{loop.name}.until: no iteration makes {loop.until} anew (it depends "
            "on nothing that changes)"
        )


def _collected(
    pipeline: Pipeline, loop: Loop, ports: Ports, graphs: Graphs, collect: Collect
) -> Port:
    where = f"pipeline.loops.{loop.name}.collect.{collect.name}"
    piece = known(ports, where, collect.value)
    stage = pipeline.stage(collect.value.partition(".")[0])
    if _parts_of(graphs, collect.value) == "once":
        raise ConfigError(
            f"{where}: {collect.value} depends on nothing that changes in the loop, so all its "
            f"{loop.count} pieces would be the same; put {stage.name} before the loop, or carry it "
            "as a state"
        )
    if stage.map is not None:
        raise ConfigError(
            f"{where}: {collect.value} is put together of a map's slices in each iteration; "
            "collect what a stage without a map makes of it"
        )
    axis = axis_of(collect.axis, piece.shape)
    if not 0 <= axis < len(piece.shape):
        raise ConfigError(
            f"{where}.axis: {collect.value} has shape {piece.shape}, no axis {collect.axis}"
        )
    size = loop.count * piece.shape[axis]
    shape = (*piece.shape[:axis], size, *piece.shape[axis + 1 :])
    return replace(piece, name=collect.name, shape=shape)
