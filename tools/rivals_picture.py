"""The picture of `tools/bench_rivals.py`: predicted time against the budget, a line for a rule."""

import math
from collections.abc import Sequence
from typing import Protocol
from xml.sax.saxutils import escape

PANELS = ("H3, 1.35 s", "H3, 2.14 s", "FLUX, 28 steps")
COLOURS = {
    "LRU": "#9a9a9a",
    "group offload": "#b07aa1",
    "two buffers": "#4e79a7",
    "CI-DL": "#e8912d",
    "first N stay": "#76b7b2",
    "N spread stay": "#59a14f",
    "whole components": "#7b4f2e",
    "ours": "#d62728",
}
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 270, 220, 52, 52, 66
_INK, _GRID = "#333", "#ddd"


class Point(Protocol):
    """What is drawn of a row."""

    model: str
    rule: str
    budget_bytes: int
    seconds: float
    bound_s: float


def picture(rows: Sequence[Point]) -> str:
    """An SVG: the panels side by side, the legend below; the dashed line is the bound."""
    width = _LEFT + len(PANELS) * (_WIDTH + _GAP) - 20
    height = _TOP + _HEIGHT + 98
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        _text(_LEFT, 18, "Predicted seconds against the memory for weights (GiB); less is better"),
    ]
    for k, name in enumerate(PANELS):
        parts += _panel([r for r in rows if r.model == name], _LEFT + k * (_WIDTH + _GAP), name)
    parts += _legend(_TOP + _HEIGHT + 62)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(rows: Sequence[Point], left: int, name: str) -> list[str]:
    budgets = sorted({r.budget_bytes for r in rows})
    bounds = {r.budget_bytes: r.bound_s for r in rows}
    top_s = 4 * _round_up(max(r.seconds for r in rows) / 4)

    def at(budget: int, seconds: float) -> tuple[float, float]:
        x = left + _WIDTH * budget / budgets[-1]
        return x, _TOP + _HEIGHT * (1 - seconds / top_s)

    parts = [_text(left + _WIDTH / 2, _TOP - 10, name, "middle", "bold")]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = _TOP + _HEIGHT * (1 - share)
        parts.append(_line([(left, y), (left + _WIDTH, y)], _GRID, 1))
        parts.append(_text(left - 6, y + 4, f"{share * top_s:.0f}", "end"))
    for budget in budgets:
        gib = budget / 2**30
        parts.append(_text(at(budget, 0)[0], _TOP + _HEIGHT + 18, f"{gib:.1f}", "middle"))
    for rule, colour in COLOURS.items():
        own = sorted((r.budget_bytes, r.seconds) for r in rows if r.rule == rule)
        points = [at(*one) for one in own]
        thick = 3 if rule == "ours" else 1.6
        parts.append(_line(points, colour, thick))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    parts.append(_line([at(b, bounds[b]) for b in budgets], _INK, 1, "4 3"))
    return parts


def _round_up(value: float) -> float:
    """To 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(k * power for k in (1, 2, 2.5, 5, 10) if k * power >= value)


def _legend(y: float) -> list[str]:
    parts, x = [], float(_LEFT)
    for rule, colour in {**COLOURS, "bound": _INK}.items():
        dashes = "4 3" if rule == "bound" else ""
        parts.append(_line([(x, y), (x + 20, y)], colour, 3 if rule == "ours" else 1.6, dashes))
        parts.append(_text(x + 26, y + 4, rule))
        x += 46 + 7 * len(rule)
    return parts


def _text(x: float, y: float, words: str, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{_INK}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )


def _line(
    points: Sequence[tuple[float, float]], colour: str, thick: float, dashes: str = ""
) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{thick}" '
        f'stroke-dasharray="{dashes}"/>'
    )
