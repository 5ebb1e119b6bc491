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
    failed: bool = False
    """There is no plan because of a fault, of which `reason` tells; not because it does not fit."""
    pareto: bool = False
    """It fits, and no other plan for the same target is at least as good in time and in peak
    memory and better in one of them (`entracte/report/pareto.py`)."""


def render_sweep(rows: Sequence[SweepRow]) -> str:
    """One self-contained HTML page, the rows in the order given."""
    from entracte.report.page import SWEEP_SCRIPTS, fill

    targets = tuple(dict.fromkeys(r.target for r in rows))
    fitting = [[r for r in rows if r.fits and r.target == t] for t in targets]
    # Of each target: one chooses settings for a device, not a faster device.
    best = tuple(min(of, key=lambda r: r.makespan_s) for of in fitting if of)
    data = {"rows": [asdict(r) for r in rows], "targets": targets}
    values = {"rows": tuple(rows), "targets": targets, "best": best}
    return fill("sweep.html", SWEEP_SCRIPTS, data, values)
