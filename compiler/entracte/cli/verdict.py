"""The predicted time in words: what it is made of, what holds it up, what conversion changed."""

from entracte.cli.tables import hanging, listed
from entracte.inspect.bottleneck import FITS
from entracte.inspect.causes import CAUSES
from entracte.inspect.converted import measured_otherwise
from entracte.inspect.expected import expected
from entracte.inspect.overview import Overview, page_bytes
from entracte.ir import Plan
from entracte.units import format_bytes, format_seconds

_AGREE = 0.01
"""Predictions that differ by this share or less are one story."""
_ROOM = 160
"""Letters, at most, of what conversion changed."""


def _resting(plan: Plan) -> str:
    """The other ends of a run in which blocks may rest by a test."""
    if plan.forecast.resting_s is None:
        return ""
    told = (
        f"\n        if no blocks rest; {format_seconds(plan.forecast.resting_s)} if all do that "
        "may, but in the\n        first iteration"
    )
    if (found := expected(plan)) is not None:
        told += f"; {format_seconds(found[1])} if they run in {found[0]:.0%} of them"
    return told


def time_line(plan: Plan) -> str:
    """The predicted time and what it is made of."""
    f = plan.forecast
    early = "" if f.earliest_s is None else (
        f"\n        without an early end; {format_seconds(f.earliest_s)} if loops that may end "
        "early do\n        after one iteration"
    )  # fmt: skip
    early += _resting(plan)
    times = f.makespan_s / max(f.lower_bound_s, 1e-12)
    loads = "page loads" if page_bytes(plan) else "loads"
    waits = [f"{format_seconds(s)} {CAUSES.get(cause, cause)}" for cause, s in f.stalls]
    where = hanging("waiting ", ", ".join(waits))
    return (
        f"time    {format_seconds(f.makespan_s)} predicted: computing "
        f"{format_seconds(f.compute_s)}, waiting {format_seconds(f.stall_s)}\n"
        + (f"{where}\n" if waits else "")
        + f"        {f.loads} {loads} of {format_bytes(f.loaded_bytes)} in all; "
        f"{times:.2f} x the {f.lower_bound} bound{early}"
    )


def verdict_lines(made: Overview) -> list[str]:
    """What first loads cost; what holds the plan up; that there is nothing to schedule."""
    first = made.first_loads
    lines = []
    if first.chunks:
        lines.append(
            hanging(
                "cold    ",
                f"first loads take {format_seconds(first.cold_s)} in all, each alone, where warm "
                f"ones would take {format_seconds(first.warm_s)}; {format_seconds(first.wait_s)} "
                "of the waiting is during them",
            )
        )
    lines.append(hanging("verdict ", made.bottleneck.sentence))
    if made.loop_fits:
        lines.append(hanging(" " * 8, FITS))
    return lines


def converted_lines(plan: Plan, dry_run_s: float | None = None) -> list[str]:
    """What of the dry run's figures the packages changed; nothing where they agree to 1 %."""
    told = [
        f"{m.figure} of {m.chunk} {format_bytes(m.traced_bytes)} -> {format_bytes(m.package_bytes)}"
        for m in measured_otherwise(plan)
    ]
    time_s = plan.forecast.makespan_s
    if plan.built and dry_run_s is not None and abs(time_s - dry_run_s) > _AGREE * dry_run_s:
        told.insert(0, f"time {format_seconds(dry_run_s)} -> {format_seconds(time_s)}")
    if not told:
        return []
    return [
        hanging("built   ", f"measured after conversion, unlike the dry run: {listed(told, _ROOM)}")
    ]
