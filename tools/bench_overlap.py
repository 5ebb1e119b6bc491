"""Loading behind computing: our plans against accelerate's and diffusers' offloading to disk.

    python tools/bench_overlap.py                  # fp32, cold: every byte comes from the disk
    python tools/bench_overlap.py --cache warm     # files stay in the page cache
    python tools/bench_overlap.py --precision fp16

A stack of transformer blocks, four times larger than its memory budget, runs a few steps of a loop.
Everything is built once and kept in --folder. docs/overlap.md has the method and the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.overlap_contestants import Setting, policies, run_contestant  # noqa: E402

_ENTRY_POINTS = """[entracte.graphs]
bench.stack = tools.overlap_model:stack
bench.step = tools.overlap_model:step
"""
_PIPELINE = """name: overlap
title: A stack of {depth} transformer blocks of width {width}, {tokens} tokens
weights: {weights}
output: sample.z
precision: {precision}
inputs:
  seed: {{kind: seed, default: 0}}
stages:
  noise:
    host: random_normal
    params: {{shape: [1, {tokens}, {width}]}}
    inputs: {{seed: seed}}
  stack:
    graph: bench.stack
    params: {{depth: {depth}, width: {width}, heads: {heads}, tokens: {tokens}}}
    inputs: {{z: sample.z}}
  step:
    graph: bench.step
    params: {{width: {width}, tokens: {tokens}}}
    inputs: {{z: sample.z, velocity: stack.velocity}}
    precision: fp32
loops:
  sample:
    count: {steps}
    stages: [stack, step]
    state:
      z: [noise.noise, step.z_next]
