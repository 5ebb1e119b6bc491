"""Many plans compared on one page: a chart of time and memory, and a table that sorts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """One plan of a sweep. Where there is none, `reason` says why and the figures are 0."""

    label: str
    """What is special about it: its overrides."""
    target: str
    budget_bytes: int
    fits: bool
    reason: str = ""
    peak_bytes: int = 0
    makespan_s: float = 0.0
    loaded_bytes: int = 0
    lower_bound_s: float = 0.0
    weight_bytes: int = 0
    psnr_db: float | None = None
    """The least of its outputs against their torch source, from a run from end to end; None where
    that was not asked for."""
    folder: str = ""
    """Where its plan is, seen from the page; empty where there is none."""
    has_report: bool = False
    """There is a `report.html` beside the plan."""
    failed: bool = False
    """There is no plan because of a fault, of which `reason` tells; not because it does not fit."""
    pareto: bool = False
    """It fits, and no other plan for the same target is at least as good in time and in peak
    memory and better in one of them (`entracte/report/pareto.py`)."""


def render_sweep(
    rows: Sequence[SweepRow], objectives: Sequence[str] = ("time", "memory"), sentence: str = ""
) -> str:
    """One self-contained HTML page, the rows in the order given.

    Args:
        objectives: those by which `pareto` was set, as `OBJECTIVES` has them.
        sentence: how the rows were chosen, if they are not simply all.
    """
    from entracte.inspect.compared import decibels
    from entracte.report.objectives import words_of
    from entracte.report.page import SWEEP_SCRIPTS, fill

    targets = tuple(dict.fromkeys(r.target for r in rows))
    fitting = [[r for r in rows if r.fits and r.target == t] for t in targets]
    # Of each target: one chooses settings for a device, not a faster device.
    best = tuple(min(of, key=lambda r: r.makespan_s) for of in fitting if of)
    told = ["" if r.psnr_db is None else decibels(r.psnr_db) for r in rows]
    figures = [asdict(r) | {"decibels": db} for r, db in zip(rows, told, strict=True)]
    data = {"rows": figures, "targets": targets}
    values = {
        "rows": tuple(rows),
        "targets": targets,
        "best": best,
        "has_db": any(r.psnr_db is not None for r in rows),
        "objectives": words_of(objectives),
        "sentence": sentence,
    }
    return fill("sweep.html", SWEEP_SCRIPTS, data, values)
