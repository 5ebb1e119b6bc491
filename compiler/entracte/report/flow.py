"""The pipeline as a graph: who makes what for whom, read off a program."""

from collections.abc import Iterator
from dataclasses import dataclass

from entracte.inspect.rounds import rests, rounds
from entracte.ir import Call, HostStep, Plan, Program, Segment, Step
from entracte.program.assemble import reads


@dataclass(frozen=True, slots=True)
class Node:
    """A box: `kind` is input, constant, host, stage or output. `segment` is its loop's, or None."""

    id: str
    kind: str
    label: str
    segment: int | None
    chunks: tuple[str, ...] = ()
    repeat: int = 1
    """Slices of a map; 1 for other stages."""
    rests: str = ""
    """In which iterations it happens; empty: in all."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Tensors that one box makes and another reads."""

    source: str
    target: str
    tensors: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Ring:
    """A loop, or a map whose slices follow one another: how often, what it carries from one to the
    next, what may end it."""

    segment: int
    name: str
    count: int
    sliced: bool
    rounds: str
    """`count` in words."""
    state: tuple[str, ...]
    until: str | None


@dataclass(frozen=True, slots=True)
class Flow:
    """The pipeline's picture: stages, what flows between them, and the loops around them."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    loops: tuple[Ring, ...]


def flow_of(plan: Plan) -> Flow:
    """Stages in the order they run, after the inputs and constants that they read."""
    program = plan.program
    steps = list(_stages(program))
    edges = _edges(program)
    read = {source for source, _ in edges}
    given = [Node(f"in:{i.name}", "input", i.name, None) for i in program.inputs]
    tables = dict.fromkeys(c.name.split(".")[0] for c in program.constants)
    given += [Node(f"const:{name}", "constant", name, None) for name in tables]
    nodes = [n for n in given if n.id in read]
    nodes += steps
    nodes += [Node(f"out:{o.name}", "output", o.name, None) for o in program.outputs]
    # Of what is streamed, all pieces flow.
    size = {t.name: t.size_bytes * max(1, t.streamed) for t in program.tensors}
    made = tuple(
        Edge(a, b, tuple(names), sum(size.get(n, 0) for n in names))
        for (a, b), names in edges.items()
    )
    rings = tuple(
        Ring(
            s, g.name, g.count, g.sliced, rounds(g), tuple(name for name, _, _ in g.state), g.until
        )
        for s, g in enumerate(program.segments)
        if g.is_loop
    )
    return Flow(tuple(nodes), made, rings)


def _stages(program: Program) -> Iterator[Node]:
    for s, segment in enumerate(program.segments):
        groups: dict[str, list[Step]] = {}
        for step in segment.steps:
            groups.setdefault(step.stage, []).append(step)
        for stage, steps in groups.items():
            loop = s if segment.is_loop else None
            id = _id(program, s, stage)
            if isinstance(steps[0], HostStep):
                yield Node(id, "host", stage, loop)
                continue
            calls = [x for x in steps if isinstance(x, Call)]
            chunks = tuple(dict.fromkeys(c.chunk for c in calls))
            repeat = max(c.repeat for c in calls)
            rest = next((r for c in calls if (r := rests(c, segment.count))), "")
            yield Node(id, "stage", stage, loop, chunks, repeat, rest)


def _id(program: Program, segment: int, stage: str) -> str:
    """A stage may stand in several segments: each is a box of its own."""
    first = next(
        s for s, g in enumerate(program.segments) if any(x.stage == stage for x in g.steps)
    )
    return f"stage:{stage}" if segment == first else f"stage:{stage}:{segment}"


def _edges(program: Program) -> dict[tuple[str, str], list[str]]:
    """(from, to) -> tensors. A loop's state comes from its first value; what is carried from one
    iteration to the next is told by the loop itself."""
    maker = {i.name: f"in:{i.name}" for i in program.inputs}
    maker |= {c.name: f"const:{c.name.split('.')[0]}" for c in program.constants}
    edges: dict[tuple[str, str], list[str]] = {}
    for s, segment in enumerate(program.segments):
        maker |= {name: maker[init] for name, init, _ in segment.state if init in maker}
        for step in segment.steps:
            _note(edges, maker, step, _id(program, s, step.stage))
        maker |= _last_values(segment, maker)
    for output in program.outputs:
        for value in (v for v in output.values if v in maker):
            edges.setdefault((maker[value], f"out:{output.name}"), []).append(value)
    return edges


def _note(
    edges: dict[tuple[str, str], list[str]], maker: dict[str, str], step: Step, own: str
) -> None:
    for tensor in sorted(reads(step)):
        source = maker.get(tensor)
        if source is None or source == own:
            continue
        names = edges.setdefault((source, own), [])
        if tensor not in names:
            names.append(tensor)
    maker |= {binding.tensor: own for binding in step.outputs}


def _last_values(segment: Segment, maker: dict[str, str]) -> dict[str, str]:
    return {name: maker[after] for name, _, after in segment.state if after in maker}
