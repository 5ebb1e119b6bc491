"""Which plans of a sweep no other one beats."""

from collections.abc import Sequence
from dataclasses import replace

from entracte.report.sweep import SweepRow


def with_pareto(rows: Sequence[SweepRow]) -> tuple[SweepRow, ...]:
    """The rows with `pareto` set: by predicted time and peak memory, among those that fit.

    Each target by itself: one chooses a budget and a compression, not a faster phone.
    """
    return tuple(replace(r, pareto=r.fits and not any(_beats(x, r) for x in rows)) for r in rows)


def _beats(one: SweepRow, other: SweepRow) -> bool:
    a, b = (one.makespan_s, one.peak_bytes), (other.makespan_s, other.peak_bytes)
    comparable = one.fits and one.target == other.target
    return comparable and a[0] <= b[0] and a[1] <= b[1] and a != b
