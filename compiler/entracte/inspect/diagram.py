"""The pipeline of a plan as a graph: stages or chunks, loops, and the bytes between them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from entracte.inspect.rounds import rests, rounds
from entracte.ir import Call, HostStep, Plan, Segment, Step, TensorDecl
from entracte.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A box. `kind`: input, constant, host, stage, chunk or output."""

    id: str
    kind: str
    lines: tuple[str, ...]
    """Its name, then what there is to say about it."""
    group: str | None = None
    """The group that it stands in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A frame around boxes. `kind`: loop, or stage where chunks are shown."""

    id: str
    kind: str
    title: str
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """Tensors from one box to another, whole; `carried`: as state, in the next iteration."""

    source: str
    target: str
    size_bytes: int
    carried: bool


@dataclass(frozen=True, slots=True)
class Diagram:
    """Boxes, the frames around them (stages and loops), and the arrows between them."""

    title: str
    nodes: tuple[Node, ...]
    groups: tuple[Group, ...]
    edges: tuple[Edge, ...]


def diagram(plan: Plan, *, chunks: bool = False) -> Diagram:
    """One box for each stage graph (for each chunk with `chunks`), host step, input, constant."""
    return _Drawing(plan, chunks).drawn()


@dataclass
class _Drawing:
    """Working state of `diagram`: who made each tensor."""

    plan: Plan
    chunks: bool
    nodes: dict[tuple[object, ...], Node] = field(default_factory=dict)
    groups: dict[tuple[object, ...], Group] = field(default_factory=dict)
    edges: dict[tuple[str, str, bool], set[str]] = field(default_factory=dict)
    maker: dict[str, str] = field(default_factory=dict)
    """Tensor -> id of the box that made it."""

    def drawn(self) -> Diagram:
        program = self.plan.program
        for i in program.inputs:
            self.maker[i.name] = self.node(("input", i.name), "input", _named(i.name, i.kind))
        for port in program.constants:
            name = port.name.partition(".")[0]
            self.maker[port.name] = self.node(("constant", name), "constant", (name, "constant"))
        for s, segment in enumerate(program.segments):
            self.segment(s, segment)
        decls = {t.name: t for t in program.tensors}
        for output in program.outputs:
            shapes = ", ".join(_shape(decls[v]) for v in output.values)
            end = self.node(("output", output.name), "output", (output.name, shapes))
            for value in output.values:
                self.edge(self.maker[value], end, value, False)
        return Diagram(
            self.plan.title, tuple(self.nodes.values()), tuple(self.groups.values()), self.sized()
        )

    def segment(self, s: int, segment: Segment) -> None:
        loop = None
        if segment.is_loop:
            loop = self.group(("loop", s), "loop", f"{segment.name}: {rounds(segment)}")
        for name, first, _ in segment.state:
            self.maker[name] = self.maker[first]
        readers: dict[str, set[str]] = {}
        for step in segment.steps:
            box = self.box(s, segment, step, loop)
            for tensor in _reads(step):
                self.edge(self.maker[tensor], box, tensor, False)
                readers.setdefault(tensor, set()).add(box)
            for binding in step.outputs:
                self.maker[binding.tensor] = box
        for name, _, following in segment.state:
            if segment.count > 1:
                for box in sorted(readers.get(name, ())):
                    self.edge(self.maker[following], box, name, True)
            self.maker[name] = self.maker[following]

    def box(self, s: int, segment: Segment, step: Step, loop: str | None) -> str:
        """The box of a step."""
        if isinstance(step, HostStep):
            key = ("host", s, step.stage)
            return self.node(key, "host", _named(step.stage, step.op), loop)
        if not self.chunks:
            lines = self.stage_lines(step, segment.count)
            return self.node(("stage", s, step.stage), "stage", lines, loop)
        title = ", ".join((step.stage, *_notes(step, segment.count)))
        group = self.group(("stage", s, step.stage), "stage", title, loop)
        facts = next(f for f in self.plan.facts if f.id == step.chunk)
        lines = (step.chunk, format_bytes(facts.weight_bytes))
        return self.node(("chunk", s, step.stage, step.chunk), "chunk", lines, group)

    def stage_lines(self, step: Call, count: int) -> tuple[str, ...]:
        chunks = self.plan.chunks
        theirs = [c for c in chunks if step.stage in {v.graph for v in c.others}]
        ids = {c.id for c in theirs or chunks if theirs or c.graph == step.stage}
        weights = format_bytes(sum(f.weight_bytes for f in self.plan.facts if f.id in ids))
        many = f"{len(ids)} chunks" if len(ids) != 1 else "1 chunk"
        whose = f" of {theirs[0].graph}" if theirs else ""
        return (step.stage, f"{many}{whose}, {weights}", *_notes(step, count))

    def node(
        self, key: tuple[object, ...], kind: str, lines: tuple[str, ...], group: str | None = None
    ) -> str:
        fresh = Node(id=f"n{len(self.nodes)}", kind=kind, lines=lines, group=group)
        return self.nodes.setdefault(key, fresh).id

    def group(
        self, key: tuple[object, ...], kind: str, title: str, parent: str | None = None
    ) -> str:
        fresh = Group(id=f"g{len(self.groups)}", kind=kind, title=title, parent=parent)
        return self.groups.setdefault(key, fresh).id

    def edge(self, source: str, target: str, tensor: str, carried: bool) -> None:
        """A carried edge may go from a box to itself; others within a box are not drawn."""
        if source != target or carried:
            self.edges.setdefault((source, target, carried), set()).add(tensor)

    def sized(self) -> tuple[Edge, ...]:
        # Of what is streamed, all pieces go.
        size = {t.name: t.size_bytes * max(1, t.streamed) for t in self.plan.program.tensors}
        return tuple(
            Edge(source, target, sum(size.get(x, 0) for x in tensors), carried)
            for (source, target, carried), tensors in self.edges.items()
        )


def _named(name: str, kind: str) -> tuple[str, ...]:
    return (name,) if name == kind else (name, kind)


def _shape(decl: TensorDecl) -> str:
    """Of an output's part; of what is streamed, how many pieces of which shape."""
    shape = "x".join(map(str, decl.port.shape))
    return f"{decl.streamed} times {shape}, as they are made" if decl.streamed else shape


def _notes(step: Call, count: int) -> list[str]:
    """A map's slices, in which of so many iterations it is called, a switch's functions."""
    notes = [f"map: {step.repeat} slices"] if step.repeat > 1 else []
    if rest := rests(step, count):
        notes.append(f"in {rest}")
    if step.switch:
        named = [f"{name} below {n}" for name, n in step.switch]
        notes.append(f"functions {', '.join(named)}, then {step.function}")
    return notes


def _reads(step: Step) -> Iterable[str]:
    if isinstance(step, HostStep):
        return dict.fromkeys(value for _, value in step.inputs)
    return dict.fromkeys(b.tensor for b in step.inputs)
