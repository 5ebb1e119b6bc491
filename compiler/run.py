"""Plan x inputs -> what happened: the interpreter, with a loader thread and a computing thread.

The loader makes the loads in the plan's order, each when its gate step has ended. The
computer makes the steps in order, each when its chunk is there, and frees what the plan frees
before it lets the next gate open. So memory stays within the proven peak whatever the timings.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compiler.devices import Device
from compiler.errors import RunError
from compiler.host import run_host_step
from compiler.ir import (
    Binding,
    By,
    Call,
    ChunkRun,
    HostStep,
    Plan,
    Run,
    Segment,
    Step,
)
from compiler.memory import AnonymousPeak
from compiler.schedule import START, Placement, unroll

Progress = Callable[[str, int, int], None]
"""(stage, steps done, steps in all)"""


@dataclass(frozen=True)
class Outcome:
    """The output tensor (as a numpy array) and the record of the run."""

    output: Any
    run: Run


@dataclass
class _Tally:
    loads: int = 0
    calls: int = 0
    load_s: float = 0.0
    exec_s: float = 0.0
    peak: int = 0


def run_plan(
    plan: Plan,
    folder: Path,
    device: Device,
    inputs: Mapping[str, object],
    *,
    constants: Mapping[str, Any],
    progress: Progress = lambda *_: None,
    observe: Callable[[str, dict[str, Any], dict[str, Any]], None] | None = None,
) -> Outcome:
    """Execute a plan.

    Args:
        inputs: values for the plan's inputs; those left out take their defaults.
        constants: the plan's constant tensors as numpy arrays.
        observe: called with (chunk, inputs, outputs) after each call, for verification.
    """
    return _Runner(plan, folder, device, constants, progress, observe).run(_given(plan, inputs))


def _given(plan: Plan, inputs: Mapping[str, object]) -> dict[str, Any]:
    known = {i.name: i for i in plan.program.inputs}
    stray = sorted(set(inputs) - set(known))
    if stray:
        raise RunError(f"input {stray[0]!r}: the plan's inputs are {', '.join(known)}")
    given = {name: inputs.get(name, i.default) for name, i in known.items()}
    for name, value in given.items():
        if value is None:
            raise RunError(f"input {name!r}: give it, e.g. `--input {name}=...`; it has no default")
        if known[name].kind == "number":
            given[name] = _number(name, value)
        elif known[name].kind == "seed":
            given[name] = _seed(name, value)
    return given


def _number(name: str, value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        raise RunError(f"input {name!r}: {value!r} is not a number") from None


def _seed(name: str, value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise RunError(f"input {name!r}: {value!r} is not a whole number") from None


@dataclass
class _Runner:
    plan: Plan
    folder: Path
    device: Device
    constants: Mapping[str, Any]
    progress: Progress
    observe: Callable[[str, dict[str, Any], dict[str, Any]], None] | None
    handles: dict[int, Any] = field(default_factory=dict)
    """By the absolute number of the step that first uses the copy."""
    ended: int = START
    failure: BaseException | None = None
    stopping: bool = False
    stall_s: float = 0.0
    peak_bytes: int = 0
    loaded_bytes: int = 0

    def __post_init__(self) -> None:
        self.change = threading.Condition()
        self.memory = AnonymousPeak()
        self.tallies: dict[str, _Tally] = {p.chunk: _Tally() for p in self.plan.packages}
        self.stage_s: dict[str, float] = {}
        self.packages = {p.chunk: p for p in self.plan.packages}
        self.size = {t.name: t.size_bytes for t in self.plan.program.tensors}
        self.env: dict[str, Any] = {}
        self.copy_of: dict[str, int] = {}
        """Chunk -> the copy that serves its calls now."""
        self.placements = list(unroll(self.plan.program, self.plan.schedule))
        self.freed_at: dict[int, list[Placement]] = {}
        for placement in self.placements:
            self.freed_at.setdefault(placement.free, []).append(placement)

    def run(self, given: dict[str, Any]) -> Outcome:
        begun = time.perf_counter()
        loader = threading.Thread(target=self._load_all, name="entracte-loader")
        with self.memory:
            loader.start()
            try:
                self._compute(given)
            except BaseException as error:
                self._stop(error)
                raise
            finally:
                self._stop(None)
                loader.join()
                self._free_everything()
        output = self.device.fetch(self.env[self.plan.program.output])
        return Outcome(output, self._record(time.perf_counter() - begun))

    def _record(self, wall_s: float) -> Run:
        return Run(
            device=self.device.name,
            wall_s=wall_s,
            peak_bytes=self.peak_bytes,
            stall_s=self.stall_s,
            loaded_bytes=self.loaded_bytes,
            chunks=tuple(
                ChunkRun(
                    chunk=name,
                    loads=t.loads,
                    calls=t.calls,
                    load_s=t.load_s,
                    exec_s=t.exec_s,
                    peak_activation_bytes=t.peak,
                )
                for name, t in self.tallies.items()
            ),
            stage_s=tuple(self.stage_s.items()),
            anonymous_peak_bytes=self.memory.peak_bytes,
        )

    # ------------------------------------------------------------ loader

    def _load_all(self) -> None:
        try:
            for placement in self.placements:
                if not self._wait_for_gate(placement.gate):
                    return
                self._load(placement)
        except BaseException as error:
            self._stop(error)

    def _wait_for_gate(self, gate: int) -> bool:
        with self.change:
            self.change.wait_for(lambda: self.ended >= gate or self.stopping)
            return not self.stopping

    def _load(self, placement: Placement) -> None:
        package = self.packages[placement.chunk]
        begun = time.perf_counter()
        handle = self.device.load(package, self.folder)
        seconds = time.perf_counter() - begun
        self.memory.look()
        with self.change:
            tally = self.tallies[placement.chunk]
            tally.loads += 1
            tally.load_s += seconds
            self.loaded_bytes += package.weight_bytes
            self.handles[placement.use] = handle
            self.change.notify_all()

    def _stop(self, error: BaseException | None) -> None:
        with self.change:
            self.failure = self.failure or error
            self.stopping = True
            self.change.notify_all()

    def _free_everything(self) -> None:
        for handle in self.handles.values():
            self.device.free(handle)
        self.handles.clear()

    # ------------------------------------------------------------ computer

    def _compute(self, given: dict[str, Any]) -> None:
        import numpy as np

        for i in self.plan.program.inputs:
            value = given[i.name]
            numeric = i.kind == "number"
            self.env[i.name] = self.device.make(np.array([value], np.float32)) if numeric else value
        for name, array in self.constants.items():
            self.env[name] = self.device.make(array)
        uses = {p.use for p in self.placements}
        total = self.plan.program.step_count
        for number, (segment, iteration, step) in enumerate(self._steps()):
            if number in uses and isinstance(step, Call):
                self.copy_of[step.chunk] = number
            self._step(step, iteration)
            self._end_step(number)
            self.progress(step.stage, number + 1, total)
            self._leave(segment, iteration, step)

    def _steps(self) -> Iterator[tuple[Segment, int, Step]]:
        for segment in self.plan.program.segments:
            for iteration in range(segment.count):
                for name, first, following in segment.state:
                    source = first if iteration == 0 else following
                    self.env[name] = self.env[source]
                    if iteration > 0:
                        del self.env[following]
                for step in segment.steps:
                    yield segment, iteration, step

    def _leave(self, segment: Segment, iteration: int, step: Step) -> None:
        if step is not segment.steps[-1] or iteration + 1 < segment.count:
            return
        for name, _, following in segment.state:
            self.env[name] = self.env.pop(following)
        for tensor in segment.frees:
            self.env.pop(tensor, None)

    def _end_step(self, number: int) -> None:
        """Free the copies whose last step this was, then open the gates."""
        for placement in self.freed_at.get(number, ()):
            with self.change:
                handle = self.handles.pop(placement.use)
            self.device.free(handle)
        with self.change:
            self.ended = number
            self.change.notify_all()

    def _step(self, step: Step, iteration: int) -> None:
        begun = time.perf_counter()
        if isinstance(step, HostStep):
            self._host(step)
        else:
            handle = self._wait_for_copy(self.copy_of[step.chunk])
            begun = time.perf_counter()
            self._call(step, handle, iteration)
        for tensor in step.frees:
            self.env.pop(tensor, None)
        seconds = time.perf_counter() - begun
        self.stage_s[step.stage] = self.stage_s.get(step.stage, 0.0) + seconds

    def _host(self, step: HostStep) -> None:
        arrays = run_host_step(step, {p: self.env[v] for p, v in step.inputs}, self.folder)
        for binding in step.outputs:
            self.env[binding.tensor] = self.device.make(arrays[binding.feature])

    def _wait_for_copy(self, copy: int) -> Any:
        begun = time.perf_counter()
        with self.change:
            self.change.wait_for(lambda: copy in self.handles or self.stopping)
            self.stall_s += time.perf_counter() - begun
            if self.failure is not None:
                raise self.failure
            return self.handles[copy]

    def _call(self, step: Call, handle: Any, iteration: int) -> None:
        pieces: dict[str, list[Any]] = {b.feature: [] for b in step.outputs}
        tally = self.tallies[step.chunk]
        for index in range(step.repeat):
            inputs = {b.feature: self._read(b, index, iteration) for b in step.inputs}
            begun = time.perf_counter()
            outputs = self.device.call(handle, step.function, inputs)
            tally.exec_s += time.perf_counter() - begun
            tally.calls += 1
            activation = self.device.activation_peak_bytes()
            tally.peak = max(tally.peak, activation)
            self._note_peak(step, activation)
            if self.observe is not None:
                self.observe(step.chunk, inputs, outputs)
            for binding in step.outputs:
                pieces[binding.feature].append(outputs[binding.feature])
        for binding in step.outputs:
            self.env[binding.tensor] = self._joined(binding, pieces[binding.feature])

    def _note_peak(self, step: Call, activation: int) -> None:
        names = set(self.env) | {b.tensor for b in step.outputs}
        tensors = sum(self.size.get(n, 0) for n in names)
        now = self.device.resident_bytes() + activation + tensors
        self.peak_bytes = max(self.peak_bytes, now)

    def _read(self, binding: Binding, index: int, iteration: int) -> Any:
        value = self.env[binding.tensor]
        if binding.by is By.WHOLE:
            return value
        k = index if binding.by is By.MAP else iteration
        if binding.axis is None:
            return value[k]
        return self.device.piece(value, binding.axis, k * binding.size, binding.size)

    def _joined(self, binding: Binding, pieces: list[Any]) -> Any:
        if binding.by is By.WHOLE:
            return pieces[0]
        if binding.axis is None:
            return pieces
        return self.device.gather(pieces, binding.axis)
