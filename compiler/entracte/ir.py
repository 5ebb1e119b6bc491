"""The data model: every value that flows between the phases, in one file.

    declared   Pipeline, Target            what the configuration says
    measured   StageGraph                  what tracing found: operations, bytes, FLOPs, cuts
    decided    Partition, Program, Schedule
    emitted    Bundle                      what the packages on disk really are
    promised   Plan                        all a runner needs, and what it may expect
    observed   Run                         what happened

All are frozen and hold only ints, floats, strings and tuples: no torch, coremltools, numpy
or OmegaConf object, no open file. Heavy things are named by path and digest. Bytes end in
`_bytes`, seconds in `_s`. A change is a new value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import prod

Params = tuple[tuple[str, object], ...]
"""Frozen `{name: value}`: values are str, int, float, bool or tuples of them."""


RARE = {"rare": True}
"""Metadata of a field that few plans need: it is written only where it is not its default."""


class DType(StrEnum):
    """Element type of a tensor that crosses a package boundary."""

    FP16 = "fp16"
    FP32 = "fp32"
    INT32 = "int32"

    @property
    def width_bytes(self) -> int:
        """Bytes of one element."""
        return 2 if self is DType.FP16 else 4


@dataclass(frozen=True, slots=True)
class Port:
    """A named, shaped, typed input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: DType

    @property
    def size_bytes(self) -> int:
        """Bytes of all its elements."""
        return prod(self.shape) * self.dtype.width_bytes


# ---------------------------------------------------------------- declared


class StageKind(StrEnum):
    """What a stage's `op` names, and when it runs."""

    GRAPH = "graph"
    """A torch module of the graphs registry: compiled."""
    CONSTANT = "constant"
    """Tensors computed when compiling, stored in the build folder."""
    HOST = "host"
    """One of the runner's few own steps (`entracte/declare/host_ops`)."""


@dataclass(frozen=True, slots=True)
class Slices:
    """How a map cuts one axis: slice k is [start + k stride, start + k stride + size), `count` of
    them, as many as there are where it is None. Where `stride` is below `size` outputs overlap, and
    are blended by a ramp."""

    axis: int
    size: int
    output_axis: int
    stride: int
    start: int = 0
    count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """Run a stage over slices of some of its inputs; its outputs are put together again.

    Along two axes the slices are those of the grid, the last axis fastest.
    """

    ports: tuple[str, ...]
    slices: tuple[Slices, ...]
    carry: tuple[tuple[str, str, str], ...] = ()
    """(input, value that the first slice reads, output that the next slice reads in its place).
    After the map `STAGE.OUTPUT` is what the last slice made."""
    rests: tuple[int, ...] = ()
    """Slices, the first or the last of them, that run in some iterations of the stage's loop; in
    the others what they made last stands. What they make is `PORT_rests`, and `PORT` is of the
    others."""
    at: tuple[int, ...] = ()
    """The iterations in which those run, by rising number, 0 among them; empty: in all."""
    order: str = "auto"
    """`chunk`: each chunk runs over all slices before the next one; `slice`: all chunks run for a
    slice before the next one; `auto`: these, or groups of chunks, as the planner finds best."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """Blocks of a stage between its first and its last ones run in some iterations of its loop; in
    the others the change that they made last is added again (`frontend/reuse.py`)."""

    first: int
    last: int
    """Blocks at the begin and at the end that run in all."""
    at: tuple[int, ...]
    """The iterations in which those between run, by rising number, 0 among them; empty: `change`
    decides."""
    change: float = 0.0
    """First-block test: those between rest where what the first blocks change of the stream differs
    from what it was when they ran last by less than this share of it; 0: no test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One box of the pipeline. `inputs` maps each port to the value it reads."""

    name: str
    kind: StageKind
    op: str
    params: Params = ()
    inputs: tuple[tuple[str, str], ...] = ()
    map: Map | None = None
    precision: str = "fp16"
    compression: str = "none"
    functions: tuple[tuple[str, int], ...] = ()
    """(graph variant, n): it runs while the loop's iteration is below n, then the next, at last
    `main`. By rising n; none is 0."""
    weights: str = ""
    """Where its own weights are, spelled like `Pipeline.weights`; empty: there."""
    weights_of: str = ""
    """A stage whose weights these are: their graphs name the same keys."""
    at: tuple[int, ...] = ()
    """The iterations of its loop in which it runs, by rising number, 0 among them; in the others
    what it made last stands. Empty: in all."""
    reuse: Reuse | None = None
    """Which of its blocks rest in some iterations."""
    score_bytes: int = 0
    """Of attention's scores that may be in memory at once: of more, queries are taken in blocks; 0:
    all at once."""
    compute_unit: str = ""
    """What its packages run on, one of `COMPUTE_UNITS`, or `SUITED`; empty: the target's."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a loop reads piece by piece: iteration i has [i size, (i + 1) size) along the axis."""

    name: str
    value: str
    axis: int = 0
    size: int = 1


