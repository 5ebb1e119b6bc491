"""Programs as they are meant, in plain numpy: the outside truth for runners.

Nothing is shared with `entracte/run` or the planner: it reads the data model's words (`ir.py`) and
does what they say, one step after another, with chunks that are functions. Tensors that are dropped
are gone, so a program that reads what it freed fails here; what goes to the writers is kept in the
order in which it went.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from entracte.ir import (
    Binding,
    By,
    Call,
    DType,
    HostStep,
    Program,
    Segment,
    Step,
    TensorDecl,
    Window,
)

NUMPY = {DType.FP16: np.float16, DType.FP32: np.float32, DType.INT32: np.int32}

Chunk = Callable[[str, dict[str, Any]], Mapping[str, Any]]
"""(function, inputs by feature) -> outputs by feature."""
Host = Callable[[HostStep, dict[str, Any], int], Mapping[str, Any]]
"""(step, inputs by port, iteration) -> outputs by port."""


@dataclass
class Written:
    """What an output's writer took: (part, piece or None, array) as they came."""

    axis: int
    parts: list[tuple[str, int | None, np.ndarray]] = field(default_factory=list)

    @property
    def whole(self) -> np.ndarray:
        """Everything joined."""
        return np.concatenate([array for _, _, array in self.parts], self.axis)


@dataclass
class Interpreted:
    """What a program did.

    Attributes:
        outputs: by name.
        iterations: of each segment, by its place.
        calls: (chunk, function, segment, iteration, piece) in order.
        held_bytes: the most bytes of declared tensors during a step, and that step's name.
    """

    outputs: dict[str, Written]
    iterations: dict[int, int] = field(default_factory=dict)
    calls: list[tuple[str, str, int, int, int]] = field(default_factory=list)
    held_bytes: int = 0
    held_at: str = ""


def interpret(
    program: Program,
    chunks: Mapping[str, Chunk],
    *,
    given: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    host: Host | None = None,
    exact: bool = False,
) -> Interpreted:
    """Do everything that a program says.

    Args:
        given: inputs by name: arrays for tensors, texts and whole numbers otherwise.
        exact: nothing is rounded to a declared type (for chunks that compute in fp64).
    """
    machine = _Machine(program, chunks, host, exact)
    for i in program.inputs:
        if given is not None and i.name in given:
            machine.values[i.name] = given[i.name]
    for port in program.constants:
        machine.values[port.name] = np.asarray((constants or {})[port.name])
    machine.completed(set(machine.values))
    for s, segment in enumerate(program.segments):
        machine.segment(s, segment)
    machine.finish()
    return machine.made