"""
_MIB = 2**20


def main() -> None:
    """Build what is missing, run everybody in turns, print the tables."""
    options = _options()
    setting = _setting(options)
    if options.one is not None:
        _one(options.one, setting)
        return
    os.environ["OMP_NUM_THREADS"] = str(setting.threads)
    build(setting, options.memory)
    if options.rounds < 1:
        return
    names = _contestants(setting, options)
    results = _rounds(names, setting, options.rounds)
    if options.json:
        results = _added(results, Path(options.json))
    _report(results, setting, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", default="/tmp/entracte-overlap", help="where files are kept")
    parser.add_argument("--precision", choices=("fp32", "fp16"), default="fp32")
    parser.add_argument("--cache", choices=("cold", "warm"), default="cold")
    parser.add_argument("--depth", type=int, default=30)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--memory", help="budget, as in target.memory; default: a quarter of it")
    parser.add_argument("--rounds", type=int, default=2, help="0: only build what is missing")
    parser.add_argument("--threads", type=int, default=1, help="torch's computing threads")
    parser.add_argument("--keep", type=int, help="blocks that the peers keep in memory")
    parser.add_argument("--json", help="add every figure of every round to this file's")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def _setting(options: argparse.Namespace) -> Setting:
    size = f"{options.precision}-{options.depth}x{options.width}x{options.tokens}x{options.steps}"
    return Setting(
        folder=str(Path(options.folder) / size),
        depth=options.depth,
        width=options.width,
        heads=options.heads,
        tokens=options.tokens,
        steps=options.steps,
        half=options.precision == "fp16",
        cold=options.cache == "cold",
        threads=options.threads,
    )


# ---------------------------------------------------------------- building


def block_bytes(setting: Setting) -> int:
    """Weights of one block."""
    width = setting.width
    return (12 * width**2 + 13 * width) * (2 if setting.half else 4)


def build(setting: Setting, memory: str | None, blocks: int = 1) -> None:
    """Checkpoint, packages and plan, unless they are there; so many blocks to a chunk."""
    from entracte.errors import PlanError
    from entracte.plan.file import read_plan
    from tools.overlap_model import write_checkpoint

    setting.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if not setting.checkpoint.is_file():
        aside = setting.checkpoint.with_suffix(".partial")
        write_checkpoint(str(aside), setting.depth, setting.width, setting.heads, setting.half)
        aside.rename(setting.checkpoint)
    budget = memory or f"{setting.depth * block_bytes(setting) // 4 // _MIB + 40}MiB"
    try:
        if (setting.build / "budget").read_text() == budget:
            read_plan(setting.build)
            return
    except (OSError, PlanError):
        pass
    _compile(setting, budget, blocks)
    (setting.build / "budget").write_text(budget)


def _compile(setting: Setting, budget: str, blocks: int) -> None:
    """Through the public doors: an entry point for the graphs, --config-dir for the pipeline."""
    site, conf = setting.root / "site", setting.root / "conf"
    info = site / "entracte_bench-0.dist-info"
    for folder in (info, conf / "pipeline"):
        folder.mkdir(parents=True, exist_ok=True)
    (info / "entry_points.txt").write_text(_ENTRY_POINTS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: entracte-bench\nVersion: 0\n")
    sizes = {k: v for k, v in asdict(setting).items() if k not in ("folder", "half")}
    text = _PIPELINE.format(
        **sizes, weights=setting.checkpoint.parent, precision="fp16" if setting.half else "fp32"
    )
    (conf / "pipeline" / "overlap.yaml").write_text(text)
    command = [
        sys.executable, "-m", "entracte.cli.compile", "--config-dir", str(conf),
        "pipeline=overlap", "target=host", f"target.memory={budget}",
        # By default one block to a chunk: what the peers move at a time.
        f"partition.chunk_bytes={blocks * block_bytes(setting) // 1024 + 1}KiB",
        f"out={setting.build}",
    ]  # fmt: skip
    path = os.pathsep.join([str(ROOT), str(site)])
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": path})


# ---------------------------------------------------------------- running


def _contestants(setting: Setting, options: argparse.Namespace) -> list[str]:
    """Ours under every policy, peers all on disk and with blocks kept, and the floors."""
    kept = options.keep if options.keep is not None else _kept(setting)
    peers = [
        "accelerate:",
        # Besides a leaf's weights it holds copies of them for a while: some 200 MiB measured.
        f"accelerate:{max(1, kept - 2)}",
        f"diffusers:groups-{kept + 1}",
        f"diffusers:keep-{kept}",
    ]
    floors = ["computing:", "eager:", "loading:double_buffer"]
    return [*(f"compiled:{name}" for name in policies()), *peers, *floors]


def _kept(setting: Setting) -> int:
    """Blocks that fill a peer's memory up to our claim (and not below it)."""
    from entracte.plan.file import read_plan

    claim = read_plan(setting.build).forecast.peak_bytes
    return max(1, round(claim / block_bytes(setting)) - 1)


