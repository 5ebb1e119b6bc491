"""diffusers' group offloading with a stream, on a CPU: the stream is a thread.

diffusers 0.42.1 refuses `use_stream` where weights are computed with on a CPU ("Using streams for
data transfer requires an onload device whose backend implements streams"), and with it goes all of
`record_stream` and `low_cpu_mem_usage`, which say how a stream copies. Its hooks know nothing of
that: with something in the stream's place that reads in the background they load ahead, as on an
accelerator. It is more than diffusers has there: it reads the file and pins the memory in the
computing thread, and only the copy to the device runs ahead.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from diffusers.hooks import group_offloading
from diffusers.hooks.group_offloading import GroupOffloadingConfig, GroupOffloadingType, ModuleGroup
from torch import nn


class Thread:
    """In a stream's place: what is submitted runs in turn; `synchronize` waits for it."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def submit(self, work: Any) -> Future[None]:
        self._last = self._worker.submit(work)
        return self._last

    def synchronize(self) -> None:
        if self._last is not None:
            self._last.result()


class Ahead(ModuleGroup):
    """A group that the thread reads: at once where nobody asked for it before, else ahead."""

    reading: Future[None] | None = None

    def onload_(self) -> None:
        if self.stream is None:
            super().onload_()
            return
        begun = self.reading is not None
        if self.reading is None:
            self.reading = self.stream.submit(self._read)
        if begun or self.onload_self:
            self.reading.result()

    def offload_(self) -> None:
        self.reading = None
        super().offload_()

    def _read(self) -> None:
        """As diffusers reads for a stream: map the file, copy each tensor into memory."""
        from safetensors.torch import load_file

        loaded = load_file(self.safetensors_file_path)
        for key, tensor in self.key_to_tensor.items():
            tensor.data = loaded.pop(key).clone()


class Joined(nn.ModuleList):
    """A list of blocks that yields others before its own, which it does not hold as modules."""

    def __init__(self, own: list[nn.Module], before: tuple[nn.Module, ...] = ()) -> None:
        super().__init__(own)
        self.__dict__["before"] = before

    def __iter__(self) -> Any:
        return iter([*self.__dict__["before"], *self._modules.values()])


def offload_ahead(trunk: nn.Module, name: str, folder: Path, kept: int) -> None:
    """Offload the blocks of `trunk`, a list by this name, but the first `kept`; one is read while
    another is called, from the second forward on: in the first the hooks learn the order."""
    blocks = list(getattr(trunk, name))
    setattr(trunk, name, Joined(blocks[kept:], tuple(blocks[:kept])))
    config = GroupOffloadingConfig(
        onload_device=torch.device("cpu"),
        offload_device=torch.device("cpu"),
        offload_type=GroupOffloadingType.BLOCK_LEVEL,
        non_blocking=True,
        # Without it diffusers waits for the accelerator's own stream, which a CPU has not.
        record_stream=True,
        low_cpu_mem_usage=False,
        num_blocks_per_group=1,
        offload_to_disk_path=str(folder),
        stream=Thread(),  # type: ignore[arg-type]
    )
    plain, group_offloading.ModuleGroup = group_offloading.ModuleGroup, Ahead  # type: ignore[misc]
    try:
        group_offloading._apply_group_offloading(trunk, config)
    finally:
        group_offloading.ModuleGroup = plain  # type: ignore[misc]
