"""Leaps, token merging, resting blocks and intervals of guidance on the demo: quality and time
against the plain 30 steps.

    python -m tools.bench_techniques --clips 216               # make what is missing, and the table
    python -m tools.bench_techniques --clips 216 --timed 8     # the loop's time too
    python -m tools.bench_techniques --clips 216 --sheet docs/pictures/techniques.png

Every variant is compiled and runs through its packages on the reference device. Builds, clips and
times are kept in --folder and go on from what is there; delete it to start over. The 216 prompts
come in the order of their SHA-256, so the first N are an even choice, and the same for all.
docs/techniques.md has the figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from fnmatch import fnmatchcase
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from entracte.compile.job import compile_pipeline
from entracte.declare.scheme import SCHEMES
from entracte.errors import PlanError
from entracte.ir import Plan
from entracte.plan.file import read_plan
from tools.techniques_table import (
    Clips,
    Row,
    attribute_table,
    growth_lines,
    loop_of,
    make_row,
    quality_table,
)
from tools.train_tiny.world import COMBINATIONS, Combination

_MERGED = "+pipeline.stages.denoise.functions.merged"
_SLICE = "sampler.leap.over=published_slice"
_PAPER = ("sampler.leap.tolerance=1e-4", "sampler.leap.minimum=15")
"""The paper's constants; it does not give the patience, which stays that of its code."""
_LEAP_11 = ("sampler=lpl_static", "sampler.steps=20", "sampler.evaluations=11")


def _interval(begin: int, end: int) -> tuple[str, ...]:
    return "guidance=interval", f"guidance.begin={begin}", f"guidance.end={end}"


def _reuse(first: int, last: int, every: int) -> tuple[str, ...]:
    kept = f"{{first: {first}, last: {last}, at: {{every: {every}}}}}"
    return (f"pipeline.stages.denoise.reuse={kept}",)


def _test(change: float) -> tuple[str, ...]:
    return (f"pipeline.stages.denoise.reuse={{first: 1, last: 0, at: {{change: {change}}}}}",)


VARIANTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "LPL static": ("sampler=lpl_static",),
    "LPL adaptive": ("sampler=lpl_adaptive",),
    "LPL adaptive, slice": ("sampler=lpl_adaptive", _SLICE),
    "LPL adaptive, 1e-4": ("sampler=lpl_adaptive", *_PAPER),
    "TDTM 3": (f"{_MERGED}=3",),
    "TDTM 15": (f"{_MERGED}=15",),
    "TDTM 30": (f"{_MERGED}=30",),
    "TDTM 15, LPL static": (f"{_MERGED}=15", "sampler=lpl_static"),
    "TDTM 15, LPL adaptive": (f"{_MERGED}=15", "sampler=lpl_adaptive"),
    "apart": ("guidance=apart",),
    "interval 0-15": _interval(0, 15),
    "interval 0-8": _interval(0, 8),
    "interval 15-30": _interval(15, 30),
    "reuse 2": _reuse(1, 1, 2),
    "reuse 3": _reuse(1, 1, 3),
    "reuse 2, all": _reuse(0, 0, 2),
    "test 0.05": _test(0.05),
    "test 0.1": _test(0.1),
    "test 0.2": _test(0.2),
    "LPL static, test 0.1": ("sampler=lpl_static", *_test(0.1)),
    "TDTM 3, test 0.1": (f"{_MERGED}=3", *_test(0.1)),
    "interval 0-15, test 0.1": (*_interval(0, 15), *_test(0.1)),
    "LPL static, interval 0-8, test 0.1": (
        "sampler=lpl_static", *_interval(0, 8), *_test(0.1)),
    "LPL static, interval 0-8": ("sampler=lpl_static", *_interval(0, 8)),
    "LPL static, reuse 2": ("sampler=lpl_static", *_reuse(1, 1, 2)),
    "LPL static, interval 0-8, reuse 2": (
        "sampler=lpl_static", *_interval(0, 8), *_reuse(1, 1, 2)),
    "LPL static, interval 0-8, reuse 2, all": (
        "sampler=lpl_static", *_interval(0, 8), *_reuse(0, 0, 2)),
    "LPL static, interval 0-8, reuse 3": (
        "sampler=lpl_static", *_interval(0, 8), *_reuse(1, 1, 3)),
    "LPL 11 of 20, interval 0-6, reuse 2": (*_LEAP_11, *_interval(0, 6), *_reuse(1, 1, 2)),
    "LPL 11 of 20, interval 0-6, reuse 2, all": (*_LEAP_11, *_interval(0, 6), *_reuse(0, 0, 2)),
    **{
        f"text {name}": (f"pipeline.stages.text.compression={name}",)
        for name in SCHEMES
    },
}  # fmt: skip


