"""Plan x inputs -> what happened: the interpreter of programs, on the machine that loads for it.

The computing thread makes the steps in order, each when the machine's driver starts it, and tells
it when each has ended. A loop whose `until` is not zero after an iteration ends there: the driver
hears of it with the end of the iteration's last step.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from entracte.clock.driver import Driver
from entracte.clock.drivers import kind_of, make_driver
from entracte.devices import Device, PagedDevice
from entracte.errors import RunError
from entracte.ir import Call, HostStep, Plan, Program, Run, Segment, Step
from entracte.plan.host_steps import check_host_steps
from entracte.program.steps import bases, functions_of
from entracte.program.workload import Workload
from entracte.run.alarm import Alarm, alarm_of
from entracte.run.conditioning import Begun, Conditioning
from entracte.run.copies import Build, Copies, Loading, PagedCopies, WholeCopies
from entracte.run.delivery import Delivery, Kept, Sink
from entracte.run.host import run_host_step
from entracte.run.inputs import given_inputs, told_inputs
from entracte.run.journal import Journal
from entracte.run.keeper import Keeper, Snapshots
from entracte.run.keeper import Kept as SnapshotKept
from entracte.run.machine import Machine
from entracte.run.origin import now, signed
from entracte.run.position import START, Position
from entracte.run.series import Series
from entracte.run.snapshot import run_of
from entracte.run.tensors import Tensors
from entracte.units import format_bytes

Observe = Callable[[str, str, dict[str, Any]], None]
Answered = Callable[[str, str, Mapping[str, Any], Mapping[str, Any]], None]
Progress = Callable[[str, int, int], None]
"""(stage, steps done, steps in all)"""
Iterated = Callable[[Segment, int, Callable[[str], Any]], None]
"""(loop, iterations done, what gives a tensor that is alive then as a numpy array). Told when the
loop's states have their next values; what it raises ends the run."""


@dataclass(frozen=True)
class Outcome:
    """What a run made, the record of the run, and whether it is an alarm."""

    outputs: Mapping[str, Any]
    """Arrays by name, of those outputs that go to no file. They are in memory beside what the plan
    claims, which ends where a writer takes a piece."""
    run: Run
    alarm: Alarm | None = None
    """What was observed above proven."""

    texts: Mapping[str, str] = field(default_factory=dict)
    """Of `outputs`, those that are texts, by name."""
    files: tuple[Path, ...] = ()
    """What was written."""
    places: Mapping[str, Path] = field(default_factory=dict)
    """Output -> the file that it was to go to."""
    faults: tuple[str, ...] = ()
    """What could not be written, why, and where it is kept."""

    @property
    def output(self) -> Any:
        """The only one of `outputs`."""
        (value,) = self.outputs.values()
        return value


@dataclass(frozen=True)
class Listeners:
    """Who is told while a plan runs."""

    progress: Progress = lambda *_: None
    observe: Observe | None = None
    """Called with (chunk, function, inputs) after each call, for verification."""
    answered: Answered | None = None
    """The same, and the outputs as they are before anything is done with them."""
    loading: Loading = lambda _: None
    """Told of each package before it is loaded, by the loader."""
    kept: Callable[[SnapshotKept], None] = lambda _: None
    """Told of each snapshot when it is on the disk."""
    iterated: Iterated = lambda *_: None
    """Told at the end of each iteration of a loop: what previews are made by."""


_NOBODY = Listeners()


