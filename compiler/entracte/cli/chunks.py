"""Chunks of a plan: one table of them, and all about one."""

from collections.abc import Iterable, Iterator, Sequence

from rich.table import Table

from entracte.cli.tables import Column, fitted, listed, taken
from entracte.inspect.compared import decibels
from entracte.inspect.overview import ChunkRow, Overview
from entracte.inspect.residency import Stay
from entracte.ir import Plan, Port
from entracte.units import (
    compact_bytes,
    compact_count,
    compact_seconds,
    format_bytes,
    format_seconds,
)

_STRIP = 40
"""Columns, at most, of the picture of when a chunk is in memory."""


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


def loads_name(made: Overview) -> str:
    """What the column of loads counts."""
    return "pages" if made.page_bytes else "loads"


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
        Column(loads_name(made), [str(c.loads) for c in chunks], 1),
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
