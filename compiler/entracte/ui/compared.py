"""Two plans, builds or runs side by side, as tables."""

from collections.abc import Iterator
from dataclasses import dataclass

from entracte.errors import ConfigError
from entracte.inspect.bottleneck import FITS
from entracte.inspect.compare import FIGURE_NAMES, Comparison, Figure, compare
from entracte.inspect.compared import decibels
from entracte.ir import Plan, Run
from entracte.plan.file import read_plan
from entracte.run.record import read_run, run_of
from entracte.ui.history import Entry
from entracte.ui.places import Root
from entracte.ui.shown import table, typed
from entracte.ui.tasks import RECORD
from entracte.ui.words import line
from entracte.units import format_bytes, format_seconds

_MOST = 40
"""Settings that are listed."""
_TYPED = ("compare", "report")
"""The tables, and the page of both."""


@dataclass(frozen=True, slots=True)
class Thing:
    """What can be compared: a plan or build, with its own record; or a run of one."""

    name: str
    build: str
    plan: Plan
    run: Run | None


def thing(root: Root, name: str, entries: tuple[Entry, ...]) -> Thing:
    """The plan, build or run of that name in the root. Raises `ConfigError` or `PlanError`."""
    of = next((e.of for e in entries if e.kind == "run" and e.place == name), "")
    if not of:
        plan = read_plan(root.build(name))
        return Thing(name, name, plan, run_of(plan, root.existing(name)))
    plan = read_plan(root.build(of))
    record = root.existing(f"{name}/{RECORD}")
    if read_run(record) is None:
        raise ConfigError(f"{name}: has no record")
    return Thing(name, of, plan, run_of(plan, record))


def compared_html(before: Thing, after: Thing) -> str:
    """Tables, and the line to type."""
    made = compare(before.plan, after.plan)
    parts = [_observed(before, after)]
    if before.build != after.build:
        parts += [_planned(before, after, made)]
        told = "".join(typed(line(("plan", w, before.build, after.build))) for w in _TYPED)
        parts.append(f"<p class='typed'>In a terminal, in the same folder:</p>{told}")
    return "".join(parts) or "<p class='quiet'>The same plan, and no two recorded runs.</p>"


def _planned(before: Thing, after: Thing, made: Comparison) -> str:
    head = ("", before.name, after.name, "change")
    parts = [table(head, _figures(made), "Planned")]
    if made.loop_fits:
        parts.append(f"<p>In both: {FITS}</p>")
    settings = [(s.key, s.before[:200], s.after[:200]) for s in made.settings[:_MOST]]
    if settings:
        told = "Settings that differ"
        if len(made.settings) > _MOST:
            told += f" (the first {_MOST} of {len(made.settings)})"
        parts.append(table(("key", before.name, after.name), settings, told))
    chunks = [(c.id, c.how) for c in made.chunks]
    if chunks:
        parts.append(f"<p>{len(chunks)} chunks came, went or differ.</p>")
    return "".join(parts)


def _figures(made: Comparison) -> Iterator[tuple[str, str, str, str]]:
    for f in made.figures:
        name = FIGURE_NAMES.get(f.name, f.name)
        yield name, _value(f, f.before), _value(f, f.after), _change(f)


def _value(f: Figure, value: float) -> str:
    if f.unit == "bytes":
        return format_bytes(value)
    if f.unit == "seconds":
        return format_seconds(value)
    if f.unit == "decibels":
        return decibels(value, 0)
    return f"{value:,.0f}" if f.unit == "count" else ("yes" if value else "no")


def _change(f: Figure) -> str:
    if f.change == 0 or f.unit in ("bool", "decibels"):
        return ""
    share = f" ({100 * f.change / f.before:+.1f} %)" if f.before else ""
    return f"{'+' if f.change > 0 else '-'}{_value(f, abs(f.change))}{share}"


# ---------------------------------------------------------------- runs


def _observed(before: Thing, after: Thing) -> str:
    if before.run is None or after.run is None:
        return ""
    head = ("", before.name, after.name)
    rows = [
        ("device", before.run.device, after.run.device),
        *_pairs(before.run, after.run),
        *_inputs(before.run, after.run),
    ]
    return table(head, rows, "Observed")


def _pairs(a: Run, b: Run) -> Iterator[tuple[str, str, str]]:
    yield "time", format_seconds(a.wall_s), format_seconds(b.wall_s)
    yield "peak", format_bytes(a.peak_bytes), format_bytes(b.peak_bytes)
    yield "waiting", format_seconds(a.stall_s), format_seconds(b.stall_s)
    yield "read", format_bytes(a.loaded_bytes), format_bytes(b.loaded_bytes)
    one, two = dict(a.stage_s), dict(b.stage_s)
    for stage in dict.fromkeys((*one, *two)):
        yield f"stage {stage}", _seconds(one.get(stage)), _seconds(two.get(stage))


def _seconds(value: float | None) -> str:
    return "-" if value is None else format_seconds(value)


def _inputs(a: Run, b: Run) -> Iterator[tuple[str, str, str]]:
    one, two = dict(a.inputs), dict(b.inputs)
    for name in dict.fromkeys((*one, *two)):
        yield f"input {name}", str(one.get(name, "-"))[:200], str(two.get(name, "-"))[:200]
