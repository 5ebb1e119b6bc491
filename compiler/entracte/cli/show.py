"""Tables about a plan, for 80 columns and more."""

import shlex
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from entracte.calibrate.errors import class_errors
from entracte.calibrate.observed import observations
from entracte.cli.calibrate import error_table
from entracte.cli.chunks import chunk_lines, chunk_table, loads_name, selected
from entracte.cli.given import example_words
from entracte.cli.held import budget_line, kept_table, peak_lines
from entracte.cli.lanes import show_window
from entracte.cli.observed import show_alarm, show_run
from entracte.cli.tables import Column, fitted, hanging, say
from entracte.cli.verdict import converted_lines, time_line, verdict_lines
from entracte.clock.drivers import DRIVERS
from entracte.inspect.about import about, about_lines, other_units
from entracte.inspect.compared import comparison
from entracte.inspect.graphs import shared_lines
from entracte.inspect.overview import Overview, StageRow, overview
from entracte.inspect.shared import apart
from entracte.inspect.typed import limit
from entracte.ir import Plan, Run
from entracte.run.alarm import alarm_of
from entracte.units import (
    compact_bytes,
    compact_count,
    compact_seconds,
    format_seconds,
)

_SAID = ("weights", "size", "halves", "chosen", "demo", "untried")
"""Lines of a plan's head that `compile` says too."""


def show_summary(
    console: Console,
    plan: Plan,
    folder: Path | None,
    seconds: float,
    dry_run_s: float | None = None,
) -> None:
    """What `compile` ends with: stages, memory, time, and what to type next; `dry_run_s` is the
    time that was predicted before anything was converted."""
    made = overview(plan)
    console.print(stage_table(made, console.width))
    say(console, budget_line(plan), time_line(plan), *verdict_lines(made))
    say(console, *converted_lines(plan, dry_run_s))
    show_comparison(console, plan)
    lines = about_lines(about(plan, composes=False))
    show_about(console, [x for x in lines if x[0] in _SAID])
    if not plan.built:
        say(console, f"dry run in {format_seconds(seconds)}; nothing was converted")
    else:
        say(console, f"compiled in {format_seconds(seconds)}")
    if folder is None:
        return
    place = shlex.quote(str(folder))
    commands = [f"next:  plan show {place}", f"       plan report {place}"]
    if plan.built:
        commands.append(f"       plan run {place} {example_words(plan)}")
    console.print(Text("\n" + "\n".join(commands)), soft_wrap=True)


def show_plan(
    console: Console,
    plan: Plan,
    *,
    stage: str | None = None,
    chunk: str | None = None,
    run: Run | None = None,
) -> None:
    """The whole inspection: header, stages, chunks, schedule of each loop, memory, time; and
    what a recorded run made of it. Of a stage its chunks, of a chunk everything."""
    made = overview(plan)
    chosen = selected(made.chunks, stage, chunk)
    is_whole = stage is None and chunk is None
    _header(console, plan, made, run)
    if chunk is not None:
        say(console, *chunk_lines(plan, chosen[0]), "")
    else:
        if is_whole:
            console.print(stage_table(made, console.width))
        console.print(chunk_table(chosen, made, console.width))
    if is_whole:
        _show_loops(console, plan, made)
    say(console, budget_line(plan))
    if is_whole:
        say(console, *peak_lines(made, console.width))
    say(console, time_line(plan))
    if is_whole:
        say(console, *verdict_lines(made), *converted_lines(plan))
        show_comparison(console, plan)
        for line in shared_lines(plan):
            say(console, hanging("graphs  ", line))
        for line in apart(plan):
            say(console, hanging("weights ", line), style="yellow")
    if run is not None:
        _show_observed(console, plan, run, is_whole)


def _show_loops(console: Console, plan: Plan, made: Overview) -> None:
    for window in made.steady:
        show_window(console, plan.program.segments[window.segment], window)
    if made.kept:
        console.print(kept_table(made.kept, console.width))


def _show_observed(console: Console, plan: Plan, run: Run, is_whole: bool) -> None:
    """Of a stage or a chunk only what is wrong."""
    if is_whole:
        console.print()
        show_run(console, plan, run)
        if found := class_errors(observations(plan, run), plan.target):
            console.print(error_table(found, console.width))
    else:
        show_alarm(console, alarm_of(plan, run))


def show_comparison(console: Console, plan: Plan) -> None:
    """What comparing packages with their source found; in yellow if it was not done."""
    found = comparison(plan)
    if found is None or not found.summary:
        return
    style = "" if found.is_done else "yellow"
    say(console, hanging("numbers ", found.summary), style=style)
    for note in found.notes:
        say(console, hanging(" " * 8, note), style="yellow")


def _header(console: Console, plan: Plan, made: Overview, run: Run | None) -> None:
    state = "built" if plan.built else "dry run, not built"
    say(console, plan.title, style="bold")
    say(
        console,
        f"{plan.target.title}; policy {made.policy}; {state}",
        f"compute unit {_units(plan)}; the runner follows {DRIVERS[made.driver].title}"
        + (f", by pages of {limit(plan, 'page_bytes')}" if made.page_bytes else "")
        + "\n",
    )
    show_about(console, about_lines(about(plan), run))
    console.print()


def show_about(console: Console, lines: Iterable[tuple[str, str]]) -> None:
    """A label and its sentence, wrapped; a command in one line, to be typed."""
    for label, text in lines:
        if label == "made by":
            console.print(Text(f"{label:<8}{text}"), soft_wrap=True)
        else:
            say(console, hanging(f"{label:<8}", text))


def _units(plan: Plan) -> str:
    """The target's, and which stages, or how many of their chunks, have another one."""
    told = [
        f"of {graph} {unit}" if n == whole else f"of {n} of {whole} chunks of {graph} {unit}"
        for graph, unit, n, whole in other_units(plan)
    ]
    return ", ".join([plan.target.compute_unit, *told])


# ---------------------------------------------------------------- stages


def stage_table(made: Overview, width: int = 80) -> Table:
    """One row per stage: chunks, bytes, operations, calls, computing; loads where there is room."""
    rows = made.stages
    total = max(made.compute_s, 1e-12)
    sums = (
        "all",
        str(len(made.chunks)),
        compact_bytes(sum(s.weight_bytes for s in rows)),
        "",
        compact_count(sum(s.flops for s in rows)),
        "",
        compact_seconds(made.compute_s),
        "",
        str(made.loads),
        compact_bytes(made.loaded_bytes),
        compact_seconds(made.loading_s),
        compact_seconds(made.stall_s),
    )
    cells = [*(_stage_cells(s, total) for s in rows), sums]
    names = ("stage", "chunks", "weights", "activ.", "FLOPs", "calls", "computing", "share")
    more = (loads_name(made), "read", "loading", "waiting")
    ranks = (*(0 for _ in names), 1, 1, 2, 3)
    columns = [
        Column(name, column, rank, left=name == "stage")
        for name, rank, column in zip((*names, *more), ranks, zip(*cells, strict=True), strict=True)
    ]
    return fitted("Stages", columns, width, total=True)


def _stage_cells(s: StageRow, compute_s: float) -> tuple[str, ...]:
    return (
        s.name,
        str(s.chunks),
        compact_bytes(s.weight_bytes),
        compact_bytes(s.activation_bytes),
        compact_count(s.flops),
        str(s.calls),
        compact_seconds(s.compute_s),
        f"{100 * s.compute_s / compute_s:.0f} %",
        str(s.loads),
        compact_bytes(s.loaded_bytes),
        compact_seconds(s.load_s),
        compact_seconds(s.wait_s),
    )
