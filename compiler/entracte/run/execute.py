"""A plan, a folder and a device name -> a run: what `plan run`, `plan verify` and tools share."""

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from entracte.devices import Device
from entracte.disk.read import inside
from entracte.errors import ConfigError, RunError
from entracte.ir import DType, Output, Package, Plan
from entracte.plan.file import CONSTANTS, check_files, read_plan
from entracte.run.answers import Answers, check_place, recording
from entracte.run.conditioning import Conditioning
from entracte.run.delivery import Kept, Sink
from entracte.run.inputs import told_inputs
from entracte.run.keeper import Kept as SnapshotKept
from entracte.run.keeper import Snapshots
from entracte.run.metadata import metadata_of
from entracte.run.outputs import Made, made_of
from entracte.run.packages import check_bytes, check_facts
from entracte.run.preview import FILE as PREVIEW
from entracte.run.preview import Preview, Previewer, read_preview
from entracte.run.runner import Answered, Iterated, Listeners, Observe, Outcome, Progress, run_plan
from entracte.run.series import Series
from entracte.run.sinks import Out, check_names, opened, places_for, usual_places
from entracte.run.text import texts_of
from entracte.store.cache import cache_folder
from entracte.store.tensor_file import read_header, reading

DEVICES = ("auto", "reference", "coreml", "null")
MOST_SCALE = 64
READING = ("reference", "coreml")
"""Devices that read packages; their bytes and facts are checked."""


def make_device(name: str, plan: Plan, policy: str = "hybrid") -> Device:
    """A device by name; `auto` is Core ML on macOS and the reference device elsewhere."""
    if name == "auto":
        name = "coreml" if platform.system() == "Darwin" else "reference"
    if name == "reference":
        from entracte.devices.reference import ReferenceDevice
        from entracte.reference.precision import POLICIES

        if policy not in POLICIES:
            raise RunError(f"--policy {policy}: not one of {', '.join(POLICIES)}")
        return ReferenceDevice(policy)
    if name == "coreml":
        from entracte.devices.coreml import COMPUTE_UNITS, CoreMLDevice

        unit = plan.target.compute_unit
        own = {c.id: c.compute_unit for c in plan.chunks if c.compute_unit}
        return CoreMLDevice(unit if unit in COMPUTE_UNITS else "all", units=own)
    if name == "null":
        from entracte.devices.null import NullDevice

        return NullDevice(plan.target.budget_bytes)
    raise RunError(f"--device {name}: not one of {', '.join(DEVICES)}")


@dataclass(frozen=True)
class OpenBuild:
    """A whole build folder, checked, with the device that is to run it."""

    plan: Plan
    folder: Path
    device: Device
    out: Out
    """Where outputs go; None also on the null device, which computes none."""
    keep: bool = True
    """Outputs that go to no file are kept in memory, as arrays; texts always are."""
    answers: Path | None = None
    """Where to record what the device answers (`run/answers.py`)."""
    scale: int = 1
    """How many times clips and GIFs are enlarged."""
    metadata: bool = True
    """Files say how they were made (`run/metadata.py`)."""
    conditioning: Conditioning | None = None
    """Where what follows from given inputs is stored (`run/conditioning.py`)."""
    snapshots: Snapshots | None = None
    """Where to keep what is needed to go on after an interruption."""
    kept: Callable[[SnapshotKept], None] = lambda _: None
    """Told of each snapshot."""

    def made(self, metadata: str = "") -> tuple[Made, ...]:
        """The outputs, as files are to hold them."""
        return made_of(self.plan, self.folder, scale=self.scale, metadata=metadata)

    def run(
        self,
        inputs: Mapping[str, object],
        progress: Progress = lambda *_: None,
        iterated: Iterated = lambda *_: None,
    ) -> Outcome:
        """Run the plan and write the outputs. Raises `RunError`."""
        outcome = self.compute(inputs, progress, iterated)
        if outcome.faults:
            raise RunError("; ".join(outcome.faults))
        return outcome

    def compute(
        self,
        inputs: Mapping[str, object],
        progress: Progress = lambda *_: None,
        iterated: Iterated = lambda *_: None,
        *,
        series: Series | None = None,
        following: Mapping[str, object] | None = None,
    ) -> Outcome:
        """Run the plan and write its outputs as they are made. Raises `RunError`; but what could
        not be written is told by `Outcome.faults`, with where it is kept. `series` and `following`
        as `run_plan` takes them."""
        if self.snapshots is not None and self.device.name == "null":
            raise RunError("snapshots: device null computes nothing to keep; leave them out")
        made = self.made(self._metadata(inputs))
        files = places_for(made, self.out)
        with self._recording() as answers, opened(files) as sinks:
            kept = self._kept([m.output for m in made if m.output.name not in sinks])
            outcome = execute(
                self.plan,
                self.folder,
                self.device,
                inputs,
                progress=progress,
                answered=None if answers is None else answers.take,
                sinks={**sinks, **kept},
                conditioning=self.conditioning,
                series=series,
                following=following,
                snapshots=self.snapshots,
                told=self.kept,
                iterated=iterated,
            )
            if answers is not None:
                answers.run = outcome.run
        arrays = {name: sink.value for name, sink in kept.items()}
        texts, lost = texts_of(self.plan.program.outputs, arrays, self.folder)
        return replace(
            outcome,
            outputs=arrays,
            texts=texts,
            files=tuple(f.place.path for f in files if not f.fault),
            places={m.output.name: f.place.path for f in files for m in f.made},
            faults=(*(f.fault for f in files if f.fault), *lost),
        )

    def _metadata(self, inputs: Mapping[str, object]) -> str:
        if self.out is None or not self.metadata:
            return ""
        return metadata_of(self.plan, told_inputs(self.plan, inputs), self.device)

    def _recording(self) -> AbstractContextManager[Answers | None]:
        if self.answers is None:
            return nullcontext()
        return recording(self.plan, self.device, self.answers)

    def _kept(self, outputs: Sequence[Output]) -> dict[str, Kept]:
        if self.device.name == "null":
            return {}
        return {o.name: Kept(o.axis) for o in outputs if self.keep or o.kind == "text"}