def _rounds(
    names: list[str], setting: Setting, rounds: int
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """Everybody once per round, in turns; peers' files are written by a run before the first."""
    for name in names:
        folder = setting.root / name.replace(":", "-").rstrip("-")
        if name.startswith("diffusers") and not folder.exists():
            _child(name)
        if name == "accelerate:" and not folder.exists():
            _child(name)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            results[name].append(_child(name))
            wall = results[name][-1]["wall_s"]
            print(f"round {number + 1}: {name:28} {wall:7.2f} s", file=sys.stderr, flush=True)
    return results


def _child(name: str) -> dict[str, Any]:
    begun = time.perf_counter()
    figures = child(__file__, name, _malloc(name))
    return figures | {"process_s": time.perf_counter() - begun}


def child(script: str, name: str, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """One run in a process of its own, so that each begins with the same memory."""
    command = [sys.executable, script, *sys.argv[1:], "--one", name]
    environment = os.environ | (variables or {})
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"{name}: ended with {done.returncode}; its message is above")
    return json.loads(done.stdout.splitlines()[-1])


def _malloc(name: str) -> dict[str, str]:
    """accelerate's weights live in the C library's heap, which would keep them when freed.

    Measured without this: 1.3 GiB instead of 0.2, at the same speed.
    """
    return {"MALLOC_MMAP_THRESHOLD_": str(_MIB)} if name.startswith("accelerate") else {}


def _one(name: str, setting: Setting) -> None:
    import numpy as np

    figures = run_contestant(name, setting)
    output = figures.pop("output")
    if output is not None:
        np.save(setting.root / f"{name.replace(':', '-')}.npy", output)
    print(json.dumps(figures))


# ---------------------------------------------------------------- reporting


def _report(
    results: dict[str, list[dict[str, Any]]], setting: Setting, options: argparse.Namespace
) -> None:
    middle = {name: _median(rows) for name, rows in results.items()}
    peers = [n for n in middle if n.startswith(("accelerate", "diffusers"))]
    best = min(peers, key=lambda n: middle[n]["wall_s"])
    size = setting.depth * block_bytes(setting) / _MIB
    rounds = len(results[best])
    print(
        f"\n{setting.depth} blocks of width {setting.width}, {setting.tokens} tokens, "
        f"{options.precision}: {size:.0f} MiB of weights; {setting.steps} steps; page cache "
        f"{options.cache}; {setting.threads} computing thread(s); medians of {rounds} round(s) "
        "(least to most)\n"
    )
    print(
        "| run | wall s | waiting s | CPU s | read MiB | anon. MiB | resident MiB | of best peer |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, row in middle.items():
        walls = [r["wall_s"] for r in results[name]]
        waiting = f"{row['stall_s']:.2f}" if "stall_s" in row else ""
        print(
            f"| {name} | {row['wall_s']:.2f} ({min(walls):.2f} to {max(walls):.2f}) | {waiting} | "
            f"{row['cpu_s']:.2f} | {row['read_bytes'] / _MIB:.0f} | "
            f"{row['anonymous_bytes'] / _MIB:.0f} | {row['resident_bytes'] / _MIB:.0f} | "
            f"{row['wall_s'] / middle[best]['wall_s']:.2f} |"
        )
    _footnotes(middle, setting)


def _added(results: dict[str, list[dict[str, Any]]], path: Path) -> dict[str, list[dict[str, Any]]]:
    """These rounds behind those of the file, which then holds both."""
    old = json.loads(path.read_text()) if path.is_file() else {}
    both = {name: old.get(name, []) + rows for name, rows in results.items()}
    aside = path.with_suffix(".partial")
    aside.write_text(json.dumps(both, indent=1) + "\n")
    aside.replace(path)
    return both


def _median(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def _footnotes(middle: dict[str, dict[str, float]], setting: Setting) -> None:
    loading = middle["loading:double_buffer"]
    print(
        f"\nreading alone: {loading['read_bytes'] / loading['wall_s'] / _MIB:.0f} MiB/s; lower "
        "bound of double_buffer, max(computing, loading): "
        f"{max(middle['computing:']['wall_s'], loading['wall_s']):.2f} s"
    )
    for name, row in middle.items():
        if "claim_bytes" in row:
            print(f"claim of {name}: {row['claim_bytes'] / _MIB:.1f} MiB, anonymous memory "
                  f"measured {row['anonymous_bytes'] / _MIB:.1f} MiB")  # fmt: skip
    _compare_outputs(setting, list(middle))


def _compare_outputs(setting: Setting, names: list[str]) -> None:
    """Everybody computed the same thing: relative L2 distance of the results from torch's."""
    import numpy as np

    def result(name: str) -> Any:
        return np.load(setting.root / f"{name.replace(':', '-')}.npy").astype(np.float64)

    wanted = result("eager:")
    apart = {
        name: np.linalg.norm(result(name) - wanted) / np.linalg.norm(wanted)
        for name in names
        if not name.startswith("loading")
    }
    worst = max(apart, key=lambda n: apart[n])
    print(f"results differ from torch's by at most {apart[worst]:.1e} (relative L2, {worst})")


if __name__ == "__main__":
    main()
