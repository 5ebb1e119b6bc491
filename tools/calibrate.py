"""Fit a target's figures to recorded runs, and say how well they fit.

    compile target=host out=/tmp/demo
    plan run /tmp/demo --record /tmp/demo.json
    python -m tools.calibrate /tmp/demo /tmp/demo.json [BUILD RECORD ...]

Loads: overhead + bytes / bandwidth, and what a first load takes more. Calls: overhead + for each
class of operations its FLOPs at a rate, or, for what is bound by memory, its bytes at one
bandwidth; and what a first call takes more. Both are linear least squares over chunks with no
coefficient below zero, weighted by 1 / seconds: between the absolute error, which the longest chunk
decides, and the relative one, which errs low. Prints lines for `conf/target/NAME.yaml`.

`settle_fraction` is printed where a record says how freed memory came back (`Run.settled`): the
most that was still missing when a wait ended, as a share of what the target leaves beside the app.
The next load has to fit beside that; what a load waits is in its seconds.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from entracte.clock.drivers import kind_of
from entracte.clock.table import pages_of
from entracte.cost import ATTENTION, CONV, ELEMENTWISE, MATMUL, MOVE
from entracte.errors import PlanError
from entracte.ir import Chunk, Plan, Run
from entracte.plan.file import read_plan
from entracte.program.workload import Workload
from entracte.run.record import run_of

COMPUTED = (MATMUL, CONV, ATTENTION)
MOVED = (ELEMENTWISE, MOVE)


@dataclass(frozen=True)
class Fit:
    """Coefficients by name (seconds per unit), and how far the fit is off."""

    names: tuple[str, ...]
    values: tuple[float, ...]
    median_error: float
    """Of |fitted / observed - 1| over chunks."""
    total_error: float
    """Sum of fitted seconds over sum of observed ones, less 1."""

    def of(self, name: str) -> float:
        return dict(zip(self.names, self.values, strict=True))[name]


def non_negative(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Least squares without negative coefficients: the most negative one is dropped until none is.

    Args:
        rows: (observations, coefficients); wanted: (observations,).
    """
    kept = list(np.flatnonzero(rows.any(axis=0)))
    result = np.zeros(rows.shape[1])
    while kept:
        # Columns differ by ten orders of magnitude: scaled to length one.
        scale = np.linalg.norm(rows[:, kept], axis=0)
        found = np.linalg.lstsq(rows[:, kept] / scale, wanted, rcond=None)[0] / scale
        if found.min() >= 0:
            result[kept] = found
            break
        kept.pop(int(np.argmin(found * scale)))
    return result


def fit(names: tuple[str, ...], rows: list[list[float]], seconds: list[float]) -> Fit:
    """Least squares of seconds on the named quantities, weighted by 1 / seconds."""
    quantities, observed = np.array(rows, float), np.array(seconds)
    root = np.sqrt(observed)
    values = non_negative(quantities / root[:, None], root)
    fitted = quantities @ values
    return Fit(
        names,
        tuple(float(v) for v in values),
        float(np.median(np.abs(fitted / observed - 1))),
        float(fitted.sum() / observed.sum() - 1),
    )


def fit_loads(runs: list[tuple[Plan, Run]]) -> Fit:
    """Seconds of all loads of a chunk on their number and bytes, and on the first one apart."""
    rows, seconds = [], []
    for plan, run in runs:
        size = {f.id: f.weight_bytes for f in plan.facts}
        pages = pages_of(Workload.of(plan)) if kind_of(plan.schedule).by_pages else {}
        for chunk in (c for c in run.chunks if c.loads and c.load_s > 0):
            # By pages a load is of one page, and so is the first load of each.
            n = pages.get(chunk.chunk, 1)
            weight = size[chunk.chunk]
            rows.append([chunk.loads, chunk.loads * weight / n, n, weight])
            seconds.append(chunk.load_s)
    return fit(("overhead", "bytes", "first", "first_bytes"), rows, seconds)


