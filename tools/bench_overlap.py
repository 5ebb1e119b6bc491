"""Loading behind computing: our plans against accelerate's and diffusers' offloading to disk.

    python tools/bench_overlap.py                  # fp32, cold: every byte comes from the disk
    python tools/bench_overlap.py --cache warm     # files stay in the page cache
    python tools/bench_overlap.py --precision fp16
    python tools/bench_overlap.py --model t5       # T5's encoder in a quarter of T5-XXL's width
    python tools/bench_overlap.py --model t5 --width 4096 --depth 5 --precision fp16 --remove

A stack of transformer blocks, or transformers' T5 encoder, two to four times larger than its memory
budget, runs a few steps of a loop. Everything is built once and kept in --folder, unless --remove
is given. Wants the extra `bench`. docs/overlap.md has the method and the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.overlap_contestants import policies, run_contestant  # noqa: E402
from tools.overlap_peers import folder_of  # noqa: E402
from tools.overlap_setting import Setting  # noqa: E402

_ENTRY_POINTS = """[entracte.graphs]
bench.stack = tools.overlap_model:stack
bench.t5 = tools.overlap_model:t5
bench.step = tools.overlap_model:step
"""
_PIPELINE = """name: overlap
title: "{model}: {depth} transformer blocks of width {width}, {tokens} tokens"
weights: {weights}
outputs: {{z: {{kind: tensor, value: sample.z}}}}
precision: {precision}
inputs:
  seed: {{kind: seed, default: 0}}
stages:
  noise:
    host: random_normal
    params: {{shape: [1, {tokens}, {width}]}}
    inputs: {{seed: seed}}
  stack:
    graph: bench.{model}
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
_LIBRARIES = ("torch", "accelerate", "diffusers", "transformers", "safetensors")
_SIZES = {
    "stack": {"depth": 30, "width": 1280, "tokens": 128, "steps": 3},
    "t5": {"depth": 24, "width": 1024, "tokens": 120, "steps": 2},
}
"""By default. 120 tokens are what PixArt gives T5-XXL."""


def main() -> None:
    """Build what is missing, run everybody in turns, print the tables."""
    options = _options()
    setting = _setting(options)
    if options.one is not None:
        _one(options.one, setting)
        return
    os.environ["OMP_NUM_THREADS"] = str(setting.threads)
    try:
        _bench(setting, options)
    finally:
        if options.remove:
            shutil.rmtree(setting.root, ignore_errors=True)