def open_build(  # noqa: PLR0913 - the options of a command
    folder: Path | str,
    *,
    device: str = "auto",
    policy: str = "hybrid",
    out: Out = None,
    keep: bool = True,
    usual: bool = False,
    answers: Path | None = None,
    scale: int = 1,
    metadata: bool = True,
    conditioning: Path | str | None = None,
) -> OpenBuild:
    """Read and check a build folder; everything that can be wrong is found before any work.

    Args:
        keep: whether outputs that go to no file stay in memory.
        usual: without `out`, outputs go to files of the usual names (`run/sinks.py`).
        answers: a folder to record the device's answers in.
        scale: how many times clips and GIFs are enlarged.
        metadata: whether files say how they were made (`run/metadata.py`).
        conditioning: a folder in which what follows from given inputs is stored, and taken from
            (`run/conditioning.py`); `auto` is the cache.

    Raises:
        PlanError: no plan, a damaged one, or files that are missing or changed.
        RunError: no such device, an `out` that the plan's outputs do not suit, or no place for
            answers or conditioning.
    """
    folder = Path(folder)
    if out is not None:
        check_names(out)
    plan = read_plan(folder)
    check_files(plan, folder)
    chosen = make_device(device, plan, policy)
    if chosen.name in READING:
        check_facts(plan, folder)
    if chosen.name == "null":
        out = None
    elif out is None and usual:
        out = usual_places(made_of(plan))
    if not 1 <= scale <= MOST_SCALE:
        raise RunError(f"scale: {scale} is none from 1 to {MOST_SCALE}")
    if conditioning is not None and answers is not None:
        raise RunError("--answers: has all calls in it, so nothing is left out; leave out "
                       "--keep-conditioning")  # fmt: skip
    stored = None if conditioning is None else Conditioning(_cache(conditioning))
    build = OpenBuild(plan, folder, chosen, out, keep, answers, scale, metadata, stored)
    places_for(build.made(), out)
    if answers is not None:
        check_place(chosen.name, answers)
    return build


