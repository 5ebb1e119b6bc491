"""Small programs made of numbers: what the planner's tests plan. No torch, no graphs."""

from dataclasses import dataclass

from hypothesis import strategies as st

from compiler.ir import (
    Binding,
    By,
    Call,
    Chunk,
    ChunkFacts,
    DType,
    Package,
    Policy,
    Port,
    Program,
    Segment,
    TensorDecl,
)
from compiler.program import with_frees

SEQUENTIAL = Policy("sequential", 0, False)
DOUBLE_BUFFER = Policy("double_buffer", 1, True)
STREAM = Policy("stream", 1, False)
DEEP = Policy("deep", 3, True)
POLICIES = (SEQUENTIAL, DOUBLE_BUFFER, STREAM, DEEP)


@dataclass(frozen=True)
class Part:
    """A straight run of chunks (count 1) or a loop over them."""

    count: int
    weights: tuple[int, ...]
    repeat: int = 1


def port(name: str, size: int = 4) -> Port:
    return Port(name, (size,), DType.FP16)


class _Chain:
    """Working state of `make_program`."""

    def __init__(self) -> None:
        self.tensors = [TensorDecl(port("x"))]
        self.segments: list[Segment] = []
        self.chunks: list[Chunk] = []
        self.facts: list[ChunkFacts] = []
        self.current, self.size = "x", 4

    def declare(self, name: str, size: int) -> None:
        self.tensors.append(TensorDecl(port(name, size)))

    def step(self, name: str, weight: int, repeat: int) -> Call:
        """A chunk that reads the current tensor; mapped chunks make three slices of four."""
        k = len(self.chunks)
        made = f"t{k}"
        sliced = repeat > 1 and self.size > 4
        self.declare(made, 4 * repeat)
        source = port("in", 4 if sliced else self.size)
        read = (
            Binding("in", self.current, By.MAP, axis=0, size=4)
            if sliced
            else Binding("in", self.current)
        )
        write = Binding("out", made, By.MAP, axis=0, size=4) if repeat > 1 else Binding("out", made)
        graph = name.split(".")[0]
        self.chunks.append(
            Chunk(
                id=name,
                graph=graph,
                start=k,
                stop=k + 1,
                inputs=(source,),
                outputs=(port("out"),),
                weight_bytes=weight,
                activation_bytes=16 + k,
                flops=1,
                moved_bytes=1,
            )
        )
        self.facts.append(
            ChunkFacts(
                id=name,
                weight_bytes=weight,
                activation_bytes=16 + k,
                load_s=weight / 100,
                exec_s=1.0,
            )
        )
        self.current, self.size = made, 4 * repeat
        return Call(stage=graph, chunk=name, inputs=(read,), outputs=(write,), repeat=repeat)

    def straight(self, p: int, part: Part) -> None:
        steps = [self.step(f"c{p}.{k:02d}", w, part.repeat) for k, w in enumerate(part.weights)]
        self.segments.append(Segment(name=f"p{p}", count=1, steps=tuple(steps)))

    def loop(self, p: int, part: Part) -> None:
        if self.size != 4:
            steps = (self.step(f"c{p}.90", 1, 1),)
            self.segments.append(Segment(name=f"p{p}.join", count=1, steps=steps))
        state, begin = f"s{p}", self.current
        self.declare(state, 4)
        self.current = state
        steps = tuple(self.step(f"c{p}.{k:02d}", w, 1) for k, w in enumerate(part.weights))
        carried = ((state, begin, self.current),)
        self.segments.append(Segment(name=f"p{p}", count=part.count, steps=steps, state=carried))
        self.current = state


def make_program(
    parts: tuple[Part, ...],
) -> tuple[Program, tuple[Chunk, ...], tuple[ChunkFacts, ...]]:
    """A chain: each chunk reads what the one before it made; loops carry a state."""
    chain = _Chain()
    for p, part in enumerate(parts):
        (chain.loop if part.count > 1 else chain.straight)(p, part)
    program = Program(
        inputs=(),
        constants=(port("x"),),
        tensors=tuple(chain.tensors),
        segments=tuple(chain.segments),
        output=chain.current,
    )
    return with_frees(program), tuple(chain.chunks), tuple(chain.facts)


def packages(chunks: tuple[Chunk, ...]) -> tuple[Package, ...]:
    return tuple(
        Package(
            chunk=c.id,
            path=f"packages/{c.id}.mlpackage",
            digest="d",
            file_bytes=c.weight_bytes,
            weight_bytes=c.weight_bytes,
            activation_bytes=c.activation_bytes,
            precision="fp16",
            compression="none",
            inputs=c.inputs,
            outputs=c.outputs,
        )
        for c in chunks
    )


weights = st.integers(min_value=0, max_value=200)
parts = st.lists(
    st.builds(
        Part,
        count=st.sampled_from((1, 1, 2, 3, 4, 7)),
        weights=st.lists(weights, min_size=1, max_size=5).map(tuple),
        repeat=st.sampled_from((1, 1, 3)),
    ),
    min_size=1,
    max_size=4,
).map(tuple)
"""Chains of straight parts and loops with chunks of any size, empty ones included."""