def fit_calls(runs: list[tuple[Plan, Run]]) -> Fit:
    """Seconds of all calls of a chunk on their number, FLOPs by class and bytes moved, and on the
    first one apart."""
    rows, seconds = [], []
    for plan, run in runs:
        chunks = {c.id: c for c in plan.chunks}
        for chunk in (c for c in run.chunks if c.calls and c.exec_s > 0):
            each = [1.0, *_quantities(chunks[chunk.chunk])]
            rows.append([*(chunk.calls * q for q in each), 1.0])
            seconds.append(chunk.exec_s)
    return fit(("overhead", *COMPUTED, "moved", "first"), rows, seconds)


def _quantities(chunk: Chunk) -> list[float]:
    work = {w.kind: w for w in chunk.work}
    flops = [work[k].flops if k in work else 0 for k in COMPUTED]
    return [*flops, sum(work[k].moved_bytes for k in MOVED if k in work)]


def target_lines(loads: Fit, calls: Fit) -> list[str]:
    """Lines of a target's file. A class without a rate of its own was too little to be seen."""
    rates = {k: 1 / calls.of(k) for k in COMPUTED if calls.of(k) > 0}
    best = max(rates.values(), default=0.0)
    shares = ", ".join(f"{k}: {rate / best:.2f}" for k, rate in rates.items())
    lines = [f"load_overhead_s: {loads.of('overhead'):.6f}"]
    if loads.of("bytes") > 0:
        lines.append(f'load_bandwidth: "{1e-6 / loads.of("bytes"):.0f}MB"')
    cold = loads.of("bytes") + loads.of("first_bytes")
    if loads.of("first_bytes") > 0.01 * loads.of("bytes"):
        lines.append(f'cold_bandwidth: "{1e-6 / cold:.0f}MB"')
    lines += [f"compute_gflops: {best / 1e9:.1f}", f"efficiency: {{{shares}}}"]
    if calls.of("moved") > 0:
        lines.append(f'memory_bandwidth: "{1e-6 / calls.of("moved"):.0f}MB"')
    return [*lines, f"call_overhead_s: {calls.of('overhead'):.6f}"]


def settle_lines(runs: list[tuple[Plan, Run]]) -> list[str]:
    """What to keep free for memory that comes back late; nothing where no record says."""
    waits = [(plan.target, s) for plan, run in runs for s in run.settled if s.expected_bytes]
    if not waits:
        return []
    late = [max(0, s.expected_bytes - s.returned_bytes) for _, s in waits]
    free = [t.memory_bytes - t.base_footprint_bytes for t, _ in waits]
    share = max(missing / room for missing, room in zip(late, free, strict=True))
    seconds = sorted(s.wait_s for _, s in waits)
    return [
        # Rounded up: less would be too little for the record itself.
        f"settle_fraction: {math.ceil(1e4 * share) / 1e4:.4f}",
        f"# {len(waits)} waits for freed memory: {seconds[len(seconds) // 2]:.3f} s in the median, "
        f"{seconds[-1]:.3f} s at most; then up to {max(late)} bytes were still missing",
    ]


def error_lines(loads: Fit, calls: Fit) -> list[str]:
    """How far the fit is from what it was fitted to."""
    return [
        f"# {name}: median error of a chunk {100 * f.median_error:.0f} %, "
        f"of the sum {100 * f.total_error:+.0f} %"
        for name, f in (("loads", loads), ("calls", calls))
    ] + [
        f"# not in a target: a first load takes {1e3 * loads.of('first'):.1f} ms more whatever its "
        f"bytes, a first call {1e3 * calls.of('first'):.1f} ms"
    ]


def read_pair(build: Path, record: Path) -> tuple[Plan, Run]:
    """A plan, and what `plan run --record` wrote of it. Raises `PlanError`, also for another's."""
    plan = read_plan(build)
    run = run_of(plan, record)
    if run is None:
        raise PlanError(f"{record}: no run is recorded here")
    return plan, run


def main() -> None:
    """Print the fitted lines and their errors."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("paths", type=Path, nargs="+", help="BUILD RECORD, one or more times")
    given = parser.parse_args().paths
    if len(given) % 2:
        parser.error("give a record after each build: BUILD RECORD [BUILD RECORD ...]")
    pairs = zip(given[::2], given[1::2], strict=True)
    try:
        runs = [read_pair(build, record) for build, record in pairs]
    except PlanError as error:
        parser.error(str(error))
    loads, calls = fit_loads(runs), fit_calls(runs)
    lines = (*target_lines(loads, calls), *settle_lines(runs), *error_lines(loads, calls))
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
