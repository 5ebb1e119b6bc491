"""The peers of `tools/bench_overlap.py`: libraries that leave a torch module's weights on the disk.

    accelerate      `disk_offload`, or `dispatch_model` with the first blocks kept
    transformers    `from_pretrained` with a device map: accelerate's hooks on the checkpoint itself
    diffusers       group offloading with `offload_to_disk_path`, by groups, blocks or leaves
    eager           the module all resident: the peers' computing alone

A name's end says in what the products are made where weights are fp16: nothing, in fp16; `+cast`,
weights are widened to fp32 as they are used; `+bf16`, weights are kept and used in bf16, which
rounds eight times more coarsely.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from entracte.memory import AnonymousPeak
from tools.overlap_setting import Setting, figures_of


def peer(name: str, setting: Setting) -> dict[str, Any]:
    """Run one by name; figures by name."""
    kind, _, detail = name.partition(":")
    detail, _, numbers = detail.partition("+")
    _warm_torch(setting, numbers)
    return _KINDS[kind](setting, detail, numbers)


def folder_of(name: str, setting: Setting) -> Path | None:
    """Where a peer writes copies of the weights in a run before the first; None: nowhere."""
    kind, _, detail = name.partition(":")
    if kind == "accelerate" and not detail.startswith("file"):
        return setting.root / "accelerate"
    return setting.root / f"diffusers-{detail}" if kind == "diffusers" else None


def _eager(setting: Setting, _detail: str, numbers: str) -> dict[str, Any]:
    def prepare() -> Any:
        model = _module(setting, numbers)
        _keep(model, setting.depth, _dtype(setting, numbers))
        return model

    return _loop(setting, numbers, [], 0, prepare)


# ---------------------------------------------------------------- accelerate, transformers


def _accelerate(setting: Setting, detail: str, numbers: str) -> dict[str, Any]:
    """Nothing: `disk_offload`. K: `dispatch_model` with that many blocks in memory. `file-K`: the
    same, but read from the checkpoint, which an offload index names."""
    from accelerate import disk_offload, dispatch_model
    from safetensors import safe_open

    kept = int(detail.removeprefix("file-") or 0)
    folder, whole = setting.root / "accelerate", not detail

    def index() -> dict[str, dict[str, str]]:
        dtype = str(_dtype(setting, numbers)).removeprefix("torch.")
        with safe_open(setting.checkpoint, framework="pt") as file:
            names = list(file.keys())
        return {
            name: {
                "safetensors_file": str(setting.checkpoint),
                "weight_name": name,
                "dtype": dtype,
            }
            for name in names
        }

    def prepare() -> Any:
        model = _module(setting, "")
        if whole:
            return disk_offload(model, str(folder), execution_device="cpu")
        _keep(model, kept, _dtype(setting, numbers))
        place = {p: "cpu" if k < kept else "disk" for k, p in enumerate(_paths(model))}
        rest = dict.fromkeys(_others(model), "cpu")
        given = {"offload_index": index()} if "file" in detail else {"offload_dir": str(folder)}
        return dispatch_model(model, place | rest, main_device="cpu", **given)

    from_file = [setting.checkpoint]
    files = from_file if "file" in detail else sorted(folder.glob("*.dat"))
    return _loop(setting, numbers, files, setting.depth - kept, prepare)


def _transformers(setting: Setting, detail: str, numbers: str) -> dict[str, Any]:
    """`from_pretrained` with the first K blocks in memory and the others on the disk."""
    from transformers import T5EncoderModel

    kept = int(detail or 0)

    def prepare() -> Any:
        model = _module(setting, "")
        place = {p: "cpu" if k < kept else "disk" for k, p in enumerate(_paths(model))}
        made = T5EncoderModel.from_pretrained(
            setting.checkpoint.parent,
            dtype=_dtype(setting, numbers),
            device_map=place | dict.fromkeys([*_others(model), "shared"], "cpu"),
            offload_folder=str(setting.root / "transformers"),
        ).eval()
        return lambda z: made(inputs_embeds=z, return_dict=False)[0]

    return _loop(setting, numbers, [setting.checkpoint], setting.depth - kept, prepare)


# ---------------------------------------------------------------- diffusers


def _diffusers(setting: Setting, detail: str, numbers: str) -> dict[str, Any]:
    """`groups-N`: groups of N blocks; `keep-K`: single blocks, K in memory; `leaf`: single layers;
    `thread-K`: single blocks, K in memory, the next read by a thread (`overlap_thread.py`)."""
    how, _, number = detail.partition("-")
    kept = int(number) if how in ("keep", "thread") else 0
    folder = setting.root / f"diffusers-{detail}{'+' * bool(numbers)}{numbers}"

    def prepare() -> Any:
        model = _module(setting, numbers)
        _keep(model, kept)
        if numbers == "cast":
            _widen(model, setting)
        _OFFLOADS[how](model, folder, int(number or 0))
        return model

    def files() -> list[Path]:
        return sorted(folder.rglob("*.safetensors"))

    return _loop(setting, numbers, files, setting.depth - kept, prepare)


def _by_group(model: Any, folder: Path, group: int) -> None:
    from tools.overlap_model import trunk

    _offload(trunk(model), folder, offload_type="block_level", num_blocks_per_group=group)


def _by_block(model: Any, folder: Path, kept: int) -> None:
    """One folder each: the files are named by the name inside the module."""
    from tools.overlap_model import blocks_of

    for index, block in list(enumerate(blocks_of(model)))[kept:]:
        place = folder / str(index)
        _offload(block, place, offload_type="block_level", num_blocks_per_group=1)


def _by_leaf(model: Any, folder: Path, _number: int) -> None:
    _offload(model, folder, offload_type="leaf_level")


def _by_thread(model: Any, folder: Path, kept: int) -> None:
    from tools.overlap_model import list_of, trunk
    from tools.overlap_thread import offload_ahead

    offload_ahead(trunk(model), list_of(model), folder, kept)


def _offload(module: Any, folder: Path, **how: Any) -> None:
    from diffusers.hooks import apply_group_offloading

    apply_group_offloading(
        module,
        onload_device="cpu",
        offload_device="cpu",
        offload_to_disk_path=str(folder),
        **how,
    )


_OFFLOADS: dict[str, Callable[[Any, Path, int], None]] = {
    "groups": _by_group,
    "keep": _by_block,
    "leaf": _by_leaf,
    "thread": _by_thread,
}


def _widen(model: Any, setting: Setting) -> None:
    """diffusers' layerwise casting: fp16 weights are widened for each layer's call.

    Norms are kept in fp32, and inputs of products are made fp32: it widens weights only. (T5 itself
    rounds the input of one product to its weight's type, which is fp16 outside of that call.)
    """
    import torch
    from diffusers.hooks import apply_layerwise_casting

    for module in model.modules():
        if "norm" in type(module).__name__.lower():
            module.float()
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, given: (given[0].float(),))
    if setting.half:
        apply_layerwise_casting(model, torch.float16, torch.float32, skip_modules_pattern=("norm",))


# ---------------------------------------------------------------- the module and its loop


def _module(setting: Setting, numbers: str) -> Any:
    """The module on the checkpoint's mapped file: it holds no memory of its own yet."""
    import torch
    from safetensors.torch import load_file

    from tools.overlap_model import make_model

    model = make_model(setting.model, setting.depth, setting.width, setting.heads)
    given = load_file(setting.checkpoint)
    model.load_state_dict({name: given[name] for name in model.state_dict()}, assign=True)
    model = model.requires_grad_(False)
    return model.to(torch.bfloat16) if numbers == "bf16" else model


def _paths(model: Any) -> list[str]:
    """Names of the blocks, as a device map wants them."""
    from tools.overlap_model import blocks_of, list_of, trunk

    prefix = "" if trunk(model) is model else "encoder."
    return [f"{prefix}{list_of(model)}.{k}" for k in range(len(blocks_of(model)))]


def _others(model: Any) -> Iterator[str]:
    """Names of what lies beside the blocks: norms, T5's two rows of a table."""
    blocks = tuple(f"{p}." for p in _paths(model))
    names = (n for n in model.state_dict() if not n.startswith(blocks))
    yield from dict.fromkeys(n.rpartition(".")[0] for n in names)


def _keep(model: Any, kept: int, dtype: Any = None) -> None:
    """Copy the first blocks and what lies beside the blocks into memory."""
    for path in [*_paths(model)[:kept], *_others(model)]:
        for parameter in model.get_submodule(path).parameters():
            parameter.data = parameter.data.to(dtype or parameter.dtype, copy=True)


def _dtype(setting: Setting, numbers: str) -> Any:
    """What products are made in, and so what inputs are."""
    import torch

    if numbers == "bf16":
        return torch.bfloat16
    return torch.float16 if setting.half and numbers != "cast" else torch.float32


def _warm_torch(setting: Setting, numbers: str) -> None:
    import torch

    from tools.overlap_model import Block

    dtype = _dtype(setting, numbers)
    with torch.no_grad():
        block = Block(setting.width, max(setting.width // 64, 1)).to(dtype).eval()
        block(torch.ones(1, setting.tokens, setting.width, dtype=dtype))


def _loop(
    setting: Setting,
    numbers: str,
    files: list[Path] | Callable[[], list[Path]],
    read_blocks: int,
    prepare: Callable[[], Any],
) -> dict[str, Any]:
    """The loop on a torch module; cold: its files leave the page cache before every step."""
    import torch

    from entracte.declare.host_ops import random_normal

    z = torch.from_numpy(random_normal(0, (1, setting.tokens, setting.width)))
    dtype, wall, cpu = _dtype(setting, numbers), 0.0, 0.0
    with AnonymousPeak() as memory, torch.no_grad():
        model = prepare()
        paths = files() if callable(files) else files
        # What preparing took for a while is not the run's; what it keeps is.
        memory.restart()
        for _ in range(setting.steps):
            if setting.cold:
                forget(paths)
            begun, begun_cpu = time.perf_counter(), time.process_time()
            z = z - 0.25 * model(z.to(dtype)).float()
            wall += time.perf_counter() - begun
            cpu += time.process_time() - begun_cpu
    read = setting.steps * read_blocks * setting.block_bytes
    return figures_of(memory, wall, cpu, read, z.numpy())


def forget(files: list[Path]) -> None:
    """Ask the system to drop these files' pages from its cache (not of pages in use)."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


_KINDS: dict[str, Callable[[Setting, str, str], dict[str, Any]]] = {
    "eager": _eager,
    "accelerate": _accelerate,
    "transformers": _transformers,
    "diffusers": _diffusers,
}
