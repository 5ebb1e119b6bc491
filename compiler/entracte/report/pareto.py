"""Which plans of a sweep no other one beats."""

from collections.abc import Sequence
from dataclasses import replace

from entracte.report.objectives import OBJECTIVES, USUAL
from entracte.report.sweep import SweepRow


def with_pareto(rows: Sequence[SweepRow], names: Sequence[str] = USUAL) -> tuple[SweepRow, ...]:
    """The rows with `pareto` set: by these objectives, among those that fit and have them all.

    Each target by itself: one chooses a budget and a compression, not a faster phone.
    """
    costs = [_costs(r, names) for r in rows]
    return tuple(
        replace(
            row,
            pareto=own is not None
            and not any(
                _beats(other, own)
                for one, other in zip(rows, costs, strict=True)
                if other is not None and one.target == row.target
            ),
        )
        for row, own in zip(rows, costs, strict=True)
    )


def value_of(row: SweepRow, name: str) -> float | None:
    """Of an objective; None where there is none."""
    value = getattr(row, OBJECTIVES[name].field) if row.fits else None
    return None if value is None else float(value)


def usual(rows: Sequence[SweepRow]) -> tuple[str, ...]:
    """The objectives of a sweep that was asked for none: with dB where all its plans have one."""
    fitting = [r for r in rows if r.fits]
    return (*USUAL, "db") if fitting and all(r.psnr_db is not None for r in fitting) else USUAL


def _costs(row: SweepRow, names: Sequence[str]) -> tuple[float, ...] | None:
    """Less is better."""
    costs = []
    for name in names:
        value = value_of(row, name)
        if value is None:
            return None
        costs.append(-value if OBJECTIVES[name].maximized else value)
    return tuple(costs)


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
