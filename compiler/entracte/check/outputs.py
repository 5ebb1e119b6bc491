"""The checker's half about outputs: what leaves before the end had its turn.

An output is its parts in order, joined along an axis. A part is *complete* when the step that makes
it ends, in a loop when the loop does (what a loop collects is not whole before). It goes to the
writer when it is complete and all parts before it have gone; a streamed one goes piece by piece,
so all parts before it are complete before its first piece is made. Only then may it be freed.

A part that no step and no segment frees stays to the end of the program, and needs no proof.
"""

from collections.abc import Iterator, Mapping

from entracte.check.life import reads_of
from entracte.check.names import once
from entracte.errors import PlanError
from entracte.ir import OUTPUT_KINDS, Output, Program, Segment, TensorDecl

Moment = tuple[int, int]
"""Segment, and the step at whose end it is; the number of its steps: at the segment's own end."""
_GIVEN: Moment = (-1, 0)


def check_outputs(program: Program) -> None:
    """Raises `PlanError` naming the first part that is freed or streamed before its turn."""
    once("plan: two outputs are called", (o.name for o in program.outputs))
    decls = {t.name: t for t in program.tensors}
    for output in program.outputs:
        _check_parts(output, decls)
    complete = _completions(program)
    for value, at in _frees(program):
        for output in program.outputs:
            if value in output.values:
                _check_turn(output, value, complete, at, "freed")
    for decl in program.tensors:
        if decl.streamed:
            _check_streamed(program, decl, complete)


def _check_parts(output: Output, decls: Mapping[str, TensorDecl]) -> None:
    where = f"plan: output {output.name}"
    if output.kind not in OUTPUT_KINDS:
        raise PlanError(f"{where} is a {output.kind!r}, not one of {', '.join(OUTPUT_KINDS)}")
    if not output.values:
        raise PlanError(f"{where} has no parts")
    once(f"{where}: two parts are", output.values)
    shapes = {}
    for value in output.values:
        if value not in decls:
            raise PlanError(f"{where}: {value} is not declared")
        shape = list(decls[value].port.shape)
        if not output.axis < len(shape):
            raise PlanError(f"{where}: {value} has {len(shape)} axes, and none {output.axis}")
        shape[output.axis] = 0
        shapes[value] = shape
    first = output.values[0]
    for value, shape in shapes.items():
        if shape != shapes[first]:
            raise PlanError(
                f"{where}: {first} and {value} are {decls[first].port.shape} and "
                f"{decls[value].port.shape}, which differ beside axis {output.axis}"
            )


# ---------------------------------------------------------------- when a part is complete


def _completions(program: Program) -> dict[str, Moment]:
    """Of every part of an output. What is made in two places has no moment of its own."""
    wanted = set(program.output_values)
    found: dict[str, Moment] = {}
    given = (*(i.name for i in program.inputs), *(c.name for c in program.constants))
    made = [(name, _GIVEN) for name in given]
    for s, segment in enumerate(program.segments):
        made += _made(s, segment)
    for name, moment in made:
        if name in wanted and name in found:
            raise PlanError(f"plan: {name} is part of an output, and made in two places")
        if name in wanted:
            found[name] = moment
    return found


def _made(s: int, segment: Segment) -> Iterator[tuple[str, Moment]]:
    end = (s, len(segment.steps))
    for name, _, _ in segment.state:
        yield name, end
    for k, step in enumerate(segment.steps):
        for binding in step.outputs:
            yield binding.tensor, end if segment.is_loop else (s, k)


def _frees(program: Program) -> Iterator[tuple[str, Moment]]:
    """Of whole tensors, and when."""
    streamed = {t.name for t in program.tensors if t.streamed}
    for s, segment in enumerate(program.segments):
        for k, step in enumerate(segment.steps):
            yield from ((name, (s, k)) for name in step.frees if name not in streamed)
        yield from ((name, (s, len(segment.steps))) for name in segment.frees)


def _check_turn(
    output: Output, value: str, complete: Mapping[str, Moment], at: Moment, what: str
) -> None:
    """All up to this part are complete at that moment."""
    for part in output.values[: output.values.index(value) + 1]:
        if part not in complete or complete[part] > at:
            raise PlanError(
                f"plan: {value} is {what} in segment {at[0]} before its turn in output "
                f"{output.name}: {part} is not complete there"
            )


# ---------------------------------------------------------------- pieces that leave


def _check_streamed(program: Program, decl: TensorDecl, complete: Mapping[str, Moment]) -> None:
    name = decl.name
    if decl.slots != 1:
        raise PlanError(f"plan: {name} is streamed, and yet in {decl.slots} slots")
    owners = [o for o in program.outputs if name in o.values]
    if len({o.axis for o in owners}) != 1:
        raise PlanError(
            f"plan: {name} is streamed, and must be part of outputs that are joined along one axis"
        )
    for s, segment in enumerate(program.segments):
        _check_unread(s, segment, name)
    s, k = _maker(program, name)
    if name not in program.segments[s].steps[k].frees:
        raise PlanError(f"plan: step {s}.{k} makes {name} piece by piece, and does not free it")
    # Before its first piece is made: at the end of the step before, or of the segment before.
    for owner in owners:
        for part in owner.values[: owner.values.index(name)]:
            _check_turn(owner, part, complete, (s, k - 1), f"followed by pieces of {name}")


def _check_unread(s: int, segment: Segment, name: str) -> None:
    if name in {x for carried in segment.state for x in carried} or name == segment.until:
        raise PlanError(f"plan: loop {segment.name} carries {name}, which is streamed")
    for k, step in enumerate(segment.steps):
        if name in reads_of(step):
            raise PlanError(f"plan: step {s}.{k} reads {name}, which is streamed: no step reads it")


def _maker(program: Program, name: str) -> Moment:
    makers = [
        (s, k)
        for s, segment in enumerate(program.segments)
        for k, step in enumerate(segment.steps)
        if name in {b.tensor for b in step.outputs}
    ]
    if len(makers) != 1:
        raise PlanError(f"plan: {name} is streamed, and made by {len(makers)} steps, not by one")
    return makers[0]
