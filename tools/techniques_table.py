"""Arithmetic and text of `tools/bench_techniques.py`: from clips to a table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from entracte.clock.timeline import predicted
from entracte.ir import Call, Package, Plan, Segment
from tools.eval_tiny import ATTRIBUTES, accuracy
from tools.train_tiny.world import Combination


@dataclass(frozen=True)
class Clips:
    """The clips of one variant, in the same order for all: frames and denoiser evaluations."""

    frames: np.ndarray
    """uint8 [N, frames, height, width, 3]"""
    evaluations: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant of the table; dB against the plain variant's clips, None for itself."""

    name: str
    evaluations: float
    accuracy: Mapping[str, Mapping[str, float]]
    psnr_mean_db: float | None
    psnr_min_db: float | None
    equal_clips: int
    loop_s: float | None
    loop_cpu_s: float | None
    predicted_s: float
    package_bytes: int


def psnr_db(wanted: np.ndarray, found: np.ndarray) -> float:
    """20 log10(255 / root mean square error) of two uint8 clips in dB; infinite when equal."""
    error = found.astype(np.float64) - wanted.astype(np.float64)
    rms = math.sqrt(float(np.mean(error**2)))
    return math.inf if rms == 0 else 20 * math.log10(255 / rms)


def psnr_summary(wanted: np.ndarray, found: np.ndarray) -> tuple[float, float, int]:
    """(mean, least, clips that are equal) over clips; the mean is of those that differ, in dB."""
    each = [psnr_db(a, b) for a, b in zip(wanted, found, strict=True)]
    finite = [x for x in each if math.isfinite(x)]
    return (statistics.fmean(finite) if finite else math.inf), min(each), len(each) - len(finite)


def loop_of(plan: Plan) -> Segment:
    """The denoising loop: the plan's only one. Raises `ValueError` if there are others."""
    (loop,) = [s for s in plan.program.segments if s.is_loop]
    return loop


def loop_packages(plan: Plan) -> list[Package]:
    """Packages that the loop calls."""
    called = {step.chunk for step in loop_of(plan).steps if isinstance(step, Call)}
    return [p for p in plan.packages if p.chunk in called]


def predicted_loop_s(plan: Plan, evaluations: int) -> float:
    """Seconds of the loop's first `evaluations` iterations on the target, by the cost model.

    Sums the calls, and loads of kept chunks for another function, so no chunk may be loaded inside
    the loop for anything else. Raises `ValueError` if one is.
    """
    loop = loop_of(plan)
    place = plan.program.segments.index(loop)
    run = predicted(plan)
    loads = [e for e in run.bars if e.queue == "load" and e.segment == place]
    switches = [w for w in run.waits if w.cause == "switch" and w.segment == place]
    known = {(w.chunk, w.end_s) for w in switches}
    if any(e.iteration > 0 and (e.label, e.end_s) not in known for e in loads):
        raise ValueError(f"{plan.pipeline}: chunks are loaded inside the loop; give more memory")
    facts = {f.id: f for f in plan.facts}
    calls = [step for step in loop.steps if isinstance(step, Call)]
    calls_s = sum(
        facts[c.chunk].exec_of(c.function_at(i)) * c.repeat
        for i in range(evaluations)
        for c in calls
    )
    return calls_s + sum(facts[w.chunk].load_s for w in switches if w.iteration < evaluations)


def make_row(
    name: str,
    plan: Plan,
    cells: Sequence[Combination],
    clips: Clips,
    plain: Clips,
    loops: Sequence[tuple[float, float]],
) -> Row:
    """One line of the table. `loops`: (seconds, CPU seconds) of loops, any number of them."""
    mean, least, equal = psnr_summary(plain.frames, clips.frames)
    counts = clips.evaluations
    return Row(
        name=name,
        evaluations=statistics.fmean(counts),
        accuracy=accuracy(list(cells), clips.frames),
        psnr_mean_db=None if clips is plain else mean,
        psnr_min_db=None if clips is plain else least,
        equal_clips=0 if clips is plain else equal,
        loop_s=statistics.median(w for w, _ in loops) if loops else None,
        loop_cpu_s=statistics.median(c for _, c in loops) if loops else None,
        predicted_s=statistics.fmean(predicted_loop_s(plan, n) for n in counts),
        package_bytes=sum(p.file_bytes for p in plan.packages),
    )


# ---------------------------------------------------------------- text

_HEAD = (
    "evaluations",
    "seen",
    "held out",
    "PSNR mean (least)",
    "loop",
    "of CPU",
    "iPhone",
    "packages",
)


def quality_table(rows: Sequence[Row]) -> list[str]:
    """Markdown lines: accuracy of all four attributes, PSNR, times; speedups in brackets."""
    plain = rows[0]
    lines = [f"| | {' | '.join(_HEAD)} |", "|---" * (len(_HEAD) + 1) + "|"]
    for row in rows:
        cells = [
            f"{row.evaluations:.4g}",
            *(_percent(row.accuracy.get(part, {}).get("all")) for part in ("seen", "held_out")),
            _decibels(row),
            _seconds(row.loop_s, plain.loop_s, "s"),
            _seconds(row.loop_cpu_s, plain.loop_cpu_s, "s"),
            _seconds(row.predicted_s * 1e3, plain.predicted_s * 1e3, "ms"),
            f"{row.package_bytes / 2**20:.3f} MiB",
        ]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return lines


def attribute_table(rows: Sequence[Row]) -> list[str]:
    """Markdown lines: accuracy of each attribute, seen / held out."""
    lines = [f"| | {' | '.join(ATTRIBUTES)} |", "|---" * (len(ATTRIBUTES) + 1) + "|"]
    for row in rows:
        parts = [row.accuracy.get(part, {}) for part in ("seen", "held_out")]
        cells = [" / ".join(_percent(p.get(a)) for p in parts) for a in ATTRIBUTES]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return lines


def growth_lines(plain: Plan, merged: Plan, folders: tuple[Path, Path]) -> list[str]:
    """What the second function adds to the loop's packages, by file."""
    lines = []
    before = {p.chunk: p for p in loop_packages(plain)}
    for package in loop_packages(merged):
        if len(package.functions) < 2:
            continue
        old = before[package.chunk]
        weights = [
            weight_file_bytes(f / p.path) for f, p in zip(folders, (old, package), strict=True)
        ]
        more = package.file_bytes - old.file_bytes
        own = weights[1] - weights[0]
        lines.append(
            f"{package.chunk}: {old.file_bytes} -> {package.file_bytes} bytes, "
            f"+{100 * more / old.file_bytes:.2f} %; of them weights {own:+d} "
            f"({100 * own / weights[0]:+.3f} %), program {more - own:+d}"
        )
    return lines


def weight_file_bytes(package: Path) -> int:
    """Bytes of a package's weight file."""
    return sum(f.stat().st_size for f in package.rglob("weight.bin"))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _decibels(row: Row) -> str:
    if row.psnr_mean_db is None or row.psnr_min_db is None:
        return "-"
    if math.isinf(row.psnr_mean_db):
        return "all equal"
    equal = f", {row.equal_clips} equal" if row.equal_clips else ""
    return f"{row.psnr_mean_db:.1f} ({row.psnr_min_db:.1f}) dB{equal}"


def _seconds(value: float | None, plain: float | None, unit: str) -> str:
    if value is None or plain is None:
        return "-"
    return f"{value:.3g} {unit} ({plain / value:.2f}x)"
