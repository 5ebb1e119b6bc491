"""What changed from one plan to another: settings, chunks, bytes, memory, and where the time went.

Pure functions of plans; `plan compare` prints them, `--json` writes them, limits judge them.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from entracte.errors import ConfigError
from entracte.inspect.command import CHOSEN
from entracte.inspect.overview import ChunkRow, Overview, overview
from entracte.ir import Plan
from entracte.units import parse_bytes

DRIVER = "(driver)"
"""The plan's, among the settings; no key path is written like this."""
MISSING = "-"
"""In place of a setting or chunk that one of the two plans does not have."""
FIGURE_NAMES = {
    "makespan": "predicted time",
    "compute": "computing",
    "stall": "waiting",
    "loaded": "read",
    "exec": "call",
}
"""Figures whose name in `--json` is not the word that tables say."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A resolved setting that differs, by its key path; values as JSON, `MISSING` for none."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of both plans. `unit`: bytes, seconds, count, bool or decibels."""

    name: str
    unit: str
    before: float
    after: float

    @property
    def change(self) -> float:
        """By how much it grew, in its unit."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class ChunkChange:
    """A chunk that one plan has, or that differs: the figures that do."""

    id: str
    how: str
    """added, removed or changed."""
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class TimeRow:
    """Seconds of one stage in the predicted run: computing, loading, and calls waiting."""

    stage: str
    compute_s: tuple[float, float]
    load_s: tuple[float, float]
    wait_s: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that differs between two plans; of `figures`, all there are."""

    settings: tuple[Setting, ...]
    figures: tuple[Figure, ...]
    chunks: tuple[ChunkChange, ...]
    stages: tuple[TimeRow, ...]
    stalls: tuple[Figure, ...]
    """By cause: see `Forecast.stalls`."""
    loop_fits: bool = False
    """In both: policies differ by nothing that a loop does (`Overview.loop_fits`)."""

    def figure(self, name: str) -> Figure:
        """The figure of that name. Raises `StopIteration` where there is none."""
        return next(f for f in self.figures if f.name == name)


def compare(before: Plan, after: Plan) -> Comparison:
    """Everything that differs from `before` to `after`."""
    a, b = overview(before), overview(after)
    return Comparison(
        settings=tuple(_settings(before, after)),
        figures=tuple(_figures(a, b)),
        chunks=tuple(_chunks(a, b)),
        stages=tuple(_stages(a, b)),
        stalls=tuple(_stalls(a, b)),
        loop_fits=a.loop_fits and b.loop_fits,
    )


# ---------------------------------------------------------------- settings


def _settings(before: Plan, after: Plan) -> Iterator[Setting]:
    """Key paths with dots, in the order of the first plan, then the second's own; and the driver,
    gates or the online rule, which may differ where all settings are the same. What was tried for a
    setting is none."""
    a, b = flat(before.settings), flat(after.settings)
    a[DRIVER], b[DRIVER] = json.dumps(before.schedule.driver), json.dumps(after.schedule.driver)
    for key in dict.fromkeys((*a, *b)):
        pair = (a.get(key, MISSING), b.get(key, MISSING))
        if pair[0] != pair[1] and key.partition(".")[0] != CHOSEN:
            yield Setting(key, *pair)


def flat(text: str) -> dict[str, str]:
    """A plan's settings: key path to value, as JSON. Text that is no JSON is one value."""
    try:
        return dict(_leaves(json.loads(text), ""))
    except (ValueError, RecursionError):
        return {"settings": json.dumps(text)}


