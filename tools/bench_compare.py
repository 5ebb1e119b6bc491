"""What comparing packages with their torch source adds to a compile.

    python -m tools.bench_compare                              # the demo, compiled with and without
    python -m tools.bench_compare --estimate pipeline=open_sora
    python -m tools.bench_compare --chunk denoise.00 pipeline=open_sora

The first form compiles twice with empty caches, `verify=off` and `verify=on`, and prints processor
seconds of the command and its workers. `--estimate` converts nothing: it traces and decides, then
prints what would run (whole chunks, parts, what is left out) with nominal seconds. `--chunk`
converts and runs one chunk's trial, or its parts, and prints what both took. Linux only.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from entracte.emit import trials
from entracte.emit.trials import choose
from entracte.units import format_count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--estimate", action="store_true")
    parser.add_argument("--chunk", help="run the trial of this chunk alone")
    parser.add_argument("--times", type=int, default=1)
    given = parser.parse_args()
    if given.estimate or given.chunk:
        _estimate(given.overrides, given.chunk)
        return
    for _ in range(given.times):
        seconds = {word: _processor_s(given.overrides, word) for word in ("off", "on")}
        ratio = seconds["on"] / seconds["off"]
        print(f"verify=off {seconds['off']:.1f} s, on {seconds['on']:.1f} s: {ratio:.2f} x")


def _processor_s(overrides: list[str], word: str) -> float:
    """Of one compile with nothing cached."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable, "-m", "entracte.cli.compile", "target=iphone15pro", *overrides,
            f"verify={word}", f"cache={scratch}/cache", f"out={scratch}/build",
        ]  # fmt: skip
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _estimate(overrides: list[str], only: str | None) -> None:
    orders, cache = _orders(overrides)
    nominal = sum(trials._seconds(o.chunk, o) for o in orders)
    tried, left = choose(orders)
    added = 0.0
    for trial in tried:
        chunks = trial.pieces or (trial.order.chunk,)
        flops = sum(trials._flops(c) for c in chunks)
        cost = trials._part_s if trial.pieces else trials._running_s
        seconds = sum(cost(c, trial.order) for c in chunks)
        added += seconds
        what = f"{len(trial.pieces)} parts, {100 * trial.share:.0f} %" if trial.pieces else "whole"
        print(f"{trial.order.chunk.id:<22} {format_count(flops):>8} FLOPs {seconds:7.1f} s  {what}")
    for untried in left:
        print(f"{untried.order.chunk.id:<22} left out: {untried.why}")
    print(f"in all {added:.0f} s of nominal {nominal:.0f} s of conversions")
    for trial in tried:
        if trial.order.chunk.id == only:
            _run(trial, cache)


def _run(trial: Any, cache: Any) -> None:
    from entracte.emit.judge import judge_trial
    from entracte.emit.make import convert_order

    began = time.process_time()
    if not trial.pieces:
        convert_order(trial.order, cache)
    converted = time.process_time()
    judge_trial(trial, cache, {}, Path(tempfile.gettempdir()))
    judged = time.process_time()
    print(f"converted in {converted - began:.1f} s, compared in {judged - converted:.1f} s")


def _orders(overrides: list[str]) -> tuple[list[Any], Any]:
    from entracte.compile.ready import trace
    from entracte.decide.decide import decide_job
    from entracte.declare.compose import compose
    from entracte.declare.read import read
    from entracte.emit.bundle import ByteProgress, Workshop, _orders
    from entracte.progress.reporter import Quiet
    from entracte.store.cache import Cache, cache_folder

    job = read(compose(["target=iphone15pro", *overrides]))
    cache = Cache(cache_folder(job.cache))
    traced, source = trace(job, cache, Quiet())
    decision = decide_job(job, traced.measured)
    shop = Workshop(Path(os.devnull), cache, 1, ByteProgress(), Path(os.devnull))
    chunks = decision.partition.chunks
    return _orders(traced.stages, chunks, source, job.target.deployment, shop), cache


if __name__ == "__main__":
    main()