def run_plan(  # noqa: PLR0913 - what a run is of, and who takes part
    plan: Plan,
    folder: Path,
    device: Device,
    inputs: Mapping[str, object],
    *,
    constants: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    listeners: Listeners = _NOBODY,
    sinks: Mapping[str, Sink] | None = None,
    conditioning: Conditioning | None = None,
    series: Series | None = None,
    following: Mapping[str, object] | None = None,
    snapshots: Snapshots | None = None,
) -> Outcome:
    """Execute a plan.

    Args:
        inputs: values for the plan's inputs; those left out take their defaults.
        constants: the plan's constant tensors as numpy arrays, or what reads them.
        sinks: what takes the outputs, by name; others are dropped. By default all are kept in
            memory, for `Outcome.outputs`.
        conditioning: where what follows from given inputs is stored and, where it is there, not
            computed again.
        series: where runs hand on what they leave in memory; `following` are the inputs of the
            next one, None for the last.
        snapshots: where to keep what is needed to go on after an interruption.
    """
    date = now()
    # Where something is in memory already, the rule makes room for the inputs first.
    early = series is None or not series.has_left
    given = given_inputs(plan, inputs) if early else {}
    told = told_inputs(plan, inputs)
    # Before anything is loaded: what a host step is to make is what the program declares.
    check_host_steps(plan)
    begun = Begun.of(plan, device, told, conditioning)
    program = begun.rest.program
    kept = {o.name: Kept(o.axis) for o in program.outputs} if sinks is None else {}
    if snapshots is not None and (conditioning is not None or series is not None):
        raise RunError(
            "snapshots: they are of runs that compute everything; leave out what keeps conditions, "
            "or the snapshots"
        )
    sinks = kept if sinks is None else sinks
    journal = Journal(plan, begun.rest.number)
    # The plan's digest and the libraries' versions are asked for only where something is kept.
    of = None if snapshots is None else run_of(plan, told, device)
    with snapshots.opened(plan, of) if snapshots and of else nullcontext() as found:
        keeper = None
        if snapshots is not None and of is not None:
            share, tell = snapshots.share, listeners.kept
            keeper = Keeper(snapshots.folder, plan, of, journal, share=share, told=tell)
        delivery = Delivery(program.outputs, sinks, keeper.took if keeper else lambda *_: None)
        tensors, start = Tensors(program, device, delivery), START
        with journal.memory:
            if found is not None and keeper is not None:
                start = found.position
                keeper.go_on(found, tensors, delivery, given)
            if series is None:
                driver, copies = _driver_and_copies(begun.plan, folder, device, listeners.loading)
                at = start.step(program)
                ready: AbstractContextManager[Machine] = Machine(driver, copies, journal, at=at)
            else:
                coming = None if following is None else told_inputs(plan, following)
                then = None if coming is None else begun.after(device, coming, conditioning)
                build = Build(plan, folder, functions_of(program), listeners.loading)
                ready = series.machine(begun.rest, then, build, by_pages(plan, device), journal)
            with begun, ready as machine:
                if start == START:
                    given = given or given_inputs(plan, inputs)
                    arrays = constants() if callable(constants) else constants
                    named = {c.name for c in program.constants}
                    arrays = {n: a for n, a in arrays.items() if n in named} | begun.take()
                    tensors.give(program, given, arrays)
                    del arrays
                # The tensors' own from now on, so that what the program frees is free.
                del given, constants
                _Interpreter(
                    program, folder, device, machine, tensors, journal, listeners, begun, keeper
                ).run(start)
    journal.wrote(delivery.counts, [k.value for k in kept.values()])
    for note in begun.notes:
        journal.noted(note)
    made = replace(journal.run(device.name), reused=begun.reused)
    run = signed(made, plan, told, device, date)
    return Outcome({name: k.value for name, k in kept.items()}, run, alarm_of(plan, run))


def _driver_and_copies(
    plan: Plan, folder: Path, device: Device, loading: Loading
) -> tuple[Driver, Copies]:
    """Units are the target's pages where the driver and the device can load them, else packages."""
    workload, paged = Workload.of(plan), by_pages(plan, device)
    build = Build(plan, folder, functions_of(plan.program), loading)
    if paged is None:
        driver = make_driver(replace(workload, page_bytes=0), plan.schedule)
        return driver, WholeCopies(device, build, driver.table)
    driver = make_driver(workload, plan.schedule)
    return driver, PagedCopies(paged, build, driver.table)


@dataclass(frozen=True, slots=True)
class _Did:
    """How long a step took, and the later steps that rest by what it made."""

    seconds: float
    resting: tuple[int, ...]


