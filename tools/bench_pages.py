"""Packages loaded whole against pages, side by side: a load-bound loop on the reference device.

    python tools/bench_pages.py                 # every byte from the disk, past the page cache
    python tools/bench_pages.py --blocks 3      # three blocks to a chunk: fewer, larger packages

The stack of `tools/overlap_model.py` under the online rule, in the same budget, with packages
loaded whole (page size 0) and in pages of several sizes; and pages alone, one after the other.
docs/overlap.md has the method and the figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from entracte.units import format_bytes, parse_bytes  # noqa: E402
from tools.bench_overlap import build, child  # noqa: E402
from tools.overlap_contestants import planned, run_compiled  # noqa: E402
from tools.overlap_setting import Setting  # noqa: E402

_MIB = 2**20


def main() -> None:
    """Build what is missing, run every page size in turns, print the tables."""
    options = _options()
    setting = _setting(options)
    if options.one is not None:
        print(json.dumps(_one(options.one, setting, options)))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    build(setting, options.memory, options.blocks)
    if options.rounds < 1:
        return
    names = [f"{kind}:{size}" for kind in ("run", "load") for size in options.pages.split(",")]
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            results[name].append(child(__file__, name))
            print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    _report(results, setting, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", default="/tmp/entracte-pages", help="where files are kept")
    parser.add_argument("--pages", default="0,4MiB,8MiB,16MiB,32MiB,64MiB", help="0: whole")
    parser.add_argument("--cache", choices=("cold", "warm"), default="cold")
    parser.add_argument("--blocks", type=int, default=1, help="to a chunk")
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--memory", default="470MiB", help="budget, as in target.memory")
    parser.add_argument("--kept", action="store_true", help="keep the chunks that the plan keeps")
    parser.add_argument("--rounds", type=int, default=5, help="0: only build what is missing")
    parser.add_argument("--json", help="write every figure of every round to this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def _setting(o: argparse.Namespace) -> Setting:
    size = f"{o.blocks}of{o.depth}x{o.width}x{o.tokens}x{o.steps}-{o.memory}"
    return Setting(
        folder=str(Path(o.folder) / size),
        depth=o.depth,
        width=o.width,
        heads=20,
        tokens=o.tokens,
        steps=o.steps,
        half=False,
        cold=o.cache == "cold",
        threads=1,
    )


# ---------------------------------------------------------------- one run


def _one(name: str, setting: Setting, options: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    kind, _, size = name.partition(":")
    plan = _paged(setting, parse_bytes(size, "--pages"), options.kept)
    if kind == "load":
        return _load_alone(plan, setting)
    figures = run_compiled(setting, plan)
    output = figures.pop("output")
    # Enough to say whether all are the same.
    return figures | {"output": hashlib.sha256(output.tobytes()).hexdigest()}


def _paged(setting: Setting, page_bytes: int, kept: bool) -> Any:
    """The built plan under the online rule, with pages of this size."""
    plan = planned(setting, "online")
    schedule = plan.schedule if kept else replace(plan.schedule, resident=(), kept=())
    target = replace(plan.target, page_bytes=page_bytes)
    return replace(plan, schedule=schedule, target=target)


def _load_alone(plan: Any, setting: Setting) -> dict[str, Any]:
    """Every page of every package once, opening and preparing included; nothing computed."""
    from entracte.clock.drivers import make_driver
    from entracte.devices.reference import ReferenceDevice
    from entracte.program.workload import Workload

    device = ReferenceDevice(direct=setting.cold)
    table = make_driver(Workload.of(plan), plan.schedule).table
    seconds, loaded = [], 0
    for _ in range(2):  # The first time round reads programs and prepares functions.
        seconds, loaded = [], 0
        for package in plan.packages:
            sizes = [table.units[u].size_bytes for u in table.units_of[package.chunk]]
            loaded += sum(sizes)
            seconds += _load_one(device, package, setting.build, sizes, plan.target.page_bytes > 0)
    return {"page_s": statistics.median(seconds), "wall_s": sum(seconds), "read_bytes": loaded}


def _load_one(
    device: Any, package: Any, folder: Path, sizes: list[int], paged: bool
) -> list[float]:  # fmt: skip
    """Seconds of each load of a package."""
    seconds, handle = [], device.open(package, folder, sizes) if paged else None
    for page in range(len(sizes)):
        begun = time.perf_counter()
        if handle is None:
            handle = device.load(package, folder)
        else:
            device.load_page(handle, page)
        seconds.append(time.perf_counter() - begun)
    device.free(handle)
    return seconds


# ---------------------------------------------------------------- reporting


def _report(
    results: dict[str, list[dict[str, Any]]], setting: Setting, options: argparse.Namespace
) -> None:
    middle = {
        name: {key: statistics.median(r[key] for r in rows) for key in rows[0] if key != "output"}
        for name, rows in results.items()
    }
    total = setting.depth * setting.block_bytes
    print(
        f"\n{setting.depth} blocks of width {setting.width}, {setting.tokens} tokens, "
        f"{options.blocks} to a chunk: {format_bytes(total)} of fp32 weights, "
        f"{options.memory} of memory; {setting.steps} steps; page cache {options.cache}; "
        f"{'the plan keeps chunks' if options.kept else 'no chunks kept'}; medians of "
        f"{options.rounds} rounds (least to most)\n"
    )
    print(
        "| page | wall s | waiting s | read MiB | anon. MiB | time | bytes | a load alone ms "
        "| MiB/s |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    sizes = options.pages.split(",")
    base = middle[f"run:{sizes[0]}"]
    for size in sizes:
        row, load = middle[f"run:{size}"], middle[f"load:{size}"]
        walls = [r["wall_s"] for r in results[f"run:{size}"]]
        print(
            f"| {size if size != '0' else 'whole'} | {row['wall_s']:.2f} ({min(walls):.2f} to "
            f"{max(walls):.2f}) | {row['stall_s']:.2f} | {row['read_bytes'] / _MIB:.0f} | "
            f"{row['anonymous_bytes'] / _MIB:.0f} | {row['wall_s'] / base['wall_s']:.2f} | "
            f"{row['read_bytes'] / base['read_bytes']:.2f} | {load['page_s'] * 1e3:.2f} | "
            f"{load['read_bytes'] / load['wall_s'] / _MIB:.0f} |"
        )
    outputs = {r["output"] for n, rows in results.items() if n.startswith("run") for r in rows}
    print(f"\nresults: {'all the same bits' if len(outputs) == 1 else 'NOT all the same'}")
    print(f"settings: {json.dumps(asdict(setting))}")


if __name__ == "__main__":
    main()
