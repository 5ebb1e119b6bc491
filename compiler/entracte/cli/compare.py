"""`plan compare`: what changed from one plan to others, and whether that is allowed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from entracte.cli.files import read_for_show
from entracte.cli.observed import show_alarm
from entracte.cli.shared import build_folder
from entracte.cli.tables import Column, fitted, listed, say
from entracte.errors import ConfigError
from entracte.inspect.bottleneck import FITS
from entracte.inspect.causes import CAUSES
from entracte.inspect.compare import (
    FIGURE_NAMES,
    ChunkChange,
    Comparison,
    Figure,
    Limit,
    broken,
    compare,
    limits,
)
from entracte.inspect.compared import decibels
from entracte.ir import Plan
from entracte.run.alarm import Alarm, alarm_of
from entracte.run.record import run_of
from entracte.units import compact_bytes, compact_count, compact_seconds

FLAGS = {
    "makespan": "--max-time-increase",
    "peak": "--max-peak-increase",
    "loaded": "--max-loaded-increase",
    "weights": "--max-weights-increase",
}


def compare_builds(
    console: Console, builds: Sequence[Path], options: Mapping[str, str | None], *, as_json: bool
) -> bool:
    """Compare the first build's plan with each other one; whether one is worse than allowed, or a
    recorded run of any took more than is proven."""
    if len(builds) < 2:
        raise ConfigError("give two build folders or more: the base, then what to compare with it")
    allowed = limits(options, FLAGS)
    plans = [read_for_show(path) for path in builds]
    alarms = {path: _alarm(plan, path) for path, plan in zip(builds, plans, strict=True)}
    made = [(path, compare(plans[0], p)) for path, p in zip(builds[1:], plans[1:], strict=True)]
    faults = [(path, broken(c, allowed)) for path, c in made]
    bad = any(found for _, found in faults) or any(alarms.values())
    if as_json:
        typer.echo(_json(builds[0], made, dict(faults), alarms))
        return bad
    for path, comparison in made:
        show_comparison(console, str(builds[0]), str(path), comparison)
    for path, comparison in made:
        say(console, *verdict(str(path), comparison, allowed, broken(comparison, allowed)))
    for path, alarm in alarms.items():
        show_alarm(console, alarm, str(path))
    return bad


def _alarm(plan: Plan, build: Path) -> Alarm | None:
    """Of the run that is recorded beside the plan, if there is one. Raises `PlanError`."""
    run = run_of(plan, build_folder(build))
    return alarm_of(plan, run) if run is not None else None


def _json(
    base: Path,
    made: Sequence[tuple[Path, Comparison]],
    faults: Mapping[Path, tuple[Limit, ...]],
    alarms: Mapping[Path, Alarm | None],
) -> str:
    told = {path: asdict(alarm) if alarm else None for path, alarm in alarms.items()}
    compared = [
        {
            "plan": str(path),
            "broken": [asdict(x) for x in faults[path]],
            "alarm": told[path],
            **asdict(c),
        }
        for path, c in made
    ]
    body = {"base": str(base), "worse": any(faults.values()), "alarm": told[base]}
    return json.dumps(body | {"compared": compared}, indent=1)


# ---------------------------------------------------------------- tables


def show_comparison(console: Console, before: str, after: str, made: Comparison) -> None:
    """All tables of one comparison; those in which nothing differs are a line."""
    say(console, f"{before} -> {after}", style="bold")
    console.print()
    if made.settings:
        console.print(settings_table(made, console.width))
    else:
        say(console, "the same settings\n")
    console.print(figures_table(made.figures, console.width))
    console.print(time_table(made, console.width))
    if made.chunks:
        console.print(chunks_table(made.chunks, console.width))
    else:
        say(console, "the same chunks\n")
    if made.loop_fits:
        say(console, f"in both: {FITS}\n")


def settings_table(made: Comparison, width: int = 80) -> Table:
    """Key paths and values, shortened to fit."""
    keys = [s.key for s in made.settings]
    room = max(10, (width - max(map(len, keys)) - 6) // 2)
    return fitted(
        "Settings",
        (
            Column("key", keys, left=True),
            Column("before", [_short(s.before, room) for s in made.settings], left=True),
            Column("after", [_short(s.after, room) for s in made.settings], left=True),
        ),
        width,
    )


def _short(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 3] + "..."


def figures_table(figures: Sequence[Figure], width: int = 80) -> Table:
    """Both plans' figures; what is the same has no change."""
    return fitted(
        "Figures",
        (
            Column("", [_name(f) for f in figures], left=True),
            Column("before", [_value(f, f.before) for f in figures]),
            Column("after", [_value(f, f.after) for f in figures]),
            Column("change", [_change(f) for f in figures]),
            Column("", [_percent(f) for f in figures]),
        ),
        width,
    )