def run_build(  # noqa: PLR0913 - the options of a command
    folder: Path | str,
    inputs: Mapping[str, object] | None = None,
    *,
    device: str = "auto",
    policy: str = "hybrid",
    out: Out = None,
    progress: Progress = lambda *_: None,
    scale: int = 1,
    metadata: bool = True,
    conditioning: Path | str | None = None,
    snapshots: str | Path | None = None,
    resume: bool = False,
    preview: Callable[[Preview], None] | None = None,
    every: int = 1,
) -> Outcome:
    """Run the plan of a build folder.

    Args:
        inputs: values for the plan's inputs; those left out take their defaults. Of images, videos,
            audios and tensors: a file's name, or the tensor itself as an array.
        device: `reference` (any machine), `coreml` (a Mac), `null` (counts, computes nothing),
            or `auto`: Core ML on a Mac and the reference device elsewhere.
        policy: arithmetic of the reference device: hybrid, round, fp32.
        out: a file to write the output to, or files by output; the ending is the format
            (`run/outputs.py`). What goes to a file is written as it is made, not kept in memory.
        progress: called with (stage, steps done, steps in all).
        scale: how many times clips and GIFs are enlarged: a whole number from 1.
        metadata: whether files say how they were made: plan, inputs, device, versions.
        conditioning: a folder in which what follows from given inputs is stored; a later run with
            the same ones, and another seed, does not compute it again. `auto` is the cache.
        snapshots: a folder in which to keep, at the ends of iterations, what is needed to go on
            after an interruption (docs/running.md).
        resume: go on from the snapshot there, if there is one.
        preview: called with a `Preview` after iterations of the loop: its latents as pictures, by
            the factors in the build folder's `preview.json`; what it raises ends the run.
        every: how many iterations lie between two previews; the last is always told.

    Returns the outputs that went to no file as numpy arrays, and the record of the run. Raises
    `PlanError` and `RunError` as `open_build` does, and `RunError` for inputs that the plan does
    not have.
    """
    opened = open_build(
        folder, device=device, policy=policy, out=out, scale=scale, metadata=metadata,
        conditioning=conditioning,
    )  # fmt: skip
    if snapshots is not None:
        opened = replace(opened, snapshots=Snapshots(Path(snapshots), resume))
    if preview is None:
        return opened.run(inputs or {}, progress)
    linear = read_preview(opened.folder / PREVIEW, opened.plan)
    return opened.run(inputs or {}, progress, Previewer(linear, preview, every).iterated)


def execute(  # noqa: PLR0913 - what a run is of, and who takes part
    plan: Plan,
    folder: Path,
    device: Device,
    inputs: Mapping[str, object],
    *,
    progress: Progress = lambda *_: None,
    observe: Observe | None = None,
    answered: Answered | None = None,
    sinks: Mapping[str, Sink] | None = None,
    conditioning: Conditioning | None = None,
    series: Series | None = None,
    following: Mapping[str, object] | None = None,
    snapshots: Snapshots | None = None,
    told: Callable[[SnapshotKept], None] = lambda _: None,
    iterated: Iterated = lambda *_: None,
) -> Outcome:
    """Run a plan of a build folder with its constants; the rest as `run_plan` takes it."""
    return run_plan(
        plan,
        folder,
        device,
        inputs,
        constants=load_constants(plan, folder)
        if series is None
        else partial(load_constants, plan, folder),
        listeners=Listeners(
            progress, observe, answered, partial(_loading, device, folder), told, iterated
        ),
        sinks=sinks,
        conditioning=conditioning,
        series=series,
        following=following,
        snapshots=snapshots,
    )


def _cache(folder: Path | str) -> Path:
    """Where conditioning is stored."""
    try:
        return cache_folder(str(folder))
    except ConfigError as error:
        raise RunError(f"--keep-conditioning {folder}: {error}") from None


def _loading(device: Device, folder: Path, package: Package) -> None:
    """What a device reads must be what the plan was made with."""
    if device.name in READING:
        check_bytes(package, folder)


_STORED = {DType.FP16: ("F16", "F32"), DType.FP32: ("F32",), DType.INT32: ("I32",)}
"""What a constant of a type may be stored as, in safetensors' words."""


def load_constants(plan: Plan, folder: Path) -> dict[str, Any]:
    """The constant tensors, with the shapes the plan declares. Raises `RunError`."""
    if not plan.program.constants:
        return {}
    from safetensors.numpy import load_file

    path = inside(folder, CONSTANTS)
    if path is None or not path.is_file():
        raise RunError(f"{folder}: there is no file {CONSTANTS}; compile again")
    try:
        stored = read_header(path)
        with reading(path):
            arrays = load_file(path)
    except ConfigError as error:
        raise RunError(str(error)) from None
    for port in plan.program.constants:
        found = stored.get(port.name)
        if found is None or found.shape != port.shape or found.dtype not in _STORED[port.dtype]:
            raise RunError(f"{folder}: {CONSTANTS} lacks {port.name}, {port.dtype} of {port.shape}")
    return {p.name: arrays[p.name] for p in plan.program.constants}
