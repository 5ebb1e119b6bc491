"""What weights as inputs cost on the reference device: calls and loads beside the usual packages.

    python -m tools.bench_shared                       # the demo
    python -m tools.bench_shared pipeline=dit_xl_2     # of full size, numbers of a seed

Decides as `compile partition=shared` does. Of each graph the first chunk is made twice, as it is
and with its weights in its package; both are loaded and called in turn with the same inputs, and
medians of processor seconds over the rounds are printed, as rows of docs/shared-graphs.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from entracte.compile.emitted import _emit, workshop
from entracte.compile.ready import ready
from entracte.decide.decide import Decision
from entracte.declare.compose import compose
from entracte.devices.reference import ReferenceDevice
from entracte.ir import Chunk, DType, Package, Partition, Port
from entracte.progress.reporter import Quiet
from entracte.store.cache import Cache, cache_folder
from entracte.store.declared import read_job
from entracte.units import format_bytes

_LEAST_S = 0.05
"""Calls of a round: at least so many seconds of them."""


@dataclass(frozen=True)
class Side:
    """One way of a chunk, on its device: processor seconds of each round."""

    device: ReferenceDevice
    package: Package
    folder: Path
    loads_s: list[float]
    calls_s: list[float]

    def once(self, inputs: dict[str, Any], calls: int) -> dict[str, Any]:
        """Load, call, free. Returns what came out."""
        begun = time.process_time()
        handle = self.device.load(self.package, self.folder)
        loaded = time.process_time()
        for _ in range(calls):
            made = self.device.call(handle, "main", inputs)
        called = time.process_time()
        self.device.free(handle)
        self.loads_s.append(loaded - begun)
        self.calls_s.append((called - loaded) / calls)
        return made


def main() -> None:
    """Make, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    words = ["target=host", "partition=shared", "dry_run=true", *given.overrides]
    job = read_job(compose(words))
    cache = Cache(cache_folder(job.cache))
    found = ready(job, cache, Quiet())
    chunks = _firsts(found.decision)
    with tempfile.TemporaryDirectory() as scratch:

        def side(name: str, how: Callable[[Chunk], Chunk]) -> list[Side]:
            folder = Path(scratch, name)
            folder.mkdir()
            decision = replace(found.decision, partition=Partition(tuple(map(how, chunks))))
            shop = workshop(replace(found.job, verify=False), folder, cache, Quiet())
            bundle = _emit(found.job, found.traced, found.source, decision, shop)
            device = ReferenceDevice()
            return [Side(device, p, folder, [], []) for p in bundle.packages]

        usual = side("usual", lambda c: replace(c, shares=""))
        shared = side("shared", lambda c: c)
        print("| chunk | weights | call, usual | shared | ratio | load, usual | shared |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for chunk, pair in zip(chunks, zip(usual, shared, strict=True), strict=True):
            if pair[1].package.arrays is None:
                continue  # it kept its weights after all, as the compile has told
            _timed(pair, chunk.inputs, given.rounds)
            print(_row(chunk, *pair), flush=True)


def _firsts(decision: Decision) -> list[Chunk]:
    """Of each graph the first chunk."""
    firsts: dict[str, Chunk] = {}
    for chunk in decision.partition.chunks:
        if chunk.shares:
            firsts.setdefault(chunk.shares, chunk)
    return list(firsts.values())


def _timed(pair: tuple[Side, Side], ports: tuple[Port, ...], rounds: int) -> None:
    """Both in turn, after a warm-up that also says how many calls make a round."""
    import numpy as np

    draws = np.random.default_rng(0)
    inputs = {p.name: _drawn(draws, p) for p in ports}
    first, second = (side.once(inputs, 2) for side in pair)
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=0.05, atol=0.05)
    calls = 1 + int(_LEAST_S / max(1e-6, pair[0].calls_s[0]))
    for side in pair:
        side.loads_s.clear()
        side.calls_s.clear()
    for _ in range(rounds):
        for side in pair:
            side.once(inputs, calls)


def _drawn(draws: Any, port: Port) -> Any:
    if port.dtype is DType.INT32:
        return draws.integers(0, 2, port.shape, dtype="int32")
    kind = "float16" if port.dtype is DType.FP16 else "float32"
    return draws.normal(size=port.shape).astype(kind)


def _row(chunk: Chunk, usual: Side, shared: Side) -> str:
    (call, other), (load, its) = (
        [1e3 * statistics.median(getattr(s, name)) for s in (usual, shared)]
        for name in ("calls_s", "loads_s")
    )
    return (
        f"| `{chunk.id}` | {format_bytes(chunk.weight_bytes)} | {call:.2f} ms | {other:.2f} ms | "
        f"{other / call:.2f} | {load:.2f} ms | {its:.2f} ms |"
    )


if __name__ == "__main__":
    main()
