"""Loops as declared, beside what tracing left in them."""

from collections.abc import Mapping, Sequence

from entracte.ir import Loop, Pipeline, StageGraph, StageKind


def is_dissolved(
    pipeline: Pipeline, loop: Loop, graphs: Mapping[str, Sequence[StageGraph]]
) -> bool:
    """Whether nothing is left to do in it: all of it was moved before it."""
    kinds = {pipeline.stage(name).kind for name in loop.stages}
    parts = {g.part for name in loop.stages for g in graphs.get(name, ())}
    return StageKind.HOST not in kinds and "body" not in parts


def is_steady(loop: Loop, state: str) -> bool:
    """Whether a state is its own next value: it stays what it was."""
    return any(name == state and after == f"{loop.name}.{name}" for name, _, after in loop.state)


def axis_of(axis: int, shape: Sequence[int]) -> int:
    """Counted from the front, also where it is given from the back."""
    return axis if axis >= 0 else axis + len(shape)
