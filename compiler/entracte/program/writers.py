"""What goes to the writers of outputs, and when: parts in their order, some of them in pieces.

A writer takes the parts of its output one after another. A part is complete when what makes it is
over: a step outside of loops, or the loop that collects or carries it. A part whose predecessors
are all complete before it is begun can go to the writer piece by piece, as it is made; one whose
predecessors are complete before it is itself can go as soon as it is there. All others wait in
memory for the end of the program.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from entracte.ir import Binding, By, HostStep, Program, Segment, Step, TensorDecl
from entracte.program.slices import is_blended, piece_of

_When = tuple[int, float]
"""Segment and step; a loop's end is behind all its steps."""
_END = float("inf")
_GIVEN: _When = (-1, 0)


@dataclass(frozen=True, slots=True)
class _Made:
    """When something is begun, and when it is complete."""

    begun: _When
    complete: _When


def droppable_outputs(program: Program) -> set[str]:
    """The parts that their writers have had when they are complete."""
    made = _made(program)
    return {
        value
        for value in program.output_values
        if value in made and _in_turn(program, made, value, made[value].complete)
    }


def with_streams(program: Program) -> Program:
    """Parts that are made in pieces along the axis of their output go there as they are made."""
    made, read = _made(program), _read(program)
    streamed = {
        binding.tensor: binding
        for segment in program.segments
        for step in segment.steps
        for binding in step.outputs
        if binding.tensor not in read and _can_stream(program, made, binding)
    }
    if not streamed:
        return program
    decls = tuple(_streamed(t, streamed.get(t.name)) for t in program.tensors)
    segments = tuple(
        replace(segment, steps=tuple(_rebound(s, streamed) for s in segment.steps))
        for segment in program.segments
    )
    return replace(program, tensors=decls, segments=segments)


def _can_stream(program: Program, made: Mapping[str, _Made], binding: Binding) -> bool:
    outputs = [o for o in program.outputs if binding.tensor in o.values]
    if not outputs or len(binding.windows) != 1 or is_blended(binding.windows):
        return False
    if binding.windows[0].count == 1 or any(o.axis != binding.windows[0].axis for o in outputs):
        return False
    return _in_turn(program, made, binding.tensor, made[binding.tensor].begun)


def _in_turn(program: Program, made: Mapping[str, _Made], value: str, when: _When) -> bool:
    """Whether in every output all parts before this one are complete before that moment."""
    before = {
        other
        for output in program.outputs
        if value in output.values
        for other in output.values[: output.values.index(value)]
    }
    return all(other in made and made[other].complete < when for other in before)


def _made(program: Program) -> dict[str, _Made]:
    """Of all that is part of an output; a tensor with several makers is complete with the last
    of them."""
    parts = set(program.output_values)
    given = [*(i.name for i in program.inputs), *(c.name for c in program.constants)]
    made = dict.fromkeys(parts.intersection(given), _Made(_GIVEN, _GIVEN))
    for s, segment in enumerate(program.segments):
        for value, when in _made_in(s, segment, parts):
            first = made.get(value, when).begun
            made[value] = _Made(min(first, when.begun), when.complete)
    return made


def _made_in(s: int, segment: Segment, parts: set[str]) -> list[tuple[str, _Made]]:
    over = _Made((s, -1), (s, _END))
    if not segment.is_loop:
        return [
            (b.tensor, _Made((s, k), (s, k)))
            for k, step in enumerate(segment.steps)
            for b in step.outputs
            if b.tensor in parts
        ]
    names = [b.tensor for x in segment.steps for b in x.outputs if b.by is By.ITERATION]
    names += [name for name, _, _ in segment.state]
    return [(name, over) for name in names if name in parts]


def _read(program: Program) -> set[str]:
    """What steps, states and ends of loops read."""
    found: set[str] = set()
    for segment in program.segments:
        found |= {x for carried in segment.state for x in carried} | {segment.until or ""}
        for step in segment.steps:
            if isinstance(step, HostStep):
                found |= {value for _, value in step.inputs}
            else:
                found |= {b.tensor for b in step.inputs}
    return found


def _streamed(decl: TensorDecl, binding: Binding | None) -> TensorDecl:
    if binding is None:
        return decl
    piece = piece_of(decl.port, binding.windows)
    return TensorDecl(piece, streamed=binding.windows[0].count)


def _rebound(step: Step, streamed: Mapping[str, Binding]) -> Step:
    if isinstance(step, HostStep):
        return step
    outputs = (replace(b, windows=()) if b.tensor in streamed else b for b in step.outputs)
    return replace(step, outputs=tuple(outputs))
