"""What `tools/bench_overlap.py` compares, each run in a process of its own.

    compiled     our plan on the reference device, under one policy
    floors       computing alone (everything resident), loading alone (nothing computed)
    peers        the torch module under accelerate, transformers, diffusers: `overlap_peers.py`

Every one warms up on one block, notes its memory, and then does the same loop from the same noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from entracte.memory import AnonymousPeak
from tools.overlap_peers import peer
from tools.overlap_setting import Setting, figures_of


def run_contestant(name: str, setting: Setting) -> dict[str, Any]:
    """Run one by name; figures by name. `output` is the final z, flat."""
    import torch

    torch.set_num_threads(setting.threads)
    kind, _, detail = name.partition(":")
    return _KINDS[kind](setting, detail) if kind in _KINDS else peer(name, setting)


# ---------------------------------------------------------------- ours


def _compiled(setting: Setting, policy: str) -> dict[str, Any]:
    return run_compiled(setting, planned(setting, policy))


def run_compiled(setting: Setting, plan: Any) -> dict[str, Any]:
    """A plan on the reference device, warmed up; figures by name."""
    from entracte.devices.reference import ReferenceDevice
    from entracte.run.execute import execute

    device = ReferenceDevice(direct=setting.cold)
    _warm_device(plan, setting, device)
    cpu = time.process_time()
    with AnonymousPeak() as memory:
        outcome = execute(plan, setting.build, device, {"seed": 0})
    run = outcome.run
    return figures_of(
        memory, run.wall_s, time.process_time() - cpu, run.loaded_bytes, outcome.output
    ) | {
        "stall_s": run.stall_s,
        "load_s": sum(c.load_s for c in run.chunks),
        "exec_s": sum(c.exec_s for c in run.chunks),
        "claim_bytes": plan.forecast.peak_bytes,
    }


def planned(setting: Setting, policy: str) -> Any:
    """The built plan with its loads placed by another policy: the packages are the same."""
    from omegaconf import OmegaConf

    from entracte.check.proof import check
    from entracte.ir import Policy
    from entracte.plan.file import read_plan
    from entracte.plan.forecast import forecast
    from entracte.program.workload import Workload
    from entracte.schedule.choose import make_schedule

    plan = read_plan(setting.build)
    if policy == plan.schedule.policy.name:
        return plan
    chosen = Policy(**OmegaConf.to_container(OmegaConf.load(policies()[policy])))  # type: ignore
    workload = Workload.on(plan.target, plan.program, plan.facts)
    schedule = make_schedule(workload, chosen)
    proof = check(plan.program, plan.facts, schedule, budget_bytes=workload.budget_bytes)
    return replace(plan, schedule=schedule, forecast=forecast(workload, schedule, proof))


def policies() -> dict[str, Path]:
    """Every policy there is, and its file."""
    folder = Path(__file__).resolve().parents[1] / "conf" / "policy"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _warm_device(plan: Any, setting: Setting, device: Any) -> None:
    """Every package parsed, every kind called once: what stays of that is no part of a run."""
    width = np.float16 if setting.half else np.float32
    for package in plan.packages:
        handle = device.load(package, setting.build)
        if package.chunk in (plan.packages[0].chunk, plan.packages[-1].chunk):
            device.call(handle, "main", {p.name: np.ones(p.shape, width) for p in package.inputs})
        device.free(handle)


def _computing(setting: Setting, _detail: str) -> dict[str, Any]:
    """Our packages all resident: the calls of the loop and nothing else."""
    from entracte.devices.reference import ReferenceDevice
    from entracte.run.execute import execute

    class Resident(ReferenceDevice):
        """Loads once and keeps; the loop's loads and frees do nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.kept: dict[str, Any] = {}

        def load(self, package: Any, folder: Path, function: str = "main") -> Any:
            if package.chunk not in self.kept:
                self.kept[package.chunk] = super().load(package, folder, function)
            return self.kept[package.chunk]

        def free(self, handle: Any) -> None:
            pass

    device = Resident()
    plan = planned(setting, "sequential")
    _warm_device(plan, setting, device)
    cpu = time.process_time()
    with AnonymousPeak() as memory:
        outcome = execute(plan, setting.build, device, {"seed": 0})
    return figures_of(
        memory, outcome.run.wall_s, time.process_time() - cpu, 0, outcome.output
    )  # fmt: skip


def _loading(setting: Setting, policy: str) -> dict[str, Any]:
    """The loads of a policy one after the other, each freed at once."""
    from entracte.devices.reference import ReferenceDevice
    from entracte.program.steps import unroll

    plan = planned(setting, policy)
    device = ReferenceDevice(direct=setting.cold)
    _warm_device(plan, setting, device)
    packages = {p.chunk: p for p in plan.packages}
    order = [packages[p.chunk] for p in unroll(plan.program, plan.schedule)]
    cpu = time.process_time()
    with AnonymousPeak() as memory:
        begun = time.perf_counter()
        for package in order:
            device.free(device.load(package, setting.build))
        wall = time.perf_counter() - begun
    return figures_of(
        memory, wall, time.process_time() - cpu, sum(p.weight_bytes for p in order), None
    )  # fmt: skip


_KINDS: dict[str, Callable[[Setting, str], dict[str, Any]]] = {
    "compiled": _compiled,
    "computing": _computing,
    "loading": _loading,
}
