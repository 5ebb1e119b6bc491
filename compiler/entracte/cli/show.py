"""Tables about a plan, for 80 columns and more."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from entracte.cli.given import example_words
from entracte.cli.held import budget_line, kept_table, peak_lines
from entracte.cli.lanes import show_window
from entracte.cli.observed import show_alarm, show_run
from entracte.cli.tables import Column, fitted, hanging, listed, say, taken
from entracte.cli.verdict import converted_lines, time_line, verdict_lines
from entracte.clock.drivers import DRIVERS
from entracte.inspect.compared import comparison, decibels
from entracte.inspect.overview import ChunkRow, Overview, StageRow, overview
from entracte.inspect.residency import Stay
from entracte.inspect.shared import apart
from entracte.inspect.typed import limit
from entracte.ir import Plan, Port, Run
from entracte.run.alarm import alarm_of
from entracte.units import (
    compact_bytes,
    compact_count,
    compact_seconds,
    format_bytes,
    format_seconds,
)

_STRIP = 40
"""Columns, at most, of the picture of when a chunk is in memory."""


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
    if not plan.built:
        say(console, f"dry run in {format_seconds(seconds)}; nothing was converted")
    else:
        say(console, f"compiled in {format_seconds(seconds)}")
    if folder is None:
        return
    commands = [f"next:  plan show {folder}", f"       plan report {folder}"]
    if plan.built:
        commands.append(f"       plan run {folder} {example_words(plan)}")
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
    _header(console, plan, made)
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
        for line in apart(plan):
            say(console, hanging("weights ", line), style="yellow")
    if plan.target.estimated:
        names = ", ".join(plan.target.estimated)
        say(console, f"estimated figures of {plan.target.name}: {names}", style="dim")
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


def _header(console: Console, plan: Plan, made: Overview) -> None:
    state = "built" if plan.built else "dry run, not built"
    say(console, plan.title, style="bold")
    say(
        console,
        f"{plan.target.title}; policy {made.policy}; {state}",
        f"compute unit {_units(plan)}; the runner follows {DRIVERS[made.driver].title}"
        + (f", by pages of {limit(plan, 'page_bytes')}" if made.page_bytes else "")
        + "\n",
    )


def _units(plan: Plan) -> str:
    """The target's, and which stages have another one."""
    target = plan.target.compute_unit
    own = {c.graph: c.compute_unit for c in plan.chunks if c.compute_unit not in ("", target)}
    return ", ".join([target, *(f"of {stage} {unit}" for stage, unit in own.items())])


def selected(
    chunks: Iterable[ChunkRow], stage: str | None, chunk: str | None
) -> tuple[ChunkRow, ...]:
    """Those of a stage (or of one part of it), of which they may be functions only; or one."""
    return tuple(
        c
        for c in chunks
        if (stage is None or stage in (c.stage, c.stage.split(".")[0], *c.stages))
        and (chunk is None or c.id == chunk)
    )


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
    more = (_loads(made), "read", "loading", "waiting")
    ranks = (*(0 for _ in names), 1, 1, 2, 3)
    columns = [
        Column(name, column, rank, left=name == "stage")
        for name, rank, column in zip((*names, *more), ranks, zip(*cells, strict=True), strict=True)
    ]
    return fitted("Stages", columns, width, total=True)


def _loads(made: Overview) -> str:
    return "pages" if made.page_bytes else "loads"


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


# ---------------------------------------------------------------- chunks


