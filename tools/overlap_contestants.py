"""What `tools/bench_overlap.py` compares, each run in a process of its own.

    compiled     our plan on the reference device, under one policy
    accelerate   disk offload of the torch module, all of it or all but the first blocks
    diffusers    group offloading to disk, likewise
    floors       computing alone (everything resident), loading alone (nothing computed)

Every one warms up on one block, notes its memory, and then does the same loop from the same noise.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from entracte.memory import AnonymousPeak


@dataclass(frozen=True)
class Setting:
    """One bench: sizes of the model, the loop, and where its files are."""

    folder: str
    depth: int
    width: int
    heads: int
    tokens: int
    steps: int
    half: bool
    cold: bool
    threads: int

    @property
    def root(self) -> Path:
        return Path(self.folder)

    @property
    def build(self) -> Path:
        return self.root / "build"

    @property
    def checkpoint(self) -> Path:
        return self.root / "weights" / "stack.safetensors"


def run_contestant(name: str, setting: Setting) -> dict[str, Any]:
    """Run one by name; figures by name. `output` is the final z as a list of floats."""
    import torch

    torch.set_num_threads(setting.threads)
    kind, _, detail = name.partition(":")
    return _KINDS[kind](setting, detail)


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
    return _figures(
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

    from entracte.ir import Bundle, Policy
    from entracte.plan.file import Decided, make_plan, read_plan
    from entracte.program.workload import Workload
    from entracte.schedule.choose import make_schedule
    from entracte.verify.source import job_of

    plan = read_plan(setting.build)
    if policy == plan.schedule.policy.name:
        return plan
    chosen = Policy(**OmegaConf.to_container(OmegaConf.load(policies()[policy])))  # type: ignore
    facts = {f.id: f for f in plan.facts}
    return make_plan(
        job_of(plan).pipeline,
        plan.target,
        plan.settings,
        Decided(
            program=plan.program,
            chunks=plan.chunks,
            facts=plan.facts,
            schedule=make_schedule(Workload(plan.program, facts, plan.target.budget_bytes), chosen),
        ),
        bundle=Bundle(plan.packages),
        files=plan.files,
    )


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
    return _figures(
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
    return _figures(
        memory, wall, time.process_time() - cpu, sum(p.weight_bytes for p in order), None
    )  # fmt: skip


# ---------------------------------------------------------------- peers


def _eager(setting: Setting, _detail: str) -> dict[str, Any]:
    """The torch module all resident: the peers' computing alone."""
    model = _module(setting)
    _warm_torch(setting)
    return _loop(model, setting, [], lambda: _keep(model, setting.depth))


def _accelerate(setting: Setting, keep: str) -> dict[str, Any]:
    """`disk_offload`; with `keep`, `dispatch_model` with that many blocks in memory."""
    from accelerate import disk_offload, dispatch_model

    folder = setting.root / "accelerate"
    model, kept = _module(setting), int(keep or 0)
    _warm_torch(setting)

    def prepare() -> None:
        if not kept:
            disk_offload(model, str(folder), execution_device="cpu")
            return
        _keep(model, kept)
        place = {f"blocks.{i}": "cpu" if i < kept else "disk" for i in range(setting.depth)}
        dispatch_model(model, place | {"norm": "cpu"}, main_device="cpu", offload_dir=str(folder))

    resident = {f"blocks.{i}" for i in range(kept)} | ({"norm"} if kept else set())
    files = [f for f in sorted(folder.glob("*.dat")) if f.name.rsplit(".", 3)[0] not in resident]
    return _loop(model, setting, files, prepare)


def _diffusers(setting: Setting, detail: str) -> dict[str, Any]:
    """Groups of `group` blocks (`groups-N`), or single blocks with `keep` in memory (`keep-N`)."""
    from diffusers.hooks import apply_group_offloading

    how, _, number = detail.partition("-")
    folder, kept = setting.root / f"diffusers-{detail}", int(number) if how == "keep" else 0
    model = _module(setting)
    _warm_torch(setting)

    def offload(module: Any, place: Path, group: int) -> None:
        apply_group_offloading(
            module,
            onload_device="cpu",
            offload_device="cpu",
            offload_type="block_level",
            num_blocks_per_group=group,
            offload_to_disk_path=str(place),
        )

    def prepare() -> None:
        _keep(model, kept)
        if how == "groups":
            offload(model, folder, int(number))
            return
        for index in range(kept, setting.depth):
            # One folder each: the files are named by the name inside the module.
            offload(model.blocks[index], folder / str(index), 1)

    return _loop(model, setting, sorted(folder.rglob("*.safetensors")), prepare)


def _module(setting: Setting) -> Any:
    """The module on the checkpoint's mapped file: it holds no memory of its own yet."""
    from safetensors.torch import load_file

    from tools.overlap_model import make_stack

    model = make_stack(setting.depth, setting.width, setting.heads)
    model.load_state_dict(load_file(setting.checkpoint), assign=True)
    return model.requires_grad_(False)


def _keep(model: Any, blocks: int) -> None:
    """Copy the first blocks and the norm into memory."""
    for module in [*list(model.blocks)[:blocks], model.norm]:
        for parameter in module.parameters():
            parameter.data = parameter.data.clone()


def _warm_torch(setting: Setting) -> None:
    import torch

    from tools.overlap_model import Block

    dtype = torch.float16 if setting.half else torch.float32
    with torch.no_grad():
        block = Block(setting.width, setting.heads).to(dtype).eval()
        block(torch.ones(1, setting.tokens, setting.width, dtype=dtype))


def _loop(
    model: Any, setting: Setting, files: list[Path], prepare: Callable[[], None]
) -> dict[str, Any]:
    """The loop on a torch module; cold: its files leave the page cache before every step."""
    import torch

    from entracte.declare.host_ops import random_normal

    z = torch.from_numpy(random_normal(0, (1, setting.tokens, setting.width)))
    dtype = torch.float16 if setting.half else torch.float32
    wall = cpu = 0.0
    with AnonymousPeak() as memory, torch.no_grad():
        prepare()
        # What preparing took for a while is not the run's; what it keeps is.
        memory.restart()
        for _ in range(setting.steps):
            if setting.cold:
                forget(files)
            begun, begun_cpu = time.perf_counter(), time.process_time()
            z = z - 0.25 * model(z.to(dtype)).float()
            wall += time.perf_counter() - begun
            cpu += time.process_time() - begun_cpu
    read = setting.steps * sum(f.stat().st_size for f in files)
    return _figures(memory, wall, cpu, read, z.numpy())


def forget(files: list[Path]) -> None:
    """Ask the system to drop these files' pages from its cache (not of pages in use)."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _figures(
    memory: AnonymousPeak, wall_s: float, cpu_s: float, read_bytes: int, output: Any
) -> dict[str, Any]:
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "read_bytes": read_bytes,
        "anonymous_bytes": memory.peak_bytes,
        "resident_bytes": memory.resident_peak_bytes,
        "output": None if output is None else np.asarray(output, np.float32).ravel(),
    }


_KINDS: dict[str, Callable[[Setting, str], dict[str, Any]]] = {
    "compiled": _compiled,
    "computing": _computing,
    "loading": _loading,
    "eager": _eager,
    "accelerate": _accelerate,
    "diffusers": _diffusers,
}
