"""Many plans compared on one page: a chart of time and memory, and a table that sorts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """One plan of a sweep. Where it does not fit, `reason` says why and the figures are 0."""

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
    pareto: bool = False
    """It fits, and no other plan that fits is at least as good in time and in peak memory and
    better in one of them."""
