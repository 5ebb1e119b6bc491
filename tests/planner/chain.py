"""A chain of chunks made of numbers: each reads what the one before it made."""

from dataclasses import dataclass, replace

from entracte.ir import (
    Binding,
    By,
    Call,
    Chunk,
    ChunkFacts,
    DType,
    Input,
    Output,
    Port,
    Segment,
    TensorDecl,
    Variant,
    Window,
)


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
    also: tuple[str, ...] = ()
    """What else it has, of `constructs.py`: `collect`, `stream`, `cast`, `rest`, `irregular`, `ask`
    and `ask within` of loops, `given` of what is no loop; or what it is in place of a chain:
    `slices`, `groups`, `tiles`, `shared`."""


def port(name: str, size: int = 4, dtype: DType = DType.FP16) -> Port:
    return Port(name, (size,), dtype)


def whole(value: str) -> Output:
    """An output of that value alone."""
    return Output("out", "tensor", (value,), 0)


class Chain:
    """Working state of `programs.make_program`."""

    def __init__(self) -> None:
        self.tensors = [TensorDecl(port("x"))]
        self.inputs: list[Input] = []
        self.outputs: list[Output] = []
        self.gone: list[str] = []
        """Whole parts for the next output that is streamed to its end."""
        self.collected: list[str] = []
        """Which somebody may still read."""
        self.segments: list[Segment] = []
        self.chunks: list[Chunk] = []
        self.facts: list[ChunkFacts] = []
        self.current, self.size = "x", 4

    def declare(self, name: str, size: int, **more) -> None:
        dtype = more.pop("dtype", DType.FP16)
        self.tensors.append(TensorDecl(port(name, size, dtype), **more))

    def decl(self, name: str) -> TensorDecl:
        return next(t for t in self.tensors if t.name == name)

    def leaves(self, *values: str) -> None:
        """An output of its own of these parts, in this order."""
        self.outputs.append(Output(f"out{len(self.outputs)}", "tensor", values, 0))

    def leaves_with_all(self, name: str) -> None:
        """Behind the whole parts that wait for an output."""
        self.leaves(*self.gone, name)
        self.gone = []

    def step(self, name: str, weight: int, repeat: int) -> Call:
        """A chunk that reads the current tensor; mapped chunks make three slices of four."""
        k = len(self.chunks)
        made = f"t{k}"
        sliced = repeat > 1 and self.size > 4
        self.declare(made, 4 * repeat)
        source = port("in", 4 if sliced else self.size, self.decl(self.current).port.dtype)
        read = (
            Binding("in", self.current, By.MAP, (Window(0, 4, repeat, 4),))
            if sliced
            else Binding("in", self.current)
        )
        write = Binding("out", made)
        if repeat > 1:
            write = Binding("out", made, By.MAP, (Window(0, 4, repeat, 4),))
        self.current, self.size = made, 4 * repeat
        return self.call(name, weight, {source: read}, {port("out"): write}, repeat)

    def call(self, name: str, weight: int, inputs, outputs, repeat: int = 1) -> Call:
        """A new chunk and a call of it: its ports, and what each is bound to."""
        k, graph = len(self.chunks), name.split(".")[0]
        self.chunks.append(
            Chunk(
                id=name,
                graph=graph,
                start=k,
                stop=k + 1,
                inputs=tuple(inputs),
                outputs=tuple(outputs),
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
        return Call(
            stage=graph,
            chunk=name,
            inputs=tuple(inputs.values()),
            outputs=tuple(outputs.values()),
            repeat=repeat,
        )

    def straight(self, p: int, part: Part) -> None:
        steps = [self.step(f"c{p}.{k:02d}", w, part.repeat) for k, w in enumerate(part.weights)]
        if "given" in part.also:
            picture = port(f"picture{p}", 40)
            self.tensors.append(TensorDecl(picture))
            self.inputs.append(Input(picture.name, "tensor", 0, picture))
            steps[0] = self.with_input(steps[0], picture.name)
        elif "collect" in part.also and self.collected:
            steps[0] = self.with_input(steps[0], self.collected[-1])
        if "stream" in part.also and part.repeat > 1:
            name = f"stream{p}"
            self.declare(name, 4, streamed=part.repeat)
            *steps, last = steps
            steps.append(replace(last, outputs=(*last.outputs, Binding("out", name, By.MAP))))
            self.leaves_with_all(name)
        elif "stream" in part.also:
            self.gone.append(self.current)
        self.segments.append(Segment(name=f"p{p}", count=1, steps=tuple(steps)))

    def with_input(self, step: Call, name: str) -> Call:
        """Its chunk reads one more tensor, whole."""
        k = next(i for i, c in enumerate(self.chunks) if c.id == step.chunk)
        source = replace(self.decl(name).port, name="all")
        self.chunks[k] = replace(self.chunks[k], inputs=(*self.chunks[k].inputs, source))
        return replace(step, inputs=(*step.inputs, Binding("all", name)))

    def loop(self, p: int, part: Part) -> None:
        if self.decl(self.current).port != port(self.current):
            steps = (self.step(f"c{p}.90", 1, 1),)
            self.segments.append(Segment(name=f"p{p}.join", count=1, steps=steps))
        state, begin = f"s{p}", self.current
        self.declare(state, 4, dtype=DType.FP32 if "cast" in part.also else DType.FP16)
        self.current = state
        steps = [self.step(f"c{p}.{k:02d}", w, 1) for k, w in enumerate(part.weights)]
        carried = ((state, begin, self.current),)
        until = f"done{p}" if part.until else None
        if until is not None:
            steps[0] = self.with_done(steps[0], until)
        if part.switch:
            steps = [self.with_switch(step, part.switch) for step in steps]
        steps = self.resting(part, self.collecting(p, part, steps))
        if "ask" in part.also:
            steps = self.asking(f"asked{p}", steps)
        if "ask within" in part.also:
            steps = self.asking_within(f"asked{p}", steps, part.count)
        self.segments.append(
            Segment(name=f"p{p}", count=part.count, steps=tuple(steps), state=carried, until=until)
        )
        self.current = state

    def collecting(self, p: int, part: Part, steps: list[Call]) -> list[Call]:
        """What the last chunk makes is also collected, or leaves piece by piece."""
        last, count = steps[-1], part.count
        for what in ("collect", "stream"):
            if what not in part.also:
                continue
            name = f"{what}{p}"
            if what == "collect":
                self.declare(name, 4 * count)
                bound = Binding("out", name, By.ITERATION, (Window(0, 4, count, 4),))
                self.collected.append(name)
            else:
                self.declare(name, 4, streamed=count)
                bound = Binding("out", name, By.ITERATION)
                self.leaves_with_all(name)
            last = replace(last, outputs=(*last.outputs, bound))
        return [*steps[:-1], last]

    def resting(self, part: Part, steps: list[Call]) -> list[Call]:
        """All but the first and the last, which make what every iteration needs."""
        at = tuple(range(0, part.count, 2))
        if "irregular" in part.also:
            at = (0, *(i for i in range(1, part.count) if i * i % 5 == 1))
        if not {"rest", "irregular"} & set(part.also):
            return steps
        rests = [replace(s, at=at[:: 1 + k % 2]) for k, s in enumerate(steps)]
        return [steps[0], *rests[1:-1], *steps[1:][-1:]]

    def asking(self, name: str, steps: list[Call]) -> list[Call]:
        """The first chunk says whether all but it and the last one rest."""
        if len(steps) < 3:
            return steps
        first, *middle, last = steps
        rests = [replace(s, rests_by=name) for s in middle]
        return [self.with_done(first, name, "rests"), *rests, last]

    def asking_within(self, name: str, steps: list[Call], count: int) -> list[Call]:
        """All but the first and the last happen in some iterations, not all of them in a row; the
        first of these says whether those behind it rest in them, the last ones in fewer still."""
        if len(steps) < 4:
            return steps
        first, asks, *middle, last = steps
        at = tuple(i for i in range(count) if i % 4 != 1)
        asks = self.with_done(replace(asks, at=at), name, "rests")
        rests = [
            replace(s, at=at[: max(1, len(at) - k)], rests_by=name) for k, s in enumerate(middle)
        ]
        return [first, asks, *rests, last]

    def with_done(self, step: Call, until: str, feature: str = "done") -> Call:
        """The chunk also says whether the loop is over, which is read after the last one."""
        self.declare(until, 1)
        k = next(i for i, c in enumerate(self.chunks) if c.id == step.chunk)
        made = (*self.chunks[k].outputs, port(feature, 1))
        self.chunks[k] = replace(self.chunks[k], outputs=made)
        return replace(step, outputs=(*step.outputs, Binding(feature, until)))

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