def _leaves(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            # A key is a stranger's text too: what it may not hold unescaped, JSON escapes.
            yield from _leaves(item, f"{path}.{_key(key)}" if path else _key(key))
    else:
        yield path, json.dumps(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w./@:-]+", key, re.ASCII) else json.dumps(key)


# ---------------------------------------------------------------- figures


def _figures(a: Overview, b: Overview) -> Iterator[Figure]:
    for name, unit, of in _FIGURES:
        # A dry run has no packages: nothing to compare them with.
        if name != "packages" or (a.built and b.built):
            yield Figure(name, unit, of(a), of(b))


_FIGURES: tuple[tuple[str, str, Callable[[Overview], float]], ...] = (
    ("budget", "bytes", lambda o: o.budget_bytes),
    ("peak", "bytes", lambda o: o.peak_bytes),
    ("makespan", "seconds", lambda o: o.makespan_s),
    ("compute", "seconds", lambda o: o.compute_s),
    ("stall", "seconds", lambda o: o.stall_s),
    ("loading", "seconds", lambda o: o.loading_s),
    ("lower bound", "seconds", lambda o: o.lower_bound_s),
    ("loaded", "bytes", lambda o: o.loaded_bytes),
    ("loads", "count", lambda o: o.loads),
    ("weights", "bytes", lambda o: sum(c.weight_bytes for c in o.chunks)),
    ("packages", "bytes", lambda o: sum(c.file_bytes for c in o.chunks)),
    ("chunks", "count", lambda o: len(o.chunks)),
    ("operations", "count", lambda o: sum(c.flops for c in o.chunks)),
)


def _stalls(a: Overview, b: Overview) -> Iterator[Figure]:
    one, two = dict(a.stalls), dict(b.stalls)
    for cause in dict.fromkeys((*one, *two)):
        yield Figure(cause, "seconds", one.get(cause, 0.0), two.get(cause, 0.0))


def _stages(a: Overview, b: Overview) -> Iterator[TimeRow]:
    one, two = {s.name: s for s in a.stages}, {s.name: s for s in b.stages}
    for name in dict.fromkeys((*one, *two)):
        x, y = one.get(name), two.get(name)

        def both(field: str, x: object = x, y: object = y) -> tuple[float, float]:
            return getattr(x, field, 0.0), getattr(y, field, 0.0)

        yield TimeRow(name, both("compute_s"), both("load_s"), both("wait_s"))


def _chunks(a: Overview, b: Overview) -> Iterator[ChunkChange]:
    one, two = {c.id: c for c in a.chunks}, {c.id: c for c in b.chunks}
    for id in dict.fromkeys((*one, *two)):
        figures = tuple(_of_chunk(one.get(id), two.get(id)))
        if id not in one or id not in two:
            yield ChunkChange(id, "removed" if id in one else "added", figures)
        elif figures:
            yield ChunkChange(id, "changed", figures)


_OF_CHUNK: tuple[tuple[str, str, Callable[[ChunkRow], float]], ...] = (
    ("weights", "bytes", lambda c: c.weight_bytes),
    ("activations", "bytes", lambda c: c.activation_bytes),
    ("in", "bytes", lambda c: c.input_bytes),
    ("out", "bytes", lambda c: c.output_bytes),
    ("load", "seconds", lambda c: c.load_s),
    ("exec", "seconds", lambda c: c.exec_s),
    ("loads", "count", lambda c: c.loads),
    ("calls", "count", lambda c: c.calls),
    ("kept", "bool", lambda c: c.kept),
    ("PSNR", "decibels", lambda c: c.psnr_db or 0.0),
)


def _of_chunk(before: ChunkRow | None, after: ChunkRow | None) -> Iterator[Figure]:
    """The figures that differ; 0 for a chunk that is not there. A PSNR differs from another one,
    not from none: that it was measured is no change of the chunk."""
    for name, unit, of in _OF_CHUNK:
        if unit == "decibels" and not (before and before.psnr_db and after and after.psnr_db):
            continue
        pair = (of(before) if before else 0.0, of(after) if after else 0.0)
        if pair[0] != pair[1]:
            yield Figure(name, unit, *pair)


# ---------------------------------------------------------------- limits


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a figure may grow: a share of what it was, or an amount in its unit."""

    figure: str
    text: str
    share: float | None
    amount: float

    def allowed(self, before: float) -> float:
        """The growth that is allowed from a figure of `before`, in its unit."""
        return before * self.share if self.share is not None else self.amount


_PERCENT = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*$")
_SECONDS = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|)\s*$")


def limits(options: Mapping[str, str | None], flags: Mapping[str, str]) -> tuple[Limit, ...]:
    """`{figure: text}` read; `flags` has each figure's option for the message of an error.

    Raises `ConfigError` for what is neither a share nor an amount.
    """
    return tuple(
        _limit(name, text, flags[name]) for name, text in options.items() if text is not None
    )


def _limit(name: str, text: str, flag: str) -> Limit:
    percent = _PERCENT.match(text)
    if percent is not None:
        return Limit(name, text, float(percent[1]) / 100, 0.0)
    if name != "makespan":
        return Limit(name, text, None, parse_bytes(text, flag))
    seconds = _SECONDS.match(text)
    if seconds is None:
        raise ConfigError(f"{flag}: {text!r} is no time; write 2%, 0.5s or 20ms")
    return Limit(name, text, None, float(seconds[1]) * (1e-3 if seconds[2] == "ms" else 1.0))


def broken(made: Comparison, allowed: Sequence[Limit]) -> tuple[Limit, ...]:
    """The limits that this change does not keep. (Times differ in the last digits by machine.)"""
    found = []
    for limit in allowed:
        figure = made.figure(limit.figure)
        slack = 1e-9 * abs(figure.before) if figure.unit == "seconds" else 0.0
        if figure.change > limit.allowed(figure.before) + slack:
            found.append(limit)
    return tuple(found)
