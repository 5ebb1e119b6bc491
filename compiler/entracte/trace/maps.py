"""What a mapped stage reads and makes: pieces, what one hands to the next, and the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from entracte.errors import ConfigError
from entracte.ir import DType, Loop, Map, Port, Stage, Window
from entracte.program.slices import (
    input_windows,
    joined,
    output_windows,
    runs_of,
    slice_count,
)
from entracte.trace.rounds import known, wider

Ports = Mapping[str, Port]


def cut_alike(stage: Stage, given: Map, loop: Loop | None, ports: Ports) -> tuple[Window, ...]:
    """The slices, of which all inputs that are cut have as many. Raises `ConfigError`.

    Args:
        ports: of the stage's inputs, by name, whole.
    """
    where = f"pipeline.stages.{stage.name}"
    found = {
        name: input_windows(f"{where}.inputs.{name}", given, ports[name]) for name in given.ports
    }
    first, *others = found
    for other in others:
        if found[other] != found[first]:
            raise ConfigError(
                f"{where}.map.port: {first} has {slice_count(found[first])} slices and {other} "
                f"{slice_count(found[other])}; give a count that both have"
            )
    if loop is not None:
        _check_in_loop(where, stage, given, loop, slice_count(found[first]))
    return found[first]


def _check_in_loop(where: str, stage: Stage, given: Map, loop: Loop, count: int) -> None:
    pieces = {f"{loop.name}.{scan.name}" for scan in loop.scan}
    for name, value in stage.inputs:
        if name in given.ports and value in pieces:
            raise ConfigError(
                f"{where}.map.port: {name} reads {value}, which is a piece of a tensor already; "
                "let a stage of the loop make what is cut"
            )
    if given.order == "slice" and count > 1:
        raise ConfigError(
            f"{where}.map.order: slice: {stage.name} is in the loop {loop.name}, and all chunks "
            "for one slice would be a loop inside of a loop; leave `order` out"
        )


def first_values(stage: Stage, given: Map, ports: Ports) -> dict[str, Port]:
    """What the first slice reads in place of what is carried, by the input's name.

    Args:
        ports: all values that are made by now.
    """
    where = f"pipeline.stages.{stage.name}.map.carry"
    return {
        name: replace(known(ports, f"{where}.{name}", first), name=name)
        for name, first, _ in given.carry
    }


def with_types(ports: Ports, types: Mapping[str, DType]) -> dict[str, Port]:
    """The same ports in other types."""
    return {name: replace(port, dtype=types[name]) for name, port in ports.items()}


def carried_types(stage: Stage, given: Map, first: Ports, made: Ports) -> dict[str, DType]:
    """The type of what is carried to each input. Raises `ConfigError`.

    Args:
        first: see `first_values`.
        made: what one call makes, by name.
    """
    types: dict[str, DType] = {}
    taken: dict[str, str] = {}
    for name, value, after in given.carry:
        where = f"pipeline.stages.{stage.name}.map.carry.{name}"
        if after not in made:
            raise ConfigError(
                f"{where}: {after!r} is no output of graph {stage.op}; it has {', '.join(made)}"
            )
        if (other := taken.setdefault(after, name)) != name:
            raise ConfigError(f"{where}: {other} takes {after} too; carry it once")
        types[name] = wider(where, (value, first[name]), (f"{stage.name}.{after}", made[after]))
    return types


def put_together(
    stage: Stage,
    given: Map,
    windows: Sequence[Window],
    made: Ports,
    types: Mapping[str, DType],
) -> dict[str, Port]:
    """Each output as it is after the map: all pieces, those that rest apart, or of what is
    carried the last."""
    where = f"pipeline.stages.{stage.name}"
    carried = {after: types[name] for name, _, after in given.carry}
    return {
        f"{name}{run.suffix}": replace(port, dtype=carried[name])
        if name in carried
        else joined(port, output_windows(where, given, run.windows, port))
        for run in runs_of(where, given, tuple(windows))
        for name, port in made.items()
    }