@dataclass(frozen=True, slots=True)
class Collect:
    """What every iteration of a loop makes, joined along an axis in their order."""

    name: str
    value: str
    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """Stages run `count` times. State is carried, scans are read piece by piece.

    Values: `<loop>.<state>` is the state inside the loop and its last value after it;
    `<loop>.<scan>` is the piece of this iteration; `<loop>.<collect>`, after the loop, is all that
    was collected. A loop that ends early leaves zeros where nothing was collected.
    """

    name: str
    count: int
    stages: tuple[str, ...]
    state: tuple[tuple[str, str, str], ...]
    """(name, value it starts with, value it takes after each iteration)"""
    scan: tuple[Scan, ...] = ()
    until: str | None = None
    """A value of one element made in every iteration: where it is not zero, the loop ends."""
    collect: tuple[Collect, ...] = ()


@dataclass(frozen=True, slots=True)
class Input:
    """What a user gives to a run: one row of `INPUT_KINDS`.

    A text or a seed is no tensor. A number is fp32 (1,), a choice int32 (1,); image, video, audio
    and tensor are tensors of `port`, made of a file as `entracte/run/media.py` says.
    """

    name: str
    kind: str
    default: str | float | int | None
    """What it is where nothing is given; of image, video, audio and tensor a number: all elements
    are that. None: it must be given."""
    port: Port | None = None
    """Shape and type of image (1, 3, height, width), video (1, 3, frames, height, width), audio
    (1, samples) and tensor."""
    choices: tuple[str, ...] = ()
    """What a choice may be, by name; it is given by name or by its place, from 0."""
    least: float | None = None
    """Of numbers, seeds and of choices without names."""
    most: float | None = None
    low: float = 0.0
    """What black, or a video's black, is in the tensor."""
    high: float = 1.0
    """What white is."""
    fit: str = "crop"
    """How a picture of another shape becomes this one: `crop`, `pad` or `stretch`."""
    rate: float = 0.0
    """Of audio: samples a second; of video: frames a second, 0 takes them as they come."""


INPUT_KINDS = ("text", "seed", "number", "choice", "image", "video", "audio", "tensor")


@dataclass(frozen=True, slots=True)
class Output:
    """What a run gives: one row of `OUTPUT_KINDS`.

    video: floats (1, 3, frames, height, width); image: floats (images, 3, height, width); audio:
    floats (1, samples) or (1, channels, samples); text: int32 (1, tokens); tensor: any. What can
    become a file of which kind: `entracte/run/outputs.py`.
    """

    name: str
    kind: str
    values: tuple[str, ...]
    """Joined along `axis` in this order; they differ there only."""
    axis: int
    rate: float = 0.0
    """Frames or samples a second."""
    low: float = 0.0
    """What is black, or a silent minimum, in the tensor."""
    high: float = 1.0
    tokenizer: str = ""
    """Of text: as of the host operation `tokenize`; in a program a file of the plan."""
    end: tuple[int, ...] = ()
    """Of text: tokens that end it."""


OUTPUT_KINDS = ("video", "image", "audio", "text", "tensor")


