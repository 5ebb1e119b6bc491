"""Where a run may go on that began elsewhere, and what has happened by then: by the program alone.

A position is the begin of an iteration: of a loop, of a map that carries, or of any later segment.
What is alive there, what went to the outputs' writers, and in which pieces follows from the plan,
so a snapshot (`run/snapshot.py`) need say nothing of it and is held against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from entracte.ir import By, Port, Program, Segment
from entracte.program.steps import bases, lifetimes
from entracte.run.tensors import end_of

Ended = Mapping[str, int]
"""Loop -> iterations that it did, where it may end early."""


@dataclass(frozen=True, slots=True)
class Position:
    """The begin of an iteration of a segment, both from 0."""

    segment: int = 0
    iteration: int = 0

    def step(self, program: Program) -> int:
        """The absolute number of the first step that is left."""
        segment = program.segments[self.segment]
        return bases(program)[self.segment] + self.iteration * len(segment.steps)


START = Position()


def alive_at(program: Program, at: Position) -> frozenset[str]:
    """Tensors in memory at a position after the start."""
    alive = lifetimes(program)
    s = at.segment if at.iteration else at.segment - 1
    last = alive[s, len(program.segments[s].steps) - 1]
    return last.after if at.iteration else last.at_end


@dataclass(frozen=True)
class Delivered:
    """What the outputs' writers have taken at a position.

    Attributes:
        complete: parts that are whole.
        streamed: parts of which pieces went as they were made.
        cut: part -> (axis, end): of what a loop made that ended early.
        pieces: output -> shape and type of each piece that was taken, in order.
    """

    complete: frozenset[str]
    streamed: frozenset[str]
    cut: Mapping[str, tuple[int, int]]
    pieces: Mapping[str, tuple[Port, ...]]


def delivered_at(program: Program, at: Position, ended: Ended) -> Delivered:
    """What went to the outputs' writers before a position."""
    decls = {t.name: t for t in program.tensors}
    streamed = {name for name, t in decls.items() if t.streamed}
    given = {i.name for i in program.inputs} | {c.name for c in program.constants}
    complete = given & decls.keys()
    cut: dict[str, tuple[int, int]] = {}
    many = {name: decls[name].streamed for name in streamed}
    for segment in program.segments[: at.segment]:
        made = _made(segment)
        complete |= made | {name for name, _, _ in segment.state}
        if segment.is_loop:
            done = ended.get(segment.name, segment.count)
            cut |= _cuts(segment, done)
            many |= dict.fromkeys(_by_iteration(segment) & streamed, done)
    now = _made(program.segments[at.segment]) & streamed if at.iteration else set()
    many |= dict.fromkeys(now, at.iteration)
    pieces = {}
    for output in program.outputs:
        found: list[Port] = []
        for part in output.values:
            if part not in complete | now:
                break
            port = decls[part].port
            whole = _cut(port, output.axis, cut.get(part))
            found += [port] * many[part] if part in streamed else [whole]
            if part not in complete:
                break
        pieces[output.name] = tuple(found)
    went = (streamed & complete) | now
    return Delivered(frozenset(complete), frozenset(went), cut, pieces)


def _made(segment: Segment) -> set[str]:
    return {b.tensor for step in segment.steps for b in step.outputs}


def _by_iteration(segment: Segment) -> set[str]:
    bound = (b for step in segment.steps for b in step.outputs)
    return {b.tensor for b in bound if b.by is By.ITERATION}


def _cuts(segment: Segment, done: int) -> dict[str, tuple[int, int]]:
    bound = (b for step in segment.steps for b in step.outputs)
    return {
        b.tensor: end_of(b, done) for b in bound if b.by is By.ITERATION and len(b.windows) == 1
    }


def _cut(port: Port, axis: int, cut: tuple[int, int] | None) -> Port:
    """As `delivery` cuts it."""
    rank = len(port.shape)
    if cut is None or cut[0] != axis % rank or cut[1] >= port.shape[cut[0]]:
        return port
    shape = (*port.shape[: cut[0]], cut[1], *port.shape[cut[0] + 1 :])
    return Port(port.name, shape, port.dtype)
