"""What memory holds: the proven peak in the budget, by name; what the online rule keeps."""

from collections.abc import Sequence

from rich.table import Table

from entracte.cli.tables import Column, fitted, listed
from entracte.inspect.overview import KeptRow, Overview
from entracte.inspect.peak import Held, Peak
from entracte.inspect.residency import Fullest
from entracte.inspect.typed import limit
from entracte.ir import Plan
from entracte.units import compact_bytes, format_bytes, format_seconds


def budget_line(plan: Plan) -> str:
    """The proven peak against the budget, the limit as it was typed, and when the peak is."""
    budget, peak = plan.target.budget_bytes, plan.forecast.peak_bytes
    share = f"{100 * peak / budget:.0f} %" if 100 * peak >= budget else "below 1 %"
    at = f"at {plan.forecast.peak_step}"
    if plan.schedule.driver == "online" and peak == plan.schedule.budget_bytes:
        at = "the online rule may fill the budget, never more"
    return (
        f"memory  peak {format_bytes(peak)} of {format_bytes(budget)} budget ({share}), "
        f"proven for any timing\n        limit {limit(plan, 'memory')}; {at}"
    )


def peak_lines(made: Overview, width: int = 80) -> list[str]:
    """What the proven peak consists of, with names; and the most that the predicted run takes.
    Where the online rule may fill the budget, it is the predicted moment that is told by name."""
    full = made.peak.room_bytes > 0
    lines = [] if full else _parts(_proven(made.peak), width)
    if made.most is not None:
        lines.append(
            f"        as predicted {format_bytes(made.most.total_bytes)} at most, after "
            f"{format_seconds(made.most.at_s)}"
        )
        lines += _parts(_predicted(made.most), width) if full else []
    return lines


Parts = Sequence[tuple[str, int, Sequence[str]]]
"""(what, bytes, names)"""


def _proven(p: Peak) -> Parts:
    return (
        ("weights", p.weight_bytes, [f"of {p.chunk}, which runs"] if p.chunk else []),
        ("activations", p.activation_bytes, [f"of {p.chunk}"] if p.chunk else []),
        ("kept", _total(p.resident), [h.name for h in p.resident]),
        ("ahead", _total(p.ahead), [h.name for h in p.ahead]),
        ("tensors", _total(p.tensors), [f"{h.name} {_brief(h)}" for h in p.tensors]),
    )


def _predicted(most: Fullest) -> Parts:
    def of(kind: str) -> list[Held]:
        return [Held(name, size) for name, part, size in most.parts if part == kind]

    loaded, loading, running = of("resident"), of("loading"), of("activations")
    return (
        ("loaded", _total(loaded), [f"{h.name} {_brief(h)}" for h in loaded]),
        ("loading", _total(loading), [h.name for h in loading]),
        ("activations", _total(running), [f"of {h.name}" for h in running]),
        ("tensors", _total(of("tensors")), ["alive then"]),
    )


def _parts(parts: Parts, width: int) -> list[str]:
    lines = []
    for label, size, names in parts:
        if names:
            begin = f"        {compact_bytes(size):>7}  {label:<12}"
            lines.append(begin + listed(names, width - len(begin)))
    return lines


def _total(parts: Sequence[Held]) -> int:
    return sum(h.size_bytes for h in parts)


def _brief(held: Held) -> str:
    return compact_bytes(held.size_bytes)


# ---------------------------------------------------------------- what the online rule keeps


def kept_table(rows: Sequence[KeptRow], width: int = 80) -> Table:
    """One row for each level of how many times slower than planned loads are."""
    spans = [_span(r) + (" (planned)" if r.planned else "") for r in rows]
    room = width - max(map(len, spans)) - 4
    return fitted(
        "Kept over loops by the online rule",
        (
            Column("loads slower", spans, left=True),
            Column(
                "kept", [listed(r.chunks, room) if r.chunks else "none" for r in rows], left=True
            ),
        ),
        width,
    )


def _span(r: KeptRow) -> str:
    if r.below is None:
        return f"{r.slower:g} x or more"
    return f"below {r.below:g} x" if r.slower <= 0 else f"{r.slower:g} to {r.below:g} x"