def _name(f: Figure) -> str:
    return FIGURE_NAMES.get(f.name, f.name)


def _value(f: Figure, value: float) -> str:
    if f.unit == "bytes":
        return compact_bytes(value)
    if f.unit == "seconds":
        return compact_seconds(value)
    if f.unit == "decibels":
        return decibels(value, 0)
    return compact_count(value) if f.unit == "count" else ("yes" if value else "no")


def _change(f: Figure) -> str:
    if f.change == 0:
        return ""
    return ("+" if f.change > 0 else "-") + _value(f, abs(f.change))


def _percent(f: Figure) -> str:
    if f.change == 0 or f.before == 0:
        return ""
    return f"{100 * f.change / f.before:+.1f} %"


def time_table(made: Comparison, width: int = 80) -> Table:
    """Where the time went: each stage's computing, loading and waiting; then where calls wait."""
    rows = [(s.stage, s.compute_s, s.load_s, s.wait_s) for s in made.stages]
    names = [r[0] for r in rows]
    columns = [Column("stage", [*names, *(_cause(f) for f in made.stalls)], left=True)]
    blank = [""] * len(made.stalls)
    for k, name in ((1, "computing"), (2, "loading"), (3, "waiting")):
        pairs = [r[k] for r in rows]
        cells = [_pair(*p) for p in pairs]
        more = [_pair(f.before, f.after) for f in made.stalls] if name == "waiting" else blank
        columns.append(Column(name, [*cells, *more]))
    return fitted("Where the time goes", columns, width)


def _cause(f: Figure) -> str:
    return CAUSES.get(f.name, f.name)


def _pair(before: float, after: float) -> str:
    one, two = compact_seconds(before), compact_seconds(after)
    return one if one == two else f"{one} -> {two}"


def chunks_table(chunks: Sequence[ChunkChange], width: int = 80) -> Table:
    """Chunks that came, went or differ, with what differs."""
    ids = [c.id for c in chunks]
    room = max(20, width - max(map(len, ids)) - len("removed") - 6)
    return fitted(
        "Chunks",
        (
            Column("chunk", ids, left=True),
            Column("", [c.how for c in chunks], left=True),
            Column("what", [_short(listed(_differs(c), room), room) for c in chunks], left=True),
        ),
        width,
    )


def _differs(c: ChunkChange) -> list[str]:
    """Of a chunk that both have, before and after; of another its own figures."""
    if c.how == "changed":
        return [f"{_name(f)} {_value(f, f.before)} -> {_value(f, f.after)}" for f in c.figures]
    value = {f.name: f.after if c.how == "added" else f.before for f in c.figures}
    return [f"{_name(f)} {_value(f, value[f.name])}" for f in c.figures if f.unit != "bool"]


# ---------------------------------------------------------------- verdict


def verdict(
    name: str, made: Comparison, allowed: Sequence[Limit], found: Sequence[Limit]
) -> list[str]:
    """One line per limit that is broken, or that all are kept."""
    if not allowed:
        return []
    lines = []
    for limit in found:
        f = made.figure(limit.figure)
        lines.append(
            f"worse: {name}: {_name(f)} {_value(f, f.before)} -> {_value(f, f.after)} "
            f"({_change(f)}{', ' + _percent(f) if _percent(f) else ''}); "
            f"{FLAGS[limit.figure]} allows {limit.text}"
        )
    return lines or [f"{name}: within {', '.join(FLAGS[x.figure] for x in allowed)}"]