# ---------------------------------------------------------------- building


def build_path(folder: Path, name: str) -> Path:
    return folder / name.replace(", ", "-").replace(" ", "_")


def build_all(folder: Path, names: Sequence[str]) -> dict[str, Plan]:
    """The plans by name; builds that are missing are compiled."""
    plans = {}
    for name in names:
        path = build_path(folder, name)
        try:
            plans[name] = read_plan(path)
        except PlanError:
            print(f"compiling {name}", file=sys.stderr, flush=True)
            plans[name] = compile_pipeline(["target=iphone15pro", *VARIANTS[name]], out=path).plan
    return plans


# ---------------------------------------------------------------- clips


def prompt_order() -> list[int]:
    """Indices into the 216 combinations, mixed in a fixed way."""

    def key(i: int) -> str:
        return hashlib.sha256(COMBINATIONS[i].plain_caption.encode()).hexdigest()

    return sorted(range(len(COMBINATIONS)), key=key)


def clip_path(build: Path, plan: Plan, index: int) -> Path:
    """Clips belong to what made them: program, packages and other files."""
    made_by = [repr(plan.program), [p.digest for p in plan.packages], plan.files]
    name = hashlib.sha256(json.dumps(made_by).encode()).hexdigest()[:16]
    return build.parent / "clips" / name / f"{index}.npz"


def make_clip(build: Path, index: int) -> tuple[float, float]:
    """Run a plan for a combination, keep its frames; seconds of the loop, and its thread's of CPU.

    The seed is the combination's index, as in `tools/eval_tiny.py`.
    """
    import torch

    from entracte.program.steps import bases
    from entracte.run.execute import execute, make_device
    from entracte.run.video import to_frames

    torch.set_num_threads(1)
    plan = read_plan(build)
    loop = loop_of(plan)
    begin = bases(plan.program)[plan.program.segments.index(loop)]
    end = begin + loop.count * len(loop.steps)
    ended = {0: (time.perf_counter(), time.thread_time())}

    def note(_: str, done: int, _total: int) -> None:
        ended[done] = time.perf_counter(), time.thread_time()

    given = {"prompt": COMBINATIONS[index].plain_caption, "seed": index}
    outcome = execute(plan, build, make_device("reference", plan), given, progress=note)
    last = max(done for done in ended if done <= end)
    evaluations = dict(outcome.run.iterations).get(loop.name, loop.count)
    _keep(clip_path(build, plan, index), to_frames(outcome.output), evaluations)
    wall_s, cpu_s = (b - a for a, b in zip(ended[begin], ended[last], strict=True))
    return wall_s, cpu_s


def _keep(path: Path, frames: np.ndarray, evaluations: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}.partial")
    with aside.open("wb") as file:
        np.savez_compressed(file, frames=frames, evaluations=evaluations)
    aside.replace(path)


def make_missing(
    folder: Path, plans: dict[str, Plan], indices: Sequence[int], workers: int
) -> None:
    """Prompt by prompt, so that a run which is stopped leaves the same prompts for all."""
    from rich.progress import track

    builds = [(build_path(folder, name), plan) for name, plan in plans.items()]
    work = [(b, i) for i in indices for b, p in builds if not clip_path(b, p, i).is_file()]
    if not work:
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        made = pool.map(make_clip, *zip(*work, strict=True))
        for _ in track(made, "clips", total=len(work), transient=True):
            pass


def read_clips(build: Path, plan: Plan, indices: Sequence[int]) -> Clips:
    frames, evaluations = [], []
    for index in indices:
        with np.load(clip_path(build, plan, index)) as kept:
            frames.append(kept["frames"])
            evaluations.append(int(kept["evaluations"]))
    return Clips(np.stack(frames), tuple(evaluations))


# ---------------------------------------------------------------- times