@dataclass
class _Interpreter:
    """Working state of the computing thread."""

    program: Program
    folder: Path
    device: Device
    machine: Machine
    tensors: Tensors
    journal: Journal
    listeners: Listeners
    begun: Begun
    keeper: Keeper | None = None

    def run(self, start: Position = START) -> None:
        """From a position on; `tensors` has what is alive there."""
        if start != START:
            stage = self.program.segments[start.segment].steps[0].stage
            self.listeners.progress(stage, start.step(self.program), self.program.step_count)
        base = bases(self.program)
        for s in range(start.segment, len(base)):
            segment = self.program.segments[s]
            first = start.iteration if s == start.segment else 0
            if first == 0:
                # Before its first step may run there is no room for what a state is cast to.
                self.machine.wait_for(base[s])
                self.tensors.enter(segment)
            self._iterations(base[s], s, segment, first)

    def _iterations(self, base: int, s: int, segment: Segment, first: int) -> None:
        """Runs a segment from an iteration on."""
        length = len(segment.steps)
        for iteration in range(first, segment.count):
            if self.keeper is not None:
                self.keeper.is_last(Position(s, iteration))
            number = base + iteration * length
            for k, step in enumerate(segment.steps[:-1]):
                did = self._step(number + k, segment, step, iteration)
                self._done(number + k, step, did, over=False)
            did = self._step(number + length - 1, segment, segment.steps[-1], iteration)
            over = self.tensors.is_over(segment)
            self.tensors.move_state(segment)
            if segment.is_loop:
                self.listeners.iterated(segment, iteration + 1, self.tensors.fetch)
            last = over or iteration + 1 == segment.count
            if last:
                self.tensors.leave(segment, iteration + 1)
            if last and segment.until is not None:
                self.journal.ended(segment.name, iteration + 1)
            early = last and iteration + 1 < segment.count
            self._done(number + length - 1, segment.steps[-1], did, over=early)
            self._keep(Position(s + 1, 0) if last else Position(s, iteration + 1))
            if last:
                return

    def _keep(self, at: Position) -> None:
        """The loader goes on meanwhile: nothing is in memory that is not between these steps."""
        if self.keeper is not None and at.segment < len(self.program.segments):
            self.keeper.at(at, self.tensors)

    def _done(self, number: int, step: Step, did: "_Did", *, over: bool) -> None:
        """The driver hears of it first: whoever watches must not hold memory up."""
        self.machine.step_done(did.seconds, over=over, resting=did.resting)
        self.begun.made(number, self.tensors.slots)
        named, count = self.begun.rest.number(number), self.begun.whole.program.step_count
        self.listeners.progress(step.stage, named + 1, count)

    def _step(self, number: int, segment: Segment, step: Step, iteration: int) -> "_Did":
        """Do a step when it may."""
        self.machine.wait_for(number)
        slices = self._slices(step, iteration) if isinstance(step, Call) else []
        called = bool(slices)
        if isinstance(step, Call) and called:
            self.machine.switch(step.chunk, number)
        begun = time.perf_counter()
        if isinstance(step, HostStep):
            inputs, note = self.tensors.host_inputs(step), partial(self._noted, number)
            arrays = run_host_step(step, inputs, self.folder, iteration, note)
            self.tensors.put_arrays(step, arrays)
        elif called:
            self._call(step, iteration, slices)
            self.journal.called(step.chunk, number, begun, time.perf_counter())
        resting = self._resting(number, segment, step, iteration)
        self.tensors.end(step, segment)
        seconds = time.perf_counter() - begun
        self.journal.done(step.stage, seconds)
        if isinstance(step, Call) and slices:
            # What the driver hears of is all slices.
            seconds *= step.repeat / len(slices)
        return _Did(seconds, resting)

    def _slices(self, step: Call, iteration: int) -> list[int]:
        """The slices of a call that happen: what the others made last stands."""
        if not step.is_called(iteration):
            return []
        if not step.rests_by or iteration == 0:
            return list(range(step.repeat))
        return [k for k, rests in enumerate(self.tensors.said(step.rests_by)) if not rests]

    def _resting(
        self, number: int, segment: Segment, step: Step, iteration: int
    ) -> tuple[int, ...]:
        """The later steps of the iteration that rest by what this one made."""
        if iteration == 0 or (isinstance(step, Call) and not step.is_called(iteration)):
            return ()
        made = {b.tensor for b in step.outputs}
        asking = {
            number + j: x.rests_by
            for j, x in enumerate(segment.steps[segment.steps.index(step) :])
            if isinstance(x, Call) and x.rests_by in made and x.is_called(iteration)
        }
        says = {name: all(self.tensors.said(name)) for name in set(asking.values())}
        return tuple(n for n, name in asking.items() if says[name])

    def _noted(self, number: int, text: str) -> None:
        self.journal.noted(text)
        self.begun.said(number, text)

    def _call(self, step: Call, iteration: int, slices: Sequence[int]) -> None:
        handle, function = self.machine.handle(step.chunk), step.function_at(iteration)
        for index in slices:
            inputs = self.tensors.inputs(step, index, iteration)
            before_bytes, begun = self.device.resident_bytes(), time.perf_counter()
            outputs = self.device.call(handle, function, inputs)
            seconds = time.perf_counter() - begun
            # While it ran a load may have ended, and the driver have given something back.
            resident_bytes = max(before_bytes, self.device.resident_bytes())
            held_bytes = resident_bytes + self.tensors.held_bytes(step)
            activation_bytes = self.device.activation_peak_bytes()
            self.journal.sliced(step.chunk, seconds, activation_bytes, held_bytes)
            if self.listeners.observe is not None:
                self.listeners.observe(step.chunk, function, inputs)
            if self.listeners.answered is not None:
                self.listeners.answered(step.chunk, function, inputs, outputs)
            self.tensors.put(step, index, iteration, outputs)


# ---------------------------------------------------------------- pages


def by_pages(plan: Plan, device: Device) -> PagedDevice | None:
    """The device, if the plan's target has pages and both its driver and it can load them."""
    if plan.target.page_bytes and kind_of(plan.schedule).by_pages:
        return device if isinstance(device, PagedDevice) else None
    return None


def whole_note(plan: Plan, device: Device) -> str | None:
    """What to say before a run whose device does not load the pages that the plan counts on.

    Whole packages are just as safe: the rule keeps the same budget, in which every step fits.
    """
    if not kind_of(plan.schedule).by_pages or not plan.target.page_bytes:
        return None
    if by_pages(plan, device) is not None:
        return None
    return (
        f"note: device {device.name} loads packages whole, not in the pages of "
        f"{format_bytes(plan.target.page_bytes)} that target {plan.target.name} has; memory stays "
        "within the claim, times may not (`target.page_bytes=0` plans for whole packages)"
    )