def _bench(setting: Setting, options: argparse.Namespace) -> None:
    build(setting, options.memory)
    if options.rounds < 1:
        return
    results = _rounds(_contestants(setting, options), setting, options.rounds)
    if options.json:
        results = _added(results, Path(options.json))
    _report(results, setting, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", default="/tmp/entracte-overlap", help="where files are kept")
    parser.add_argument("--precision", choices=("fp32", "fp16"), default="fp32")
    parser.add_argument("--cache", choices=("cold", "warm"), default="cold")
    parser.add_argument("--model", choices=tuple(_SIZES), default="stack")
    parser.add_argument("--depth", type=int, help="blocks: 30, T5 24")
    parser.add_argument("--width", type=int, help="1280, T5 1024; T5-XXL's is 4096")
    parser.add_argument("--tokens", type=int, help="128, T5 120")
    parser.add_argument("--steps", type=int, help="3, T5 2: a prompt and a negative one")
    parser.add_argument("--memory", help="budget, as in target.memory; default: a quarter of it")
    parser.add_argument("--rounds", type=int, default=2, help="0: only build what is missing")
    parser.add_argument("--threads", type=int, default=1, help="torch's computing threads")
    parser.add_argument("--keep", type=int, help="blocks that the peers keep in memory")
    parser.add_argument("--json", help="add every figure of every round to this file's")
    parser.add_argument("--only", default="", help="beginnings of names, with commas between")
    parser.add_argument("--remove", action="store_true", help="remove what was built, at the end")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    for name, size in _SIZES[given.model].items():
        setattr(given, name, getattr(given, name) or size)
    return given


def _setting(options: argparse.Namespace) -> Setting:
    size = f"{options.precision}-{options.depth}x{options.width}x{options.tokens}x{options.steps}"
    return Setting(
        folder=str(Path(options.folder) / f"{options.model}-{size}"),
        model=options.model,
        depth=options.depth,
        width=options.width,
        heads=max(options.width // 64, 1),
        tokens=options.tokens,
        steps=options.steps,
        half=options.precision == "fp16",
        cold=options.cache == "cold",
        threads=options.threads,
    )


# ---------------------------------------------------------------- building


def build(setting: Setting, memory: str | None, blocks: int = 1) -> None:
    """Checkpoint, packages and plan, unless they are there; so many blocks to a chunk."""
    from entracte.errors import PlanError
    from entracte.plan.file import read_plan
    from tools.overlap_model import write_checkpoint, write_config

    setting.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if not setting.checkpoint.is_file():
        aside = setting.checkpoint.with_suffix(".partial")
        sizes = setting.depth, setting.width, setting.heads
        write_checkpoint(str(aside), setting.model, *sizes, setting.half)
        if setting.model == "t5":
            write_config(str(setting.checkpoint.parent), setting.depth, setting.width)
        aside.rename(setting.checkpoint)
    # A quarter of the model, but room for two blocks.
    most = max(setting.depth * setting.block_bytes // 4, 9 * setting.block_bytes // 4)
    budget = memory or f"{most // _MIB + 40}MiB"
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
        f"partition.chunk_bytes={blocks * setting.block_bytes // 1024 + 1}KiB",
        f"out={setting.build}", f"cache={setting.root / 'cache'}",
    ]  # fmt: skip
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([str(ROOT), str(site), *filter(None, given)])
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": path})


# ---------------------------------------------------------------- running


def _contestants(setting: Setting, options: argparse.Namespace) -> list[str]:
    """Ours under every policy, peers all on disk and with blocks kept, and the floors."""
    kept = options.keep if options.keep is not None else _kept(setting)
    torch_alone = ["eager:+cast", "eager:+bf16"] if setting.half else ["eager:"]
    floors = ["computing:", *torch_alone, "loading:double_buffer"]
    names = [*(f"compiled:{name}" for name in policies()), *_peers(setting, kept), *floors]
    only = tuple(options.only.split(","))
    # What the report compares with is always there.
    always = (*floors, "compiled:optimal")
    return [n for n in names if n.startswith(only) or n in always]


def _peers(setting: Setting, kept: int) -> list[str]:
    """Every peer in fp32; of fp16 the quickest in each way to compute with it.

    T5 calls each block twice only, and what a peer keeps is loaded before its time begins: there
    none keeps blocks.
    """
    t5 = setting.model == "t5"
    # Besides a leaf's weights accelerate holds copies of them for a while: some 200 MiB measured.
    few, many = (0, 0) if t5 else (max(1, kept - 2), kept)
    plain = ["accelerate:", f"accelerate:file-{many}", f"diffusers:groups-{kept + 1}"]
    if t5:
        plain.append("transformers:")
    if not setting.half:
        spread = [f"accelerate:{few}", f"diffusers:keep-{many}"] if not t5 else []
        return [*plain, *spread, "diffusers:leaf", f"diffusers:thread-{max(0, many - 1)}"]
    last = "transformers:" if t5 else f"accelerate:file-{many}"
    thread = f"diffusers:thread-{max(0, many - 1)}"
    # Casting leaves a copy of each weight behind: half the blocks in the same memory.
    cast = [f"diffusers:groups-{max(1, (kept + 1) // 2)}", thread, last]
    bf16 = [f"diffusers:groups-{kept + 1}", thread]
    return [*plain, *(f"{n}+cast" for n in cast), *(f"{n}+bf16" for n in bf16)]


def _kept(setting: Setting) -> int:
    """Blocks that fill a peer's memory up to our claim (and not below it)."""
    from entracte.plan.file import read_plan

    claim = read_plan(setting.build).forecast.peak_bytes
    return max(1, round(claim / setting.block_bytes) - 1)


def _rounds(
    names: list[str], setting: Setting, rounds: int
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """Everybody once per round, in turns; peers' files are written by a run before the first."""
    for name in names:
        folder = folder_of(name, setting)
        if folder is not None and not folder.exists():
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
    """Weights that live in the C library's heap would be kept by it when freed.

    Measured without this for accelerate: 1.3 GiB instead of 0.2, at the same speed.
    """
    heap = name.startswith(("accelerate", "transformers", "diffusers:thread"))
    return {"MALLOC_MMAP_THRESHOLD_": str(_MIB)} if heap else {}


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
    peers = [n for n in middle if n.startswith(("accelerate", "diffusers", "transformers"))]
    # bf16 is fewer digits, in instructions that our device does not have: shown, not the measure.
    best = min((n for n in peers if "+bf16" not in n), key=lambda n: middle[n]["wall_s"])
    apart = _apart(setting, list(middle))
    size = setting.depth * setting.block_bytes / _MIB
    rounds = len(results[best])
    print(
        f"\n{setting.model}: {setting.depth} blocks of width {setting.width}, "
        f"{setting.tokens} tokens, "
        f"{options.precision}: {size:.0f} MiB of weights; {setting.steps} steps; page cache "
        f"{options.cache}; {setting.threads} computing thread(s); medians of {rounds} round(s) "
        "(least to most)\n"
    )
    print(
        "| run | wall s | waiting s | CPU s | read MiB | anon. MiB | resident MiB | of best peer | "
        "from torch |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, row in middle.items():
        walls = [r["wall_s"] for r in results[name]]
        waiting = f"{row['stall_s']:.2f}" if "stall_s" in row else ""
        print(
            f"| {name} | {row['wall_s']:.2f} ({min(walls):.2f} to {max(walls):.2f}) | {waiting} | "
            f"{row['cpu_s']:.2f} | {row['read_bytes'] / _MIB:.0f} | "
            f"{row['anonymous_bytes'] / _MIB:.0f} | {row['resident_bytes'] / _MIB:.0f} | "
            f"{row['wall_s'] / middle[best]['wall_s']:.2f} | {apart.get(name, '')} |"
        )
    _footnotes(middle)
    _verdict(middle, peers, best)


def _verdict(middle: Mapping[str, dict[str, float]], peers: list[str], best: str) -> None:
    quickest = min(peers, key=lambda n: middle[n]["wall_s"])
    ours = middle["compiled:optimal"]["wall_s"]
    print(
        f"compiled:optimal: {ours / middle[best]['wall_s']:.2f} of the best peer, {best}; "
        f"{ours / middle[quickest]['wall_s']:.2f} of the quickest of all, {quickest}"
    )
    versions = (f"{name} {version(name)}" for name in _LIBRARIES)
    print(f"with {', '.join(versions)}")


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


def _footnotes(middle: dict[str, dict[str, float]]) -> None:
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


def _apart(setting: Setting, names: list[str]) -> dict[str, str]:
    """Relative L2 distance of each result from torch's with the same weights in fp32."""
    import numpy as np

    def result(name: str) -> Any:
        return np.load(setting.root / f"{name.replace(':', '-')}.npy").astype(np.float64)

    wanted = result("eager:+cast" if setting.half else "eager:")
    apart = (np.linalg.norm(result(n) - wanted) for n in names if not n.startswith("loading"))
    of = np.linalg.norm(wanted)
    kept = [n for n in names if not n.startswith("loading")]
    return {n: f"{x / of:.0e}" for n, x in zip(kept, apart, strict=True)}


if __name__ == "__main__":
    main()