def measure(folder: Path, names: Sequence[str], count: int) -> None:
    """`count` prompts, every variant in turns, after one that is not counted; added to a file."""
    indices = prompt_order()[:count]
    make_clip(build_path(folder, names[0]), indices[0])
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for index in indices:
        for name in names:
            taken[name].append(make_clip(build_path(folder, name), index))
    old = read_times(folder)
    text = json.dumps({n: old.get(n, []) + times for n, times in taken.items()})
    aside = folder / "times.partial"
    aside.write_text(text + "\n")
    aside.replace(folder / "times.json")


def read_times(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """(seconds, CPU seconds) of loops by variant; empty if nothing was measured."""
    path = folder / "times.json"
    if not path.is_file():
        return {}
    return {n: [(w, c) for w, c in times] for n, times in json.loads(path.read_text()).items()}


# ---------------------------------------------------------------- reporting

# Without --only.
SHEET_ROWS = ("plain", "LPL static", "LPL adaptive", "TDTM 3", "TDTM 15", "TDTM 30")


def write_sheet(
    clips: dict[str, Clips], rows: Sequence[str], cells: Sequence[Combination], path: Path,
    every: int = 4,
) -> list[str]:  # fmt: skip
    """Rows are variants, columns the first prompt of each shape: they are returned."""
    from tools.eval_tiny import contact_sheet

    columns = sorted({c.shape: k for k, c in reversed(list(enumerate(cells)))}.values())
    chosen = [clips[name].frames[k] for name in rows for k in columns]
    frames = np.stack(chosen).astype(np.float32) / 255
    contact_sheet(frames, path, columns=len(columns), every=every)
    return [cells[k].plain_caption for k in columns]


def report(folder: Path, plans: dict[str, Plan], rows: Sequence[Row], clips: int) -> str:
    """The tables as markdown."""
    times = read_times(folder)
    merged = "TDTM 15"
    pair = (build_path(folder, "plain"), build_path(folder, merged))
    lines = [
        f"{clips} of {len(COMBINATIONS)} prompts. Loop: seconds (of CPU) on the reference device, "
        f"one thread, medians of {len(times.get('plain', []))} clips in turns. iPhone: the loop, "
        "predicted for iPhone 15 Pro.",
        *("", *quality_table(rows), "", *attribute_table(rows), ""),
        *(growth_lines(plans["plain"], plans[merged], pair) if merged in plans else ()),
    ]
    return "\n".join(lines) + "\n"


def names_of(patterns: Sequence[str]) -> list[str]:
    """The variants whose names match one of the patterns, and the plain one; all without."""
    if not patterns:
        return list(VARIANTS)
    return [n for n in VARIANTS if n == "plain" or any(fnmatchcase(n, p) for p in patterns)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/entracte-techniques"))
    parser.add_argument("--clips", type=int, default=24, help="prompts, at most 216")
    parser.add_argument("--only", nargs="+", default=[], help="variants by name, or patterns")
    parser.add_argument("--timed", type=int, default=0, help="prompts whose loops are timed")
    parser.add_argument("--workers", type=int, default=1, help="clips made side by side")
    parser.add_argument("--markdown", type=Path, help="write the tables, which are also printed")
    parser.add_argument("--json", type=Path, help="write the rows")
    parser.add_argument("--sheet", type=Path, help="write a picture of the first prompts: of the "
                        "variants of --only, or of some")  # fmt: skip
    options = parser.parse_args()
    if not 1 <= options.clips <= len(COMBINATIONS):
        parser.error(f"--clips {options.clips}: give 1 to {len(COMBINATIONS)}")
    return options


def main() -> None:
    """Compile, make clips, measure, print."""
    options = _options()
    folder = options.folder
    plans = build_all(folder, names_of(options.only))
    indices = prompt_order()[: options.clips]
    make_missing(folder, plans, indices, options.workers)
    if options.timed:
        measure(folder, list(plans), options.timed)
    clips = {n: read_clips(build_path(folder, n), p, indices) for n, p in plans.items()}
    cells, times = [COMBINATIONS[i] for i in indices], read_times(folder)
    rows = [
        make_row(name, plan, cells, clips[name], clips["plain"], times.get(name, []))
        for name, plan in plans.items()
    ]
    text = report(folder, plans, rows, options.clips)
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if options.sheet:
        names = list(clips) if options.only else [n for n in SHEET_ROWS if n in clips]
        shown = write_sheet(clips, names, cells, options.sheet)
        print(f"{options.sheet}: rows {'; '.join(names)}; columns {'; '.join(shown)}")


if __name__ == "__main__":
    main()
