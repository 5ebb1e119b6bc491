"""Plan x inputs -> what happened: the interpreter, with a loader thread and a computing thread.

The loader makes the loads in the plan's order, each when its gate step has ended. The
computer makes the steps in order, each when its chunk is there, and frees what the plan frees
before it lets the next gate open. So memory stays within the proven peak whatever the timings.
A loop whose `until` is not zero after an iteration ends there: the load in flight is finished,
the loop's other loads are skipped and its copies dropped before any later gate opens.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from entracte.devices import Device
from entracte.errors import RunError
from entracte.ir import (
    Binding,
    By,
    Call,
    ChunkRun,
    Event,
    HostStep,
    Plan,
    Run,
    Segment,
    Step,
)
from entracte.memory import AnonymousPeak
from entracte.program.steps import START, Placement, bases, unroll, where_is
from entracte.run.host import run_host_step

Observe = Callable[[str, str, dict[str, Any]], None]
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
    observe: Observe | None = None,
) -> Outcome:
    """Execute a plan.

    Args:
        inputs: values for the plan's inputs; those left out take their defaults.
        constants: the plan's constant tensors as numpy arrays.
        observe: called with (chunk, function, inputs) after each call, for verification.
    """
    runner = Runner
    if plan.schedule.rule == "online":
        # Imported here: it is a runner too, and stands to the right of this module.
        from entracte.run.online import OnlineRunner

        runner = OnlineRunner
    return runner(plan, folder, device, constants, progress, observe).run(_given(plan, inputs))


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
class Runner:
    """Follows the plan's gates. `run_online` follows the online rule instead."""

    plan: Plan
    folder: Path
    device: Device
    constants: Mapping[str, Any]
    progress: Progress
    observe: Observe | None
    handles: dict[int, Any] = field(default_factory=dict)
    """By the absolute number of the step that first uses the copy."""
    ended: int = START
    failure: BaseException | None = None
    stopping: bool = False
    loading: bool = False
    skip_to: int = 0
    """Loads for steps before this one are no longer made: their loop has ended."""
    stall_s: float = 0.0
    peak_bytes: int = 0
    loaded_bytes: int = 0

    def __post_init__(self) -> None:
        self.change = threading.Condition()
        self.begun = time.perf_counter()
        self.events: list[Event] = []
        self.doing = 0
        """The step that runs or ran last."""
        self.memory = AnonymousPeak()
        self.tallies: dict[str, _Tally] = {p.chunk: _Tally() for p in self.plan.packages}
        self.stage_s: dict[str, float] = {}
        self.iterations: dict[str, int] = {}
        self.packages = {p.chunk: p for p in self.plan.packages}
        self.size = {t.name: t.size_bytes for t in self.plan.program.tensors}
        self.env: dict[str, Any] = {}
        self.copy_of: dict[str, int] = {}
        """Chunk -> the copy that serves its calls now."""
        self.bases = bases(self.plan.program)
        self.placements = list(unroll(self.plan.program, self.plan.schedule))
        self.uses = {p.use for p in self.placements}
        self.freed_at: dict[int, list[Placement]] = {}
        for placement in self.placements:
            self.freed_at.setdefault(placement.free, []).append(placement)

    def run(self, given: dict[str, Any]) -> Outcome:
        self.begun = time.perf_counter()
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
        return Outcome(output, self._record(time.perf_counter() - self.begun))

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
            iterations=tuple(self.iterations.items()),
            events=tuple(sorted(self.events, key=lambda e: e.end_s)),
            anonymous_peak_bytes=self.memory.peak_bytes,
        )

    # ------------------------------------------------------------ loader

    def _load_all(self) -> None:
        try:
            for placement in self.placements:
                if self._may_load(placement):
                    self._load(placement)
        except BaseException as error:
            self._stop(error)

    def _may_load(self, placement: Placement) -> bool:
        """Wait for the gate; no if the run or the load's loop ended meanwhile."""

        def skipped() -> bool:
            return self.stopping or placement.use < self.skip_to

        with self.change:
            self.change.wait_for(lambda: self.ended >= placement.gate or skipped())
            self.loading = not skipped()
            return self.loading

    def _load(self, placement: Placement) -> None:
        handle, _ = self._fetched(placement.chunk, placement.use)
        with self.change:
            self.handles[placement.use] = handle
            self.loading = False
            self.change.notify_all()

    def _fetched(self, chunk: str, use: int) -> tuple[Any, float]:
        """A new copy for the step `use`, and the seconds that its load took."""
        package, function = self.packages[chunk], self._function_at(use)
        size_bytes = package.weight_bytes
        return self._timed(
            chunk, size_bytes, use, lambda: self.device.load(package, self.folder, function)
        )

    def _timed(
        self, chunk: str, size_bytes: int, use: int, load: Callable[[], Any]
    ) -> tuple[Any, float]:
        """What a load of so many bytes for the step `use` returns, and the seconds it took."""
        begun = time.perf_counter()
        handle = load()
        seconds = time.perf_counter() - begun
        self.memory.look()
        with self.change:
            tally = self.tallies[chunk]
            tally.loads += 1
            tally.load_s += seconds
            self.loaded_bytes += size_bytes
            self._note("load", chunk, use, begun, begun + seconds, size_bytes)
        return handle, seconds

    def _function_at(self, use: int) -> str:
        """The function that the call of this step uses."""
        return self._call_at(use).function_at(self._where(use)[1])

    def _call_at(self, use: int) -> Call:
        s, _, k = self._where(use)
        step = self.plan.program.segments[s].steps[k]
        assert isinstance(step, Call)
        return step

    def _where(self, number: int) -> tuple[int, int, int]:
        """Segment, iteration and step of an absolute step number."""
        return where_is(self.plan.program.segments, self.bases, number)

    # ------------------------------------------------------------ what happened

    def _note(
        self, queue: str, chunk: str, step: int, start: float, end: float, size_bytes: int = 0
    ) -> None:
        """An event of this run, by the clock of `time.perf_counter`."""
        segment, iteration, _ = self._where(step)
        start, end = start - self.begun, end - self.begun
        with self.change:
            self.events.append(Event(queue, chunk, segment, iteration, start, end, size_bytes))

    def _freed(self, chunk: str, size_bytes: int) -> None:
        """Weights were given back just now."""
        now = time.perf_counter()
        self._note("free", chunk, self.doing, now, now, size_bytes)

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
        for s, segment in enumerate(self.plan.program.segments):
            self._segment(self.bases[s], segment)

    def _segment(self, base: int, segment: Segment) -> None:
        length = len(segment.steps)
        for name, first, _ in segment.state:
            self.env[name] = self.env[first]
        for iteration in range(segment.count):
            number = base + iteration * length
            self._iteration(number, segment, iteration)
            over = self._is_over(segment)
            self._move_state(segment)
            if over or iteration + 1 == segment.count:
                break
            self._end_step(number + length - 1)
        for tensor in segment.frees:
            self.env.pop(tensor, None)
        if iteration + 1 < segment.count:
            self._drop_copies(base + segment.count * length)
        self._end_step(base + segment.count * length - 1)
        if segment.until is not None:
            self.iterations[segment.name] = iteration + 1

    def _iteration(self, number: int, segment: Segment, iteration: int) -> None:
        """All steps; the last one's end is for the caller to announce."""
        uses, total = self.uses, self.plan.program.step_count
        last = number + len(segment.steps) - 1
        for step in segment.steps:
            if number in uses and isinstance(step, Call):
                self.copy_of[step.chunk] = number
            self.doing = number
            self._step(step, iteration)
            if number < last:
                self._end_step(number)
            self.progress(step.stage, number + 1, total)
            number += 1

    def _is_over(self, segment: Segment) -> bool:
        """Whether the iteration that was done says that it is the last."""
        if segment.until is None:
            return False
        import numpy as np

        said = np.asarray(self.device.fetch(self.env[segment.until])).reshape(-1)
        if segment.until not in {following for _, _, following in segment.state}:
            del self.env[segment.until]
        return bool(said[0] != 0)

    def _move_state(self, segment: Segment) -> None:
        for name, _, following in segment.state:
            self.env[name] = self.env[following]
        for following in {following for _, _, following in segment.state}:
            del self.env[following]

    def _drop_copies(self, resume: int) -> None:
        """A loop ended early: none of its copies or loads is left when this returns."""
        with self.change:
            self.skip_to = resume
            self.change.notify_all()
            self.change.wait_for(lambda: not self.loading or self.stopping)
            if self.failure is not None:
                raise self.failure
            left = [(use, self.handles.pop(use)) for use in sorted(self.handles) if use < resume]
        for use, handle in left:
            self.device.free(handle)
            chunk = self._call_at(use).chunk
            self._freed(chunk, self.packages[chunk].weight_bytes)

    def _end_step(self, number: int) -> None:
        """Free the copies whose last step this was, then open the gates."""
        for placement in self.freed_at.get(number, ()):
            with self.change:
                handle = self.handles.pop(placement.use, None)
            if handle is not None:
                self.device.free(handle)
                self._freed(placement.chunk, self.packages[placement.chunk].weight_bytes)
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
            self._note("compute", step.chunk, self.doing, begun, time.perf_counter())
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
            outputs = self.device.call(handle, step.function_at(iteration), inputs)
            tally.exec_s += time.perf_counter() - begun
            tally.calls += 1
            activation = self.device.activation_peak_bytes()
            tally.peak = max(tally.peak, activation)
            self._note_peak(step, activation)
            if self.observe is not None:
                self.observe(step.chunk, step.function_at(iteration), inputs)
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
