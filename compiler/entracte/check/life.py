"""The checker's half about tensors: every one is made before it is read and dropped once.

Like `check` it shares no code with the planner. A loop that may end early (`until`) is followed
to its end after each iteration looked at: if all ends leave the same tensors, the rest of the
program is proven once for all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from entracte.errors import PlanError
from entracte.ir import Binding, Call, HostStep, Port, Program, Segment, Step

ITERATIONS = 5
"""Loops are periodic after their first iteration, so five cover every kind of neighbour."""


@dataclass(frozen=True, slots=True)
class At:
    """A step as it runs: its segment, the iteration, and its place in the iteration."""

    segment: int
    iteration: int
    step: int
    what: Step


def unrolled(program: Program) -> list[At]:
    """The steps in order, of each loop the first `ITERATIONS`."""
    return [
        At(s, i, k, step)
        for s, segment in enumerate(program.segments)
        for i in range(min(segment.count, ITERATIONS))
        for k, step in enumerate(segment.steps)
    ]


def check_features(
    program: Program, ports: Mapping[str, tuple[Sequence[Port], Sequence[Port]]]
) -> None:
    """Every call gives each input of its package once, with the shape and type it wants."""
    decls = {t.name: t for t in program.tensors}
    for step in (s for g in program.segments for s in g.steps):
        if not isinstance(step, Call):
            continue
        inputs, outputs = ports[step.chunk]
        for side, wanted, given in (
            ("input", inputs, step.inputs),
            ("output", outputs, step.outputs),
        ):
            names = [b.feature for b in given]
            if sorted(names) != sorted(p.name for p in wanted):
                raise PlanError(
                    f"plan: chunk {step.chunk} has {side}s {sorted(p.name for p in wanted)}, "
                    f"the call binds {sorted(names)}"
                )
            for binding in given:
                port = next(p for p in wanted if p.name == binding.feature)
                _check_piece(step.chunk, port, binding, decls[binding.tensor].port)


def _check_piece(chunk: str, port: Port, binding: Binding, whole: Port) -> None:
    shape = list(whole.shape)
    if binding.axis is not None:
        if binding.axis >= len(shape) or binding.size < 1:
            raise PlanError(f"plan: chunk {chunk}, {port.name}: no axis {binding.axis} to slice")
        shape[binding.axis] = binding.size
    if tuple(shape) != port.shape or whole.dtype != port.dtype:
        raise PlanError(
            f"plan: chunk {chunk}, {port.name} wants {port.dtype} {port.shape}, tensor "
            f"{binding.tensor} gives {whole.dtype} {tuple(shape)}"
        )


# ---------------------------------------------------------------- states


def check_carried(program: Program, segment: Segment) -> None:
    """A loop's state has the shape and type of what it starts as and goes on as."""
    ports = {t.name: (t.port.shape, t.port.dtype, t.slots) for t in program.tensors}
    for name, first, following in segment.state:
        unknown = [x for x in (name, first, following) if x not in ports]
        if unknown:
            raise PlanError(
                f"plan: loop {segment.name} carries {unknown[0]}, which is not declared"
            )
        if not ports[name] == ports[first] == ports[following]:
            raise PlanError(
                f"plan: loop {segment.name}: state {name} is {ports[name]}, starts as "
                f"{ports[first]} and goes on as {ports[following]}"
            )


# ---------------------------------------------------------------- tensors


def check_until(program: Program, segment: Segment) -> None:
    """What ends a loop early is one number."""
    if segment.until is None:
        return
    decl = next((t for t in program.tensors if t.name == segment.until), None)
    if decl is None or prod(decl.port.shape) * decl.slots != 1:
        raise PlanError(
            f"plan: loop {segment.name} may end by {segment.until}, which is not one number"
        )
    if not any(b.tensor == segment.until for s in segment.steps for b in s.outputs):
        raise PlanError(
            f"plan: loop {segment.name}: no step of it makes {segment.until}, by which it may end"
        )


def check_tensors(program: Program, timeline: list[At]) -> list[frozenset[str]]:
    """Follow every tensor's life; returns which are alive during each step."""
    declared = {t.name for t in program.tensors}
    given = {i.name for i in program.inputs}
    alive = (given & declared) | {c.name for c in program.constants}
    untyped = given - declared
    ends: dict[int, set[str]] = {}
    held = []
    for n, at in enumerate(timeline):
        segment = program.segments[at.segment]
        if at.step == 0:
            _enter_iteration(segment.state, at.iteration, alive, segment.name)
        needs = _reads(at.what)
        lost = sorted(needs - alive - untyped)
        if lost:
            raise PlanError(
                f"plan: {name_of(at)} reads {lost[0]}, which is not there any more or yet"
            )
        made = {b.tensor for b in at.what.outputs}
        unknown = sorted(made - declared)
        if unknown:
            raise PlanError(f"plan: {name_of(at)} writes {unknown[0]}, which is not declared")
        alive |= made
        held.append(frozenset(alive & declared))
        stray = sorted(set(at.what.frees) - alive)
        if stray:
            raise PlanError(f"plan: {name_of(at)} frees {stray[0]}, which is not there")
        alive -= set(at.what.frees)
        if at.step + 1 == len(segment.steps):
            _end_iteration(segment, at, alive, ends)
        last_step = n + 1 == len(timeline) or timeline[n + 1].segment != at.segment
        if last_step:
            _leave_segment(segment.state, segment.frees, alive, segment.name)
    if program.output not in alive:
        raise PlanError(f"plan: the output {program.output} is not there at the end")
    left = sorted(alive - {program.output} - given - {c.name for c in program.constants})
    if left:
        raise PlanError(f"plan: tensor {left[0]} is never freed")
    return held


def _enter_iteration(
    state: Sequence[tuple[str, str, str]], iteration: int, alive: set[str], segment: str
) -> None:
    for name, first, following in state:
        source = first if iteration == 0 else following
        if source not in alive:
            raise PlanError(
                f"plan: loop {segment}: state {name} takes {source}, which is not there"
            )
        alive.add(name)
        if iteration > 0:
            alive.discard(following)


def _end_iteration(segment: Segment, at: At, alive: set[str], ends: dict[int, set[str]]) -> None:
    """Drop what says whether the loop goes on; ending here leaves what other ends leave."""
    if segment.until is None:
        return
    if segment.until not in alive:
        raise PlanError(
            f"plan: loop {segment.name}: nothing made {segment.until}, by which it may end"
        )
    if segment.until not in {following for _, _, following in segment.state}:
        alive.discard(segment.until)
    left = set(alive)
    _leave_segment(segment.state, segment.frees, left, segment.name)
    other = sorted(left ^ ends.setdefault(at.segment, left))
    if other:
        raise PlanError(
            f"plan: loop {segment.name} may end after iteration {at.iteration}, where {other[0]} "
            "is not as after the first"
        )


def _leave_segment(
    state: Sequence[tuple[str, str, str]], frees: Sequence[str], alive: set[str], segment: str
) -> None:
    for name, _, following in state:
        if following not in alive:
            raise PlanError(f"plan: loop {segment}: nothing made {following}, the next {name}")
        alive.discard(following)
    for tensor in frees:
        alive.discard(tensor)


def _reads(step: Step) -> set[str]:
    if isinstance(step, HostStep):
        return {value for _, value in step.inputs}
    return {b.tensor for b in step.inputs}


def name_of(at: At) -> str:
    """How errors name a step: segment, iteration, step, and the chunk or host stage."""
    label = at.what.chunk if isinstance(at.what, Call) else at.what.stage
    return f"step {at.segment}.{at.iteration}.{at.step} ({label})"
