"""A plan, a folder and a device name -> a run: what `plan run`, `plan verify` and tools share."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from entracte.devices import Device
from entracte.disk.read import inside
from entracte.errors import ConfigError, RunError
from entracte.ir import DType, Package, Plan
from entracte.plan.file import CONSTANTS, check_files, read_plan
from entracte.run.outputs import check_output, keep_output, output_for, write_output
from entracte.run.packages import check_bytes, check_facts
from entracte.run.runner import Listeners, Observe, Outcome, Progress, run_plan
from entracte.store.tensor_file import read_header, reading

DEVICES = ("auto", "reference", "coreml", "null")
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
        return CoreMLDevice(unit if unit in COMPUTE_UNITS else "all")
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
    out: Path | None
    """Where the output goes; None also on the null device, which computes none."""

    def run(self, inputs: Mapping[str, object], progress: Progress = lambda *_: None) -> Outcome:
        """Run the plan and write the output. Raises `RunError`."""
        outcome = self.compute(inputs, progress)
        self.write(outcome)
        return outcome

    def compute(
        self, inputs: Mapping[str, object], progress: Progress = lambda *_: None
    ) -> Outcome:
        """Run the plan, and write nothing. Raises `RunError`."""
        return execute(self.plan, self.folder, self.device, inputs, progress=progress)

    def write(self, outcome: Outcome) -> None:
        """Write the output of a run. What cannot be written is kept as a tensor.

        Raises `RunError`, with the file in which the output is kept.
        """
        if self.out is None:
            return
        try:
            write_output(outcome.output, self.out, self.plan.program.outputs[0].rate)
        except RunError as error:
            kept = keep_output(outcome.output, self.out)
            if kept is None:
                raise RunError(f"{error}; nor could its tensor be kept: it is lost") from error
            raise RunError(f"{error}; its tensor is kept in {kept} (`numpy.load`)") from error


def open_build(
    folder: Path | str,
    *,
    device: str = "auto",
    policy: str = "hybrid",
    out: Path | str | None = None,
) -> OpenBuild:
    """Read and check a build folder; everything that can be wrong is found before any work.

    Raises:
        PlanError: no plan, a damaged one, or files that are missing or changed.
        RunError: no such device, or an `out` that the plan's output does not suit.
    """
    folder, out = Path(folder), None if out is None else Path(out)
    if out is not None:
        output_for(out)
    plan = read_plan(folder)
    check_files(plan, folder)
    chosen = make_device(device, plan, policy)
    if chosen.name in READING:
        check_facts(plan, folder)
    if chosen.name == "null":
        out = None
    if out is not None:
        check_output(plan, out)
    return OpenBuild(plan, folder, chosen, out)


def run_build(
    folder: Path | str,
    inputs: Mapping[str, object] | None = None,
    *,
    device: str = "auto",
    policy: str = "hybrid",
    out: Path | str | None = None,
    progress: Progress = lambda *_: None,
) -> Outcome:
    """Run the plan of a build folder.

    Args:
        inputs: values for the plan's inputs; those left out take their defaults.
        device: `reference` (any machine), `coreml` (a Mac), `null` (counts, computes nothing),
            or `auto`: Core ML on a Mac and the reference device elsewhere.
        policy: arithmetic of the reference device: hybrid, round, fp32.
        out: a file to write the output to; its ending is the format (`run/outputs.py`).
        progress: called with (stage, steps done, steps in all).

    Returns the output as a numpy array, and the record of the run. Raises `PlanError` and
    `RunError` as `open_build` does, and `RunError` for inputs that the plan does not have.
    """
    opened = open_build(folder, device=device, policy=policy, out=out)
    return opened.run(inputs or {}, progress)


def execute(
    plan: Plan,
    folder: Path,
    device: Device,
    inputs: Mapping[str, object],
    *,
    progress: Progress = lambda *_: None,
    observe: Observe | None = None,
) -> Outcome:
    """Run a plan of a build folder with its constants."""
    return run_plan(
        plan,
        folder,
        device,
        inputs,
        constants=load_constants(plan, folder),
        listeners=Listeners(progress, observe, partial(_loading, device, folder)),
    )


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