@dataclass(frozen=True, slots=True)
class Lora:
    """A file of low ranks that are added to weights."""

    file: str
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A generative pipeline as it is declared: its stages in order, and the loops around them."""

    name: str
    title: str
    weights: str
    """Where weights are read: `package:FOLDER`, a folder, or `random:SEED`."""
    inputs: tuple[Input, ...]
    stages: tuple[Stage, ...]
    loops: tuple[Loop, ...]
    outputs: tuple[Output, ...]
    loras: tuple[Lora, ...] = ()
    """Merged into weights when these are read, in this order."""
    lora_class: str = ""
    """Pipeline class of diffusers whose spellings of LoRA files are known."""

    def stage(self, name: str) -> Stage:
        """The stage of that name; there is one."""
        return next(s for s in self.stages if s.name == name)

    def loop_of(self, stage: str) -> Loop | None:
        """The loop that a stage is in; None outside of loops."""
        return next((p for p in self.loops if stage in p.stages), None)


COMPUTE_UNITS = ("cpuAndGPU", "cpuAndNeuralEngine", "cpuOnly", "all")
"""Of Core ML, by the names it has there."""

SUITED = "suited"
"""In the place of a stage's unit: of each chunk the Neural Engine where it suits, else the target's
(`decide/units.py`)."""
STAGE_UNITS = (*COMPUTE_UNITS, SUITED)
"""What a stage may say."""

MIN_PAGE_BYTES = 4096
"""Of a target's pages: no system gives less memory back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A device profile. `estimated` names the figures nobody has published."""

    name: str
    title: str
    memory_bytes: int
    base_footprint_bytes: int
    settle_fraction: float
    chunk_limit_bytes: int
    deployment: str
    compute_unit: str
    load_bandwidth: float
    """Bytes per second from storage to a loaded package."""
    load_overhead_s: float
    compute_flops: float
    """Operations per second, before the `efficiency` of each class."""
    memory_bandwidth: float
    """Bytes per second between memory and the compute unit."""
    call_overhead_s: float
    sources: tuple[str, ...] = ()
    estimated: tuple[str, ...] = ()
    efficiency: tuple[tuple[str, float], ...] = ()
    """(class of operations, share): what it reaches of `compute_flops`; 1 where none is given."""
    cold_bandwidth: float | None = None
    """Bytes per second of a package's first load in a run; None: like any other load."""
    contention: float = 1.0
    """How many times slower loads and calls are while they overlap."""
    page_bytes: int = 0
    """What the device can load at once of a package's weights; 0: packages load whole."""
    reload_on_switch: bool = False
    """A loaded copy serves one function: a call of another one drops it and loads it again."""

    @property
    def budget_bytes(self) -> int:
        """What chunks, activations and tensors may take together (DESIGN section 5)."""
        free = self.memory_bytes - self.base_footprint_bytes
        return int(free * (1 - self.settle_fraction))


@dataclass(frozen=True, slots=True)
class Policy:
    """How loads are placed. `lookahead` loads may run ahead of their use."""

    name: str
    lookahead: int
    retain: bool
    """Keep chunks loaded over the iterations of a loop where memory allows."""
    keep: str = "even"
    """How kept chunks are chosen. `even`: spread evenly by count; `strided`: also by bytes and by
    load time; `searched`; `published`: the rule of On-device Sora (`schedule/ci_dl.py`)."""
    driver: str = "gates"
    """What decides the loads while the plan runs. `gates`: each is as early as memory and
    `lookahead` allow; `online`: the online rule (docs/online-rule.md); `best`: the online rule,
    unless gates are faster by prediction."""
    margin: int = 0
    """`published` only: chunks' weights left free beside what one chunk needs (published: 2)."""


