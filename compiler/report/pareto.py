"""Which plans of a sweep no other one beats."""

from collections.abc import Sequence
from dataclasses import replace

from compiler.report.sweep import SweepRow


def with_pareto(rows: Sequence[SweepRow]) -> tuple[SweepRow, ...]:
    """The rows with `pareto` set: by predicted time and peak memory, among those that fit."""
    fitting = [r for r in rows if r.fits]
    return tuple(
        replace(r, pareto=r.fits and not any(_beats(other, r) for other in fitting)) for r in rows
    )


def _beats(one: SweepRow, other: SweepRow) -> bool:
    a, b = (one.makespan_s, one.peak_bytes), (other.makespan_s, other.peak_bytes)
    return a[0] <= b[0] and a[1] <= b[1] and a != b
