"""Fit the cost model to a few of On-device Sora's published figures and predict the others.

    python -m tools.reproduce_paper               # tables: published, predicted, error
    python -m tools.reproduce_paper --markdown    # the tables of docs/reproduction.md
    python -m tools.reproduce_paper --ours        # also our own plans with the fitted target

Traces of the pipeline at two sizes come from the user's cache; the first time takes minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from entracte.compile.job import compile_job
from entracte.ir import Target
from tools.published_sora import App, Case, Walls, job_of

PEAK_FLOPS = 2.15e12
"""Of the phone's GPU (arXiv 2502.04363v2)."""
SIZES = (192, 256)
LPL, TDTM, CI, ALL = "LPL", "TDTM", "CI-DL", "all"
ROWS = {
    LPL: (16, False, False),
    TDTM: (30, True, False),
    CI: (30, False, True),
    ALL: (16, True, True),
}
"""Table 5: steps, merging, CI-DL."""
STDIT = {
    (192, LPL): 390.72, (192, TDTM): 696.03, (192, CI): 566.81, (192, ALL): 293.51,
    (256, LPL): 573.88, (256, TDTM): 965.40, (256, CI): 947.67, (256, ALL): 454.48,
}  # fmt: skip
TOTAL = {
    (192, LPL): 514.24, (192, TDTM): 823.03, (192, CI): 691.25, (192, ALL): 416.50,
    (256, LPL): 754.08, (256, TDTM): 1148.63, (256, CI): 1127.88, (256, ALL): 638.09,
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """The six figures that are fitted. Rates per second."""

    compute_flops: float = 1.0e12
    load_bandwidth: float = 0.6e9
    merged_slowdown: float = 1.15
    contention: float = 1.5
    cold_bandwidth: float = 0.12e9
    decoder_flops: float = 0.43e12

    def target(self, base: Target) -> Target:
        """The phone, with these figures."""
        return replace(
            base,
            compute_flops=self.compute_flops,
            efficiency=(),
            load_bandwidth=self.load_bandwidth,
            contention=max(1.0, self.contention),
            cold_bandwidth=self.cold_bandwidth,
        )


@dataclass(frozen=True)
class Figure:
    """A published figure and how it is predicted."""

    name: str
    published: float
    case: Case
    read: Callable[[Walls], float]
    fitted: bool = False


class Bench:
    """Both apps, and predictions of figures under a model; equal cases are simulated once."""

    def __init__(self) -> None:
        self.apps = {size: App(size) for size in SIZES}
        self.base = self.apps[256].job.target

    def predict(self, figures: list[Figure], model: Model) -> list[float]:
        target = model.target(self.base)
        decoders = replace(target, compute_flops=model.decoder_flops)
        merged = model.merged_slowdown
        walls = {
            f.case: self.apps[f.case.size].run(f.case, target, decoders, merged) for f in figures
        }
        return [f.read(walls[f.case]) for f in figures]


def _case(size: int, row: str) -> Case:
    steps, merged, overlap = ROWS[row]
    return Case(size, steps, merged, overlap)


def figures() -> list[Figure]:
    """All that is predicted, the fitted ones first."""
    text = Case(256, 1, text_overlap=False, text_int8=False)
    fit = [
        _table5(256, LPL, fitted=True),
        _table5(192, LPL, fitted=True),
        _table5(256, TDTM, fitted=True),
        _table5(192, CI, fitted=True),
        Figure("T5 sequential (B.2)", 164.0, text, lambda w: w.text_s, True),
        Figure("VAE (table 1)", 135.047, Case(256, 1), lambda w: w.decode_s, True),
    ]
    known = {f.name for f in fit}
    rest = [f for s in SIZES for r in ROWS if (f := _table5(s, r)).name not in known]
    rest += [
        Figure(f"{s} {r}: total (table 5)", TOTAL[s, r], _case(s, r), lambda w: w.total_s)
        for s in SIZES
        for r in ROWS
    ]
    return fit + rest + _others(text)


def _others(text: Case) -> list[Figure]:
    sequential, overlapped = Case(256, 30), Case(256, 30, overlap=True)
    return [
        Figure("T5 (table 1)", 110.505, text, lambda w: w.text_s),
        Figure("STDiT, 50 steps (table 1)", 1768.32, Case(256, 50), lambda w: w.denoise_s),
        Figure("T5 concurrent (B.2)", 137.0, replace(text, text_overlap=True), lambda w: w.text_s),
        Figure("30 steps sequential (B.2)", 1000.0, sequential, lambda w: w.denoise_s),
        Figure("30 steps concurrent (B.2)", 750.0, overlapped, lambda w: w.denoise_s),
        Figure("first step (fig. 12)", 67.0, sequential, lambda w: w.first_pass_s),
    ]


def _table5(size: int, row: str, *, fitted: bool = False) -> Figure:
    name = f"{size} {row}: STDiT (table 5)"
    return Figure(name, STDIT[size, row], _case(size, row), lambda w: w.denoise_s, fitted)


_FITTED = (
    "compute_flops",
    "load_bandwidth",
    "merged_slowdown",
    "contention",
    "cold_bandwidth",
    "decoder_flops",
)


def fit(bench: Bench, wanted: list[Figure]) -> Model:
    """Newton's method on the logarithms: as many figures as parameters, so they are met exactly."""
    model = Model()
    for _ in range(12):
        now = np.array(bench.predict(wanted, model))
        miss = np.log([f.published for f in wanted]) - np.log(now)
        if np.abs(miss).max() < 1e-5:
            return model
        slopes = []
        for name in _FITTED:
            moved = replace(model, **{name: getattr(model, name) * 1.01})
            slopes.append((np.log(bench.predict(wanted, moved)) - np.log(now)) / np.log(1.01))
        # Halved at most: the model is far from linear where a rate no longer decides.
        steps = np.clip(np.linalg.lstsq(np.array(slopes).T, miss, rcond=None)[0], -0.5, 0.5)
        moved_by = zip(_FITTED, np.exp(steps), strict=True)
        model = replace(model, **{n: getattr(model, n) * float(x) for n, x in moved_by})
    return model


def model_lines(model: Model) -> list[str]:
    """The fitted figures."""
    return [
        f"* GPU: {model.compute_flops / 1e9:.0f} GFLOPS for matrix products and attention, "
        f"{100 * model.compute_flops / PEAK_FLOPS:.0f} % of its peak",
        f"* merged blocks: {model.merged_slowdown:.2f} times what their operations should take",
        f"* loading: {model.load_bandwidth / 1e6:.0f} MB/s; a package's first load in a run "
        f"{model.cold_bandwidth / 1e6:.0f} MB/s",
        f"* contention: {model.contention:.2f}",
        f"* decoders (CPU in their app): {model.decoder_flops / 1e9:.0f} GFLOPS",
    ]


def figure_lines(bench: Bench, model: Model, all_figures: list[Figure]) -> list[str]:
    """A Markdown table: published, predicted, error."""
    lines = ["| figure | published, s | predicted, s | error |", "|---|---:|---:|---:|"]
    for f, value in zip(all_figures, bench.predict(all_figures, model), strict=True):
        error = "fitted" if f.fitted else f"{100 * (value / f.published - 1):+.1f} %"
        lines.append(f"| {f.name} | {f.published:.1f} | {value:.1f} | {error} |")
    return lines


def our_lines(bench: Bench, model: Model) -> list[str]:
    """Seconds and bytes of the 30-step 256 x 256 video: their app, and our plans."""
    target = model.target(bench.base)
    decoders = replace(target, compute_flops=model.decoder_flops)
    # Nobody has measured convolutions on this GPU: ours are as slow as theirs on the CPU.
    ours = replace(target, efficiency=(("conv", model.decoder_flops / model.compute_flops),))
    lines = [
        "| 30 steps, 256 x 256, 68 frames | chunks | time, s | read, GiB | loads |",
        "|---|---:|---:|---:|---:|",
    ]
    for text, int8 in (("fp32", False), ("fp32, T5 int8", True)):
        walls = bench.apps[256].run(Case(256, 30, overlap=True, text_int8=int8), target, decoders)
        lines.append(
            f"| their app, {text}, `ci_dl` | 74 | {walls.total_s:.0f} | "
            f"{walls.loaded_bytes / 2**30:.1f} | |"
        )
    for text, overrides in (
        ("fp32", ["pipeline.precision=fp32"]),
        ("fp16", []),
        ("int8", ["compression=int8"]),
    ):
        for policy in ("ci_dl", "optimal"):
            job = job_of("pipeline=on_device_sora", f"policy={policy}", "dry_run=true", *overrides)
            plan = compile_job(replace(job, target=ours)).plan
            f = plan.forecast
            lines.append(
                f"| our program, {text}, `{policy}` | {len(plan.chunks)} | {f.makespan_s:.0f} | "
                f"{f.loaded_bytes / 2**30:.1f} | {f.loads} |"
            )
    return lines


def main() -> None:
    """Fit, predict, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--markdown", action="store_true", help="without the header line")
    parser.add_argument("--ours", action="store_true", help="our own plans too")
    options = parser.parse_args()
    bench, everything = Bench(), figures()
    model = fit(bench, [f for f in everything if f.fitted])
    if not options.markdown:
        print("On-device Sora, arXiv 2502.04363v2: fitted and predicted")
    print(*model_lines(model), "", *figure_lines(bench, model, everything), sep="\n", flush=True)
    if options.ours:
        print("", *our_lines(bench, model), sep="\n")


if __name__ == "__main__":
    main()