@dataclass
class _Machine:
    program: Program
    chunks: Mapping[str, Chunk]
    host: Host | None
    exact: bool
    values: dict[str, Any] = field(default_factory=dict)
    complete: set[str] = field(default_factory=set)
    turn: dict[str, int] = field(default_factory=dict)
    """Output -> how many of its parts its writer has taken."""
    sums: dict[str, Any] = field(default_factory=dict)
    """Of what overlaps and is made in several iterations: the sum so far."""
    pieces: dict[str, int] = field(default_factory=dict)
    """Streamed tensor -> pieces made."""
    ends: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Collected tensor -> (axis, end) of what its loop made before it ended."""

    def __post_init__(self) -> None:
        outputs = self.program.outputs
        self.made = Interpreted({o.name: Written(o.axis) for o in outputs})
        self.turn = {o.name: 0 for o in outputs}
        self.decls: dict[str, TensorDecl] = {t.name: t for t in self.program.tensors}

    # ------------------------------------------------------------ segments

    def segment(self, s: int, segment: Segment) -> None:
        first = {name: self.values[source] for name, source, _ in segment.state}
        for name, value in first.items():
            self.values[name] = self.cast(name, value)
        for source in self.taken(segment):
            del self.values[source]
        for iteration in range(segment.count):
            for k, step in enumerate(segment.steps):
                self.step(s, segment, iteration, k, step)
            over = self.is_over(segment)
            self.move(segment)
            if over:
                break
        self.made.iterations[s] = iteration + 1
        if segment.is_loop:
            collected = [b for x in segment.steps for b in x.outputs if b.by is By.ITERATION]
            for b in (b for b in collected if len(b.windows) == 1):
                (window,) = b.windows
                self.ends[b.tensor] = window.axis, window.begin(iteration) + window.size
            made = {b.tensor for b in collected}
            self.completed(made | {name for name, _, _ in segment.state})
        for name in segment.frees:
            self.drop(name)

    def taken(self, segment: Segment) -> set[str]:
        """First values that a map's states took and nothing else will read."""
        if not segment.sliced:
            return set()
        left = {x for o in self.program.outputs for x in o.values}
        left |= {b.tensor for s in segment.steps for b in s.inputs}
        for name, source, _ in segment.state:
            if self.decls[name].port.dtype is not self.decls[source].port.dtype:
                left.add(source)
        return {source for _, source, _ in segment.state} & set(segment.frees) - left

    def is_over(self, segment: Segment) -> bool:
        if segment.until is None:
            return False
        said = np.asarray(self.values[segment.until]).reshape(-1)
        assert said.size == 1
        if segment.until not in {after for _, _, after in segment.state}:
            del self.values[segment.until]
        return bool(said[0] != 0)

    def move(self, segment: Segment) -> None:
        """Old states go first, then each takes its next value, then those go."""
        following = {name: self.values[after] for name, _, after in segment.state}
        for name, value in following.items():
            self.values[name] = self.cast(name, value)
        for after in {after for _, _, after in segment.state}:
            del self.values[after]

    def cast(self, name: str, value: Any) -> Any:
        wanted = self.decls[name].port
        assert tuple(np.shape(value)) == wanted.shape, (name, np.shape(value), wanted)
        if self.exact:
            return value
        given, own = np.asarray(value).dtype.kind, np.dtype(NUMPY[wanted.dtype]).kind
        assert given == own, f"{name}: {np.asarray(value).dtype} cannot become {wanted.dtype}"
        return np.asarray(value).astype(NUMPY[wanted.dtype])

    # ------------------------------------------------------------ steps

    def step(self, s: int, segment: Segment, iteration: int, k: int, step: Step) -> None:
        if isinstance(step, HostStep):
            self.do_host(step, iteration)
        else:
            self.call(s, segment, iteration, step)
        self.count_held(f"{s}.{iteration}.{k}")
        if not segment.is_loop:
            self.completed({b.tensor for b in step.outputs})
        for name in step.frees:
            self.drop(name)

    def slices(self, call: Call, iteration: int) -> list[int]:
        """Those of a call that do not rest."""
        if call.at and iteration not in call.at:
            return []
        if call.rests_by and iteration > 0:
            return np.flatnonzero(np.asarray(self.values[call.rests_by]) == 0).tolist()
        return list(range(call.repeat))

    def do_host(self, step: HostStep, iteration: int) -> None:
        assert self.host is not None, step.op
        inputs = {port: self.values[value] for port, value in step.inputs}
        made = self.host(step, inputs, iteration)
        for b in step.outputs:
            self.values[b.tensor] = self.fitting(b.tensor, np.asarray(made[b.feature]))

    def call(self, s: int, segment: Segment, iteration: int, call: Call) -> None:
        function = call.function_at(iteration)
        sums: dict[str, Any] = {}
        for k in self.slices(call, iteration):
            index = {By.WHOLE: 0, By.MAP: k, By.ITERATION: iteration}
            inputs = {b.feature: self.read(b, index[b.by]) for b in call.inputs}
            made = self.chunks[call.chunk](function, inputs)
            self.made.calls.append((call.chunk, function, s, iteration, k))
            for b in call.outputs:
                many = {By.WHOLE: 1, By.MAP: call.repeat, By.ITERATION: segment.count}[b.by]
                self.write(b, index[b.by], many, np.asarray(made[b.feature]), sums)
        # What overlaps is rounded once, when all of it is there.
        for name, total in sums.items():
            self.values[name] = self.fitting(name, total)
        for b in call.outputs:
            if b.by is By.ITERATION and b.tensor in self.sums and iteration + 1 == segment.count:
                self.values[b.tensor] = self.fitting(b.tensor, self.sums.pop(b.tensor))

    def count_held(self, at: str) -> None:
        held = sum(d.size_bytes for n, d in self.decls.items() if n in self.values)
        if held > self.made.held_bytes:
            self.made.held_bytes, self.made.held_at = held, at

    # ------------------------------------------------------------ pieces

    def read(self, b: Binding, k: int) -> Any:
        value, decl = self.values[b.tensor], self.decls[b.tensor]
        assert not decl.streamed, f"{b.tensor} is streamed, and read"
        if b.by is By.WHOLE:
            return value
        if not b.windows:
            return value[k]
        return value[_where(b.windows, k, value.ndim)]

    def write(self, b: Binding, k: int, many: int, made: np.ndarray, sums: dict[str, Any]) -> None:
        decl = self.decls[b.tensor]
        if decl.streamed:
            assert decl.streamed == many and not b.windows, b
            self.stream(b.tensor, self.fitting(b.tensor, made), k)
        elif b.by is By.WHOLE:
            self.values[b.tensor] = self.fitting(b.tensor, made)
        elif not b.windows:
            assert decl.slots == many, b
            there = self.values.setdefault(b.tensor, [None] * many)
            there[k] = self.fitting(b.tensor, made)
        elif any(w.stride < w.size for w in b.windows):
            self.blend(b, k, made, sums if b.by is By.MAP else self.sums)
        else:
            if b.tensor not in self.values:
                self.values[b.tensor] = np.zeros(decl.port.shape, self.type_of(b.tensor, made))
            self.values[b.tensor][_where(b.windows, k, made.ndim)] = made

    def blend(self, b: Binding, k: int, made: np.ndarray, sums: dict[str, Any]) -> None:
        wide = made.dtype if self.exact else np.float32
        if b.tensor not in sums:
            sums[b.tensor] = np.zeros(self.decls[b.tensor].port.shape, wide)
            self.values[b.tensor] = None
        weighted = made.astype(wide)
        for window, index in zip(b.windows, _indices(b.windows, k), strict=True):
            shape = [1] * made.ndim
            shape[window.axis] = window.size
            weighted = weighted * _ramp(window, index).astype(wide).reshape(shape)
        sums[b.tensor][_where(b.windows, k, made.ndim)] += weighted

    def fitting(self, name: str, made: np.ndarray) -> np.ndarray:
        port = self.decls[name].port
        assert made.shape == port.shape, (name, made.shape, port.shape)
        return made if self.exact else made.astype(NUMPY[port.dtype])

    def type_of(self, name: str, made: np.ndarray) -> Any:
        return made.dtype if self.exact else NUMPY[self.decls[name].port.dtype]

    # ------------------------------------------------------------ writers

    def stream(self, name: str, made: np.ndarray, k: int) -> None:
        """A piece goes to every writer whose turn it is; it must be its turn."""
        assert self.pieces.get(name, 0) == k, f"{name}: piece {k} out of order"
        self.pieces[name] = k + 1
        takers = [o for o in self.program.outputs if name in o.values]
        assert takers, f"{name} is streamed and part of no output"
        for output in takers:
            assert output.values[self.turn[output.name]] == name, (output.name, name)
            self.made.outputs[output.name].parts.append((name, k, made))
        self.values[name] = made

    def completed(self, names: set[str]) -> None:
        """Writers take what is complete, in their parts' order."""
        self.complete |= names
        for output in self.program.outputs:
            while (n := self.turn[output.name]) < len(output.values):
                part = output.values[n]
                if part not in self.complete:
                    break
                if not self.decls[part].streamed:
                    # It must still be there.
                    taken = np.array(self.values[part])
                    axis, end = self.ends.get(part, (-1, 0))
                    if axis == output.axis % max(1, taken.ndim):
                        # A loop that ended early made no more than that.
                        taken = taken.take(range(min(end, taken.shape[axis])), axis)
                    self.made.outputs[output.name].parts.append((part, None, taken))
                self.turn[output.name] += 1

    def drop(self, name: str) -> None:
        waiting = [o.name for o in self.program.outputs if name in o.values[self.turn[o.name] :]]
        streamed = self.decls[name].streamed
        assert streamed or not waiting, f"{name} is dropped before {waiting} took it"
        self.values.pop(name, None)

    def finish(self) -> None:
        """All parts were taken, and nothing is left but what was given, and outputs."""
        for output in self.program.outputs:
            assert self.turn[output.name] == len(output.values), f"{output.name} lacks parts"
        stay = {i.name for i in self.program.inputs} | {c.name for c in self.program.constants}
        left = self.values.keys() - stay - set(self.program.output_values)
        assert not left, f"never freed: {sorted(left)}"


def _indices(windows: tuple[Window, ...], k: int) -> tuple[int, ...]:
    """Of each window, the last one's running fastest."""
    grid = list(product(*(range(w.count) for w in windows)))
    return grid[k]


def _where(windows: tuple[Window, ...], k: int, axes: int) -> tuple[slice, ...]:
    where = [slice(None)] * axes
    for window, index in zip(windows, _indices(windows, k), strict=True):
        begin = window.begin(index)
        where[window.axis] = slice(begin, begin + window.size)
    return tuple(where)


def _ramp(window: Window, k: int) -> np.ndarray:
    """Weight of each element of piece k along an axis: it rises over what it shares with the piece
    before it, and falls over what it shares with the one after it."""
    overlap = window.size - window.stride
    weights = np.ones(window.size)
    for y in range(overlap):
        if k > 0:
            weights[y] = y / overlap
        if k < window.count - 1:
            weights[window.stride + y] = 1 - y / overlap
    return weights
