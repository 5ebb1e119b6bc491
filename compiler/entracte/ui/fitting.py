"""`plan fits` on the page: what it printed as JSON, as a table of targets."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from entracte.codec import parse_json
from entracte.ui.jobs import Status
from entracte.ui.shown import table
from entracte.units import compact_bytes, compact_seconds

_MOST = 200
"""Rows that are shown."""
_HEAD = ("target", "limit", "fits", "peak", "of budget", "needs", "time", "chunks")
_HONEST = (
    "<p class='about'>Nothing was run on any of these devices: memory is proven for the budget, "
    "times are predicted from each target's figures, of which some are estimates.</p>"
)


def fits_html(status: Status) -> str:
    """The table, and why some do not fit; empty where the job printed none."""
    try:
        rows = _rows(parse_json("\n".join(status.lines)))
    except (ValueError, LookupError, TypeError):
        return ""
    reasons = "".join(
        f"<li>{escape(_called(r))}: {escape('; '.join(map(str, r['missing']))[:2000])}</li>"
        for r in rows
        if not r["fits"]
    )
    told = f"<ul>{reasons}</ul>" if reasons else ""
    return table(_HEAD, map(_cells, rows), "Targets, fastest first") + told + _HONEST


def _rows(found: Any) -> Sequence[Mapping[str, Any]]:
    rows = found["rows"]
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise TypeError("no rows")
    return rows[:_MOST]


def _cells(r: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(r["target"]),
        str(r["limit"]),
        "yes" if r["fits"] else "no",
        _size(r["peak_bytes"]),
        _size(r["budget_bytes"]),
        _size(r["least_memory_bytes"]),
        "" if r["makespan_s"] is None else compact_seconds(float(r["makespan_s"])),
        str(r["chunks"]) if r["fits"] else "",
    )


def _size(value: Any) -> str:
    return "" if value is None else compact_bytes(int(value))


def _called(r: Mapping[str, Any]) -> str:
    return f"{r['target']} ({r['limit']})" if r["limit"] else str(r["target"])