def chunk_table(chunks: Sequence[ChunkRow], made: Overview, width: int = 80) -> Table:
    """One row per chunk; with more room also when it is in memory, the compute unit, operations.

    `cold` is a package's first load in a run, where the target has that take longer. Forms and PSNR
    are there once packages are: PSNR when `plan verify` measured it.
    """
    scores = [_decibels(c.psnr_db) for c in chunks]
    forms = [c.form for c in chunks]
    cold = [compact_seconds(c.first_load_s) if c.is_cold else "" for c in chunks]
    columns = [
        Column("chunk", [c.id for c in chunks], left=True),
        Column("weights", [compact_bytes(c.weight_bytes) for c in chunks]),
        Column("activ.", [compact_bytes(c.activation_bytes) for c in chunks]),
        Column("in", [compact_bytes(c.input_bytes) for c in chunks], 2),
        Column("out", [compact_bytes(c.output_bytes) for c in chunks], 3),
        Column("load", [compact_seconds(c.load_s) for c in chunks]),
        *([Column("cold", cold)] if any(cold) else []),
        Column("call", [compact_seconds(c.exec_s) for c in chunks]),
        Column(_loads(made), [str(c.loads) for c in chunks], 1),
        Column("kept", ["yes" if c.kept else "no" for c in chunks], 4),
        Column("from", [_stay(c.stays)[0] for c in chunks], 5),
        Column("to", [_stay(c.stays)[1] for c in chunks], 5),
        Column("FLOPs", [compact_count(c.flops) for c in chunks], 7),
        *([Column("form", forms, left=True)] if any(forms) else []),
        *([Column("PSNR", scores)] if any(scores) else []),
        Column("unit", [c.compute_unit for c in chunks], 6, left=True),
    ]
    room = min(_STRIP, width - taken(columns) - 2)
    if room >= len("in memory"):
        strips = [strip(c.stays, made.makespan_s, room) for c in chunks]
        columns.append(Column("in memory", strips, 8, left=True))
    return fitted("Chunks", columns, width)


def _stay(stays: tuple[Stay, ...]) -> tuple[str, str]:
    if not stays:
        return "", ""
    return compact_seconds(stays[0].start_s), compact_seconds(stays[-1].end_s)


def strip(stays: tuple[Stay, ...], makespan_s: float, room: int) -> str:
    """When a chunk is in memory, over the whole run: `#` all the time, `+` part of it."""
    cell = max(makespan_s, 1e-12) / room
    there = [0.0] * room
    for s in stays:
        for k in range(int(s.start_s / cell), min(room, int(s.end_s / cell) + 1)):
            there[k] += max(0.0, min(s.end_s, (k + 1) * cell) - max(s.start_s, k * cell))
    return "".join("#" if t > 0.95 * cell else "+" if t > 0 else "." for t in there)


def _decibels(value: float | None) -> str:
    return "" if value is None else decibels(value, 0)


def chunk_lines(plan: Plan, c: ChunkRow) -> list[str]:
    """Everything about one chunk."""
    chunk = next(x for x in plan.chunks if x.id == c.id)
    stays = [f"{format_seconds(s.start_s)} to {format_seconds(s.end_s)}" for s in c.stays]
    form = c.form or "not built"
    cold = f", the first {format_seconds(c.first_load_s)} (cold)" if c.is_cold else ""
    lines = [
        f"chunk {c.id} of stage {c.stage}",
        f"  weights      {format_bytes(c.weight_bytes)}; {format_bytes(c.file_bytes)} on disk",
        f"  activations  {format_bytes(c.activation_bytes)} at their peak",
        f"  form         {form}; PSNR {_decibels(c.psnr_db) or 'not measured (`plan verify`)'}",
        f"  unit         {c.compute_unit}; functions {', '.join(c.functions)}",
        f"  operations   {compact_count(c.flops)} FLOPs in {c.calls} calls, "
        f"{format_seconds(c.exec_s)} each",
        f"  loads        {c.loads} of {format_bytes(c.loaded_bytes)} in all, "
        f"{format_seconds(c.load_s)} each{cold}; "
        + ("kept over its loop" if c.kept else "not kept"),
        f"  in memory    {listed(stays, 60)}",
        f"  package      {c.path or 'not built'}",
    ]
    lines += _port_lines(chunk.inputs, chunk.outputs)
    for v in chunk.others:
        lines += [f"function {v.name}, of stage {v.graph}", *_port_lines(v.inputs, v.outputs)]
    return lines


def _port_lines(inputs: Iterable[Port], outputs: Iterable[Port]) -> Iterator[str]:
    for side, ports in (("input", inputs), ("output", outputs)):
        for p in ports:
            shape = " x ".join(map(str, p.shape)) or "1"
            yield f"  {side:<12} {p.name}: {shape} {p.dtype}, {format_bytes(p.size_bytes)}"
