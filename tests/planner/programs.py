"""Small programs made of numbers: what the planner's tests plan. No torch, no graphs."""

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from entracte.ir import (
    Binding,
    By,
    Call,
    Chunk,
    ChunkFacts,
    DType,
    Output,
    Package,
    Policy,
    Port,
    Program,
    Segment,
    TensorDecl,
    Variant,
    Window,
)
from entracte.program.assemble import with_frees

SEQUENTIAL = Policy("sequential", 0, False)
DOUBLE_BUFFER = Policy("double_buffer", 1, True)
STREAM = Policy("stream", 1, False)
DEEP = Policy("deep", 3, True)
CI_DL = Policy("ci_dl", 1, True, "published", margin=2)
STRIDED = Policy("strided", 1_000_000, True, "strided")
OPTIMAL = Policy("optimal", 1_000_000, True, "searched", "best")
ONLINE = Policy("online", 1_000_000, True, "searched", "online")
POLICIES = (SEQUENTIAL, DOUBLE_BUFFER, STREAM, DEEP, CI_DL, STRIDED, OPTIMAL)


@dataclass(frozen=True)
class Part:
    """A straight run of chunks (count 1) or a loop over them."""

    count: int
    weights: tuple[int, ...]
    repeat: int = 1
    until: bool = False
    """The loop may end early: its first chunk also makes `done`."""
    switch: int = 0
    """So many first iterations use the function `merged` of all chunks."""


def port(name: str, size: int = 4) -> Port:
    return Port(name, (size,), DType.FP16)


def whole(value: str) -> Output:
    """An output of that value alone."""
    return Output("out", "tensor", (value,), 0)


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
            Binding("in", self.current, By.MAP, (Window(0, 4, repeat, 4),))
            if sliced
            else Binding("in", self.current)
        )
        write = Binding("out", made)
        if repeat > 1:
            write = Binding("out", made, By.MAP, (Window(0, 4, repeat, 4),))
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
        steps = [self.step(f"c{p}.{k:02d}", w, 1) for k, w in enumerate(part.weights)]
        carried = ((state, begin, self.current),)
        until = f"done{p}" if part.until else None
        if until is not None:
            steps[0] = self.with_done(steps[0], until)
        if part.switch:
            steps = [self.with_switch(step, part.switch) for step in steps]
        self.segments.append(
            Segment(name=f"p{p}", count=part.count, steps=tuple(steps), state=carried, until=until)
        )
        self.current = state

    def with_done(self, step: Call, until: str) -> Call:
        """The chunk also says whether the loop is over, which is read after the last one."""
        self.declare(until, 1)
        k = next(i for i, c in enumerate(self.chunks) if c.id == step.chunk)
        self.chunks[k] = replace(self.chunks[k], outputs=(*self.chunks[k].outputs, port("done", 1)))
        return replace(step, outputs=(*step.outputs, Binding("done", until)))

    def with_switch(self, step: Call, first: int) -> Call:
        """Its chunk gets a second function: half the time, one byte more."""
        k = next(i for i, c in enumerate(self.chunks) if c.id == step.chunk)
        c, f = self.chunks[k], self.facts[k]
        more = c.activation_bytes + 1
        variant = Variant(
            name="merged",
            start=c.start,
            stop=c.stop,
            activation_bytes=more,
            flops=1,
            moved_bytes=0,
        )
        self.chunks[k] = replace(c, variants=(variant,))
        self.facts[k] = replace(f, activation_bytes=more, exec_by=(("merged", f.exec_s / 2),))
        return replace(step, switch=(("merged", first),))


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
        outputs=(whole(chain.current),),
    )
    return with_frees(program), tuple(chain.chunks), tuple(chain.facts)


def packages(chunks: tuple[Chunk, ...]) -> tuple[Package, ...]:
    return tuple(
        Package(
            chunk=c.id,
            path=f"packages/{c.id}.mlpackage",
            digest="d" * 64,
            file_bytes=c.weight_bytes,
            weight_bytes=c.weight_bytes,
            activation_bytes=max([c.activation_bytes, *(v.activation_bytes for v in c.variants)]),
            precision="fp16",
            compression="none",
            inputs=c.inputs,
            outputs=c.outputs,
            functions=("main", *(v.name for v in c.variants)),
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
        until=st.booleans(),
        switch=st.sampled_from((0, 0, 2, 9)),
    ),
    min_size=1,
    max_size=4,
).map(tuple)
"""Chains of straight parts and loops with chunks of any size, empty ones included; some loops
may end early, some change their chunks' function."""