# ---------------------------------------------------------------- measured


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter as the checkpoint names it (after the graph's key map)."""

    name: str
    shape: tuple[int, ...]
    size_bytes: int
    """At the stage's precision and compression."""
    digest: str = ""
    """Of the value, where the graph itself holds it (a table); empty for a checkpoint's."""


class Memory(StrEnum):
    """Where an operation's result is."""

    OWN = "own"
    """In memory of its own."""
    SHARED = "shared"
    """In the memory of what it reads first: a view."""
    EITHER = "either"
    """One or the other, which is not known: both count, a copy beside what it was made from."""
    RESHAPED = "reshaped"
    """Shared if what it reads lies in order, else either."""
    DOUBLE = "double"
    """In memory of its own, twice: it ends in a reshape of what does not lie in order."""


class Order(StrEnum):
    """Whether the elements of an operation's result lie in order, so that a reshape is a view."""

    LOST = "lost"
    KEPT = "kept"
    """If all that it reads does."""
    MADE = "made"


@dataclass(frozen=True, slots=True)
class Op:
    """One node of the exported graph; it makes the values `outputs`."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    flops: int
    output_bytes: int
    workspace_bytes: int
    """Scratch while it runs, e.g. attention scores that are not fused away."""
    alias: bool
    """A reshape or view: it moves nothing (what it holds in memory is said by `memory`)."""
    code: str = ""
    """Digest of what it computes, with its inputs and weights by position, not by name."""
    folded: tuple[str, ...] = ()
    """Those of its weights that are first computed with (a table from frequencies)."""
    memory: Memory = Memory.OWN
    order: Order = Order.LOST
    casts: tuple[tuple[str, int], ...] = ()
    """(value, bytes): what it reads as another type than the value is kept in, so as a copy."""
    unrounded_bytes: int = 0
    """Its result before it is rounded to the type it is kept in; 0 where it is not."""
    opening_bytes: int = 0
    """Scratch of its first part, which reshapes what it reads and alone needs it: what nothing else
    reads is free before the result is made. 0 where all of it reads."""
    reread_bytes: int = 0
    """What it reads again: keys and values, where attention comes in blocks of queries."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A legal place between ops[position - 1] and ops[position]."""

    position: int
    values: tuple[str, ...]
    size_bytes: int


Frontier = tuple[frozenset[str], frozenset[str]]
"""Values that cross a cut, and outputs that are made before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageGraph:
    """The measured part of one stage that is compiled: a linear order of operations.

    A stage inside a loop gives up to three parts: `once` (depends on nothing that changes),
    `schedule` (depends only on the scanned tables: run for all rows before the loop), `body`.
    """

    name: str
    stage: str
    part: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    ops: tuple[Op, ...]
    values: tuple[Port, ...]
    """Every value that may cross a cut, with its dtype at a boundary."""
    weights: tuple[Weight, ...]
    cuts: tuple[Cut, ...]
    variants: tuple["StageGraph", ...] = ()
    """Other functions over the same weights, named `GRAPH@FUNCTION`. The cuts of this graph are
    those that all functions allow."""
    rests: tuple[int, int] | None = None
    """Operations [start, stop) that rest in some iterations (`Stage.reuse`); the graph is cut at
    both."""

    @property
    def frontiers(self) -> tuple[Frontier, ...]:
        """Of the cuts, in order. Two functions may be cut where theirs are the same."""
        made = {op.name: i for i, op in enumerate(self.ops)}
        at = [(made[p.name], p.name) for p in self.outputs if p.name in made]
        return tuple(
            (frozenset(c.values), frozenset(name for i, name in at if i < c.position))
            for c in self.cuts
        )


@dataclass(frozen=True)
class MeasuredPipeline:
    """A pipeline with what tracing found of it.

    Attributes:
        graphs: stage that is compiled -> its parts.
        ports: every declared value (`stage.port`, `loop.state`, inputs) -> its port.
    """

    pipeline: Pipeline
    graphs: Mapping[str, tuple[StageGraph, ...]]
    ports: Mapping[str, Port]


# ---------------------------------------------------------------- decided


@dataclass(frozen=True, slots=True)
class Work:
    """What the operations of one class do (the classes: `cost.py`)."""

    kind: str
    flops: int
    moved_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Ops [start, stop) of another graph over the same weights: another function of the package.

    Of the same stage: same ports as its chunk; only what it computes and needs differs. Of another
    stage (`weights_of`): its ports are its own.
    """

    name: str
    start: int
    stop: int
    activation_bytes: int
    flops: int
    moved_bytes: int
    work: tuple[Work, ...] = ()
    graph: str = ""
    """The graph that it is of, where that is another stage's with the same weights; then `inputs`
    and `outputs` are its own."""
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Ops [start, stop) of a stage graph, to become one package."""

    id: str
    graph: str
    start: int
    stop: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weight_bytes: int
    activation_bytes: int
    """Peak of inputs, outputs and intermediates while it runs."""
    flops: int
    moved_bytes: int
    """Bytes read and written by its operations: the memory side of the roofline."""
    variants: tuple[Variant, ...] = ()
    """Measured in the graphs `GRAPH@NAME`; everything above is of `main`."""
    work: tuple[Work, ...] = ()
    """`flops` and `moved_bytes` by class; empty: all of one class."""
    compute_unit: str = ""
    """What it runs on, one of `COMPUTE_UNITS`; empty: the target's."""
    modules: tuple[str, ...] = ()
    """Whose weights it holds, by the names of these weights, in the order of their use. For people:
    a runner needs none of them."""
    shares: str = field(default="", metadata=RARE)
    """The first chunk that computes the same with other weights: one graph serves them all and
    takes their weights as inputs. Empty: its weights are constants of a package of its own."""

    @property
    def others(self) -> tuple[Variant, ...]:
        """The functions of other stages with the same weights."""
        return tuple(v for v in self.variants if v.graph)

    def part_of(self, function: str) -> "Chunk | Variant":
        """What measures a function: the chunk itself for `main`."""
        return next((v for v in self.variants if v.name == function), self)

    def ports_of(self, function: str) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of a function: the chunk's, or those of another stage's function."""
        part = next((v for v in self.others if v.name == function), self)
        return part.inputs, part.outputs

    def interface(self, function: str) -> str:
        """The same for functions with the same ports: the chunk's id, or one with the function."""
        own = function in {v.name for v in self.others}
        return f"{self.id}@{function}" if own else self.id


@dataclass(frozen=True, slots=True)
class Partition:
    """All stage graphs cut into chunks, graph by graph."""

    chunks: tuple[Chunk, ...]

    def of(self, graph: str) -> tuple[Chunk, ...]:
        """The chunks of one stage graph, in order."""
        return tuple(c for c in self.chunks if c.graph == graph)

    def chunk(self, id: str) -> Chunk:
        """The chunk of that id; there is one."""
        return next(c for c in self.chunks if c.id == id)


class By(StrEnum):
    """Which index picks the piece of a tensor that a call reads or writes."""

    WHOLE = "whole"
    MAP = "map"
    ITERATION = "iteration"


@dataclass(frozen=True, slots=True)
class Window:
    """Piece k along an axis: [start + k stride, start + k stride + size), k below `count`."""

    axis: int
    size: int
    count: int
    stride: int
    start: int = 0

    def begin(self, k: int) -> int:
        """Where piece k begins."""
        return self.start + k * self.stride


@dataclass(frozen=True, slots=True)
class Binding:
    """A feature of a package (or a port of a host step) tied to a tensor of the program.

    With `windows`, piece k is where all of them are at their k, the last one's running fastest;
    without, the tensor has several slots, or is streamed, and piece k is the k-th. Pieces of an
    output that overlap are blended (`entracte/run/blend.py`).
    """

    feature: str
    tensor: str
    by: By = By.WHOLE
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class TensorDecl:
    """A tensor of the program, `slots` times its port's bytes."""

    port: Port
    slots: int = 1
    streamed: int = 0
    """Not 0: it is made in so many pieces of `port`, each of which goes to the output that it is
    part of as it is made, so that one is in memory. No step reads it."""

    @property
    def name(self) -> str:
        """The name of its port."""
        return self.port.name

    @property
    def size_bytes(self) -> int:
        """Bytes of all slots; of what is streamed, of one piece."""
        return self.port.size_bytes * self.slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Run a chunk `repeat` times (a map, chunk-major) and then free tensors."""

    stage: str
    chunk: str
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    repeat: int = 1
    frees: tuple[str, ...] = ()
    function: str = "main"
    switch: tuple[tuple[str, int], ...] = ()
    """(function, n) by rising n: it is called while the iteration is below n; then `function`."""
    at: tuple[int, ...] = ()
    """The iterations of its segment in which it is called, by rising number, the first is 0; in the
    others its outputs stand as they are. Empty: in all."""
    rests_by: str = field(default="", metadata=RARE)
    """A tensor of `repeat` elements that a step before it makes in every iteration in which it is
    called: where the k-th is not zero, slice k rests in this iteration, unless that is the first.
    Empty: it does not ask."""

    def is_called(self, iteration: int) -> bool:
        """Whether it is called in an iteration of its segment, if no tensor says that it rests."""
        return not self.at or iteration in self.at

    def function_at(self, iteration: int) -> str:
        """The function that this call uses in an iteration of its segment."""
        return next((name for name, n in self.switch if iteration < n), self.function)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStep:
    """One of the runner's own steps: a host operation, by its name in `op`."""

    stage: str
    op: str
    params: Params
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[Binding, ...]
    frees: tuple[str, ...] = ()


Step = Call | HostStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Steps in order, `count` times. State moves `init` in at entry and `next` each time; between
    fp16 and fp32 it is cast, each time to the state's own type."""

    name: str
    count: int
    steps: tuple[Step, ...]
    state: tuple[tuple[str, str, str], ...] = ()
    frees: tuple[str, ...] = ()
    """Tensors dropped when the segment is over."""
    until: str | None = None
    """A tensor of one element that every iteration makes: not zero after an iteration, and the
    segment is over. Read at the end of each iteration, and dropped there unless it is a state's
    next value."""
    sliced: bool = False
    """Its iterations are the slices of a map."""

    @property
    def is_loop(self) -> bool:
        """Whether its steps run more than once, or carry a state."""
        return bool(self.state) or self.count > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is computed, in which order. Loops are never unrolled."""

    inputs: tuple[Input, ...]
    constants: tuple[Port, ...]
    tensors: tuple[TensorDecl, ...]
    segments: tuple[Segment, ...]
    outputs: tuple[Output, ...]
    """Each part goes to its writer when it is whole, or piece by piece where it is streamed, in the
    order of `values`; only then is it dropped."""

    @property
    def output_values(self) -> tuple[str, ...]:
        """All parts of all outputs."""
        return tuple(value for output in self.outputs for value in output.values)

    @property
    def step_count(self) -> int:
        """Steps of all iterations: what a run's progress counts to."""
        return sum(s.count * len(s.steps) for s in self.segments)

    @property
    def call_counts(self) -> dict[str, int]:
        """How often each chunk runs when no loop ends early, map slices counted one by one."""
        count: dict[str, int] = {}
        for segment in self.segments:
            for step in segment.steps:
                if isinstance(step, Call):
                    times = len(step.at) or segment.count
                    count[step.chunk] = count.get(step.chunk, 0) + times * step.repeat
        return count


class Moment(StrEnum):
    """Which iteration of a segment a gate or a use speaks of."""

    SAME = "same"
    PREVIOUS = "previous"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Gate:
    """The step whose end lets a load start; `None` in its place means the very start.

    `SAME` and `PREVIOUS` are relative to the iteration the load belongs to, `LAST` is the
    last iteration of an earlier segment.
    """

    segment: int
    step: int
    moment: Moment


@dataclass(frozen=True, slots=True)
class Load:
    """Bring a chunk in before `step` of a segment and drop it after `free_step`.

    `iterations` says when this load happens: `first` (once, on entering the segment) or
    `each` (in every iteration after the first in which it serves a call: see `Call.at`). The copy
    is dropped when `free_step` ends, in the same iteration (`SAME`) or in the segment's last one
    (`LAST`).
    """

    chunk: str
    segment: int
    iterations: str
    step: int
    gate: Gate | None
    free_step: int
    free_moment: Moment


@dataclass(frozen=True, slots=True)
class Kept:
    """Chunks that the online rule keeps over their loop while loads, compared with calls, are
    seen to be at least `slower` times as slow as planned."""

    slower: float
    chunks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When chunks are loaded and freed: loads in the order the loader makes them.

    Within a segment the `first` loads come before the `each` loads, in order of use.
    """

    policy: Policy
    budget_bytes: int
    loads: tuple[Load, ...]
    resident: tuple[str, ...]
    """Chunks that stay loaded for a whole loop."""
    driver: str = "gates"
    """What the runner follows: `gates` (the loads above) or `online` (docs/online-rule.md). The
    loads are there, and proven, in either case."""
    kept: tuple[Kept, ...] = ()
    """For the online rule: what it keeps, by rising `slower`."""


# ---------------------------------------------------------------- emitted


@dataclass(frozen=True, slots=True)
class FunctionPorts:
    """Inputs and outputs of a package's function that has others than `main`."""

    function: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays:
    """A chunk's weights as a file of arrays that its shared graph takes as inputs."""

    path: str
    """Of a safetensors file, relative to the build folder."""
    digest: str
    """SHA-256 of the file."""
    file_bytes: int
    ports: tuple[Port, ...]
    """The arrays in the file's order, by the names of the graph's inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package on disk and what it really needs."""

    chunk: str
    path: str
    """Relative to the build folder."""
    digest: str
    file_bytes: int
    weight_bytes: int
    activation_bytes: int
    precision: str
    compression: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    psnr_db: float | None = None
    functions: tuple[str, ...] = ("main",)
    """They share the weights; `activation_bytes` is the largest of them. Their ports are those
    above, or their own."""
    own_ports: tuple[FunctionPorts, ...] = ()
    """Of the functions of other stages."""
    arrays: Arrays | None = field(default=None, metadata=RARE)
    """Of a graph that several chunks share: this chunk's weights, which are no part of it.
    `weight_bytes` are theirs. The graph's own inputs are `in0`, `in1`, ... and its outputs `out0`,
    ..., in the order of the ports above."""

    def ports_of(self, function: str) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of a function."""
        own = next((p for p in self.own_ports if p.function == function), self)
        return own.inputs, own.outputs

    def features_of(self, function: str) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """What the package itself declares: these ports, or those of a graph that is shared."""
        inputs, outputs = self.ports_of(function)
        if self.arrays is None:
            return inputs, outputs
        given = tuple(replace(p, name=f"in{i}") for i, p in enumerate(inputs))
        made = tuple(replace(p, name=f"out{i}") for i, p in enumerate(outputs))
        return (*given, *self.arrays.ports), made


@dataclass(frozen=True, slots=True)
class Bundle:
    """The packages of a build, in the order of the partition's chunks."""

    packages: tuple[Package, ...]
    verify: str = "off"
    """`on`: they were compared with their torch source."""
    compared: tuple["Compared", ...] = ()
    entries: tuple[str, ...] = ()
    """Under which keys the cache has the packages, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A package beside its torch source, as `compile` found it on the reference device."""

    chunk: str
    of: str
    """The chunk that was run: itself, or one that is the same program with other weights."""
    floor_db: float
    """PSNR that its precision and compression must reach."""
    db: float | None = None
    """The worst PSNR of its outputs, at most 999; None: it was not compared, `why` says why."""
    max_error: float | None = None
    inputs: str = ""
    """`recorded` in a run of the torch source, or `drawn`: calm, and loud where a norm takes
    them."""
    share: float = 0.0
    """Of the chunk's distinct operations, those that ran: 1 is the whole chunk."""
    repaired: str = ""
    """What was made fp32 because fp16 did not reach the floor; empty: nothing."""
    why: str = ""


# ---------------------------------------------------------------- promised


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFacts:
    """What scheduling and simulation need to know of a chunk, from wherever it is known."""

    id: str
    weight_bytes: int
    activation_bytes: int
    load_s: float
    exec_s: float
    cold_s: float = 0.0
    """More seconds of its first load in a run."""
    exec_by: tuple[tuple[str, float], ...] = ()
    """(function, seconds) of functions other than `main`; `activation_bytes` is the maximum."""

    def exec_of(self, function: str) -> float:
        """Seconds of one call of a function."""
        return dict(self.exec_by).get(function, self.exec_s)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a timeline. Queue `load`: a chunk, or a page of it, is loaded; `compute`: it is
    called, all slices of a map in one bar; `free`: its memory is given back, in no time.

    `segment`, `iteration` and `step` are those of the call; of a load those of the call that it
    serves; of a free those of the step that runs or ran last.
    """

    queue: str
    label: str
    """The chunk."""
    segment: int
    iteration: int
    step: int
    start_s: float
    end_s: float
    size_bytes: int = 0
    """Weights loaded or given back; 0 for calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The schedule simulated under nominal times."""

    makespan_s: float
    compute_s: float
    loading_s: float
    stall_s: float
    loaded_bytes: int
    loads: int
    peak_bytes: int
    """Over all timings, by accounting: an upper bound, not a prediction."""
    peak_step: str
    lower_bound_s: float
    """No schedule in this budget is faster; `lower_bound` is the argument (`schedule/bounds.py`):
    compute, load, volume or window."""
    lower_bound: str
    stage_s: tuple[tuple[str, float], ...]
    bars: tuple[Bar, ...]
    """Prologue, first, one steady and last iteration of each loop, epilogue."""
    earliest_s: float | None = None
    """Makespan when every loop with `until` ends after its first iteration; all other figures
    are of the run in which no loop ends early. None where no loop has one."""
    stalls: tuple[tuple[str, float], ...] = ()
    """(cause, seconds) of waiting for loads: `start` before the first step, `straight` outside
    loops, `first` in a loop's first iteration, `steady` in its others; `switch` for a copy that is
    loaded again for another function (`Target.reload_on_switch`). They add to `stall_s`."""
    resting_s: float | None = field(default=None, metadata=RARE)
    """Makespan when all calls that may rest by a tensor (`Call.rests_by`) do, but in the first
    iteration; all other figures are of the run in which none does. None where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything a runner needs, and what it may expect. Written as plan.json."""

    version: int
    entracte: str
    built: bool
    pipeline: str
    title: str
    target: Target
    settings: str
    """The resolved configuration, as JSON text: provenance, and what `verify` retraces."""
    program: Program
    chunks: tuple[Chunk, ...]
    packages: tuple[Package, ...]
    facts: tuple[ChunkFacts, ...]
    schedule: Schedule
    forecast: Forecast
    files: tuple[tuple[str, str], ...] = ()
    """(path, sha256) of constants and tokenizer files."""
    verify: str = "off"
    """`on`: `compile` compared the packages with their torch source and found `compared`."""
    compared: tuple[Compared, ...] = ()


# ---------------------------------------------------------------- observed


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRun:
    """One chunk in a run: the sums over all its loads and calls."""

    chunk: str
    loads: int
    calls: int
    load_s: float
    exec_s: float
    peak_activation_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A wait of the loader for memory that was given back: systems return it late."""

    chunks: tuple[str, ...]
    """That were freed since the wait before."""
    expected_bytes: int
    """What their loads were seen to add to the process's footprint."""
    returned_bytes: int
    """What of it was back when the wait ended."""
    wait_s: float
    """From the first of these frees to the wait's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reused:
    """Steps that a run did not do, because what they make was stored by an earlier one."""

    key: str
    """SHA-256 of all that goes into it (`run/condition_keys.py`)."""
    inputs: tuple[str, ...]
    """Of the plan, that it follows from."""
    chunks: tuple[str, ...]
    """That were not called for it."""
    size_bytes: int
    """Of the values that were given in their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run did."""

    device: str
    wall_s: float
    peak_bytes: int
    """Weights, activations and tensors the device and the runner held at once."""
    stall_s: float
    loaded_bytes: int
    chunks: tuple[ChunkRun, ...]
    stage_s: tuple[tuple[str, float], ...] = field(default=())
    iterations: tuple[tuple[str, int], ...] = ()
    """(loop, iterations done) of the loops that may end early."""
    bars: tuple[Bar, ...] = ()
    """Every load, call and free as it happened, in seconds since the run began, by end."""
    anonymous_peak_bytes: int | None = None
    """Most anonymous memory of the whole process, above what it had when the run began."""
    start_bytes: int | None = None
    """Of that, what the process kept when the run had given everything back: its own start (parsed
    programs, prepared kernels, heaps), which later runs in the same process find there."""
    plan: str = ""
    """SHA-256 of the plan that was run (`run/origin.py`)."""
    inputs: tuple[tuple[str, str | int | float], ...] = ()
    """Of the plan, its seed among them: as given, or their defaults."""
    date: str = ""
    """When it began, UTC: 2026-11-28T09:30:00Z."""
    versions: tuple[tuple[str, str], ...] = ()
    """Of Entracte, Python, the libraries, and the system."""
    notes: tuple[str, ...] = ()
    """What host steps had to say, e.g. which words of a prompt were cut."""
    outputs: tuple[tuple[str, int], ...] = ()
    """(output, pieces that its writer took)."""
    arithmetic: str = ""
    """How the reference device rounded: hybrid, round or fp32. Other devices have no choice."""
    settled: tuple[Settled, ...] = ()
    """Of runners that wait for freed memory before they load; in their order. Within `load_s`."""
    reused: tuple[Reused, ...] = ()
    """What was not computed; `bars`, `chunks` and `stage_s` tell of what was done."""
    carried: tuple[str, ...] = ()
    """Chunks of which something was in memory when the run began, left by the one before it in the
    same process: in `bars` loads that take no time, which `chunks` does not count."""
    resumed: tuple[int, int] | None = None
    """(segment, iteration) with which it began, where a run before it was interrupted: seconds,
    loads, calls and bars are of what is told here, `outputs` and `iterations` of all."""
