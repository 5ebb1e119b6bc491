"""A plan, a folder and a device name -> a run: what `plan run`, `plan verify` and tools share."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entracte.devices import Device
from entracte.errors import RunError
from entracte.ir import Plan
from entracte.plan.file import CONSTANTS
from entracte.run.runner import Observe, Outcome, Progress, run_plan

DEVICES = ("auto", "reference", "coreml", "null")


def make_device(name: str, plan: Plan, policy: str = "hybrid") -> Device:
    """A device by name; `auto` is Core ML on macOS and the reference device elsewhere."""
    if name == "auto":
        name = "coreml" if platform.system() == "Darwin" else "reference"
    if name == "reference":
        from entracte.devices.reference import ReferenceDevice

        return ReferenceDevice(policy)
    if name == "coreml":
        from entracte.devices.coreml import COMPUTE_UNITS, CoreMLDevice

        unit = plan.target.compute_unit
        return CoreMLDevice(unit if unit in COMPUTE_UNITS else "all")
    if name == "null":
        from entracte.devices.null import NullDevice

        return NullDevice(plan.target.budget_bytes)
    raise RunError(f"--device {name}: not one of {', '.join(DEVICES)}")


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
        progress=progress,
        observe=observe,
    )


def load_constants(plan: Plan, folder: Path) -> dict[str, Any]:
    """The constant tensors, with the shapes the plan declares. Raises `RunError`."""
    if not plan.program.constants:
        return {}
    from safetensors.numpy import load_file

    arrays = load_file(folder / CONSTANTS)
    for port in plan.program.constants:
        if port.name not in arrays or tuple(arrays[port.name].shape) != port.shape:
            raise RunError(f"{folder}: {CONSTANTS} lacks {port.name} of {port.shape}")
    return {p.name: arrays[p.name] for p in plan.program.constants}
