"""Tables about a plan, for 80 columns and more."""

from collections.abc import Iterable
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from compiler.ir import Call, Chunk, Event, Plan, Run, Segment
from compiler.units import (
    compact_bytes,
    compact_count,
    compact_seconds,
    format_bytes,
    format_seconds,
)

_LANE = 60


def show_summary(console: Console, plan: Plan, folder: Path | None, seconds: float) -> None:
    """What `compile` ends with: stages, memory, time, and what to type next."""
    console.print(stage_table(plan))
    console.print(budget_line(plan))
    console.print(time_line(plan))
    if not plan.built:
        console.print(f"dry run in {format_seconds(seconds)}; nothing was converted")
    else:
        console.print(f"compiled in {format_seconds(seconds)}")
    if folder is not None and plan.built:
        console.print(
            f'\nnext:  plan show {folder}\n       plan run {folder} --prompt "a blue square moves '
            'up" --out clip.mp4',
            soft_wrap=True,
            markup=False,
        )


def show_plan(
    console: Console, plan: Plan, *, stage: str | None = None, chunk: str | None = None
) -> None:
    """The whole inspection: header, stages, chunks, schedule of each loop, budget."""
    state = "built" if plan.built else "dry run, not built"
    console.print(f"[bold]{plan.title}[/bold]")
    console.print(f"{plan.target.title}; policy {plan.schedule.policy.name}; {state}\n")
    if stage is None and chunk is None:
        console.print(stage_table(plan))
    console.print(chunk_table(plan, stage=stage, chunk=chunk))
    if stage is None and chunk is None:
        for s, segment in enumerate(plan.program.segments):
            if segment.is_loop:
                show_iteration(console, plan, s, segment)
    console.print(budget_line(plan))
    console.print(time_line(plan))
    if plan.target.estimated:
        listed = ", ".join(plan.target.estimated)
        console.print(f"[dim]estimated figures of {plan.target.name}: {listed}[/dim]")


def _table(title: str) -> Table:
    return Table(
        title=title,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        collapse_padding=True,
        padding=(0, 1),
    )


def stage_table(plan: Plan) -> Table:
    """One row per stage: packages, bytes, operations, calls, time."""
    table = _table("Stages")
    table.add_column("stage", no_wrap=True)
    for name in ("chunks", "weights", "activ.", "FLOPs", "calls", "time", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    calls, flops = plan.program.call_counts, _flops(plan)
    facts = {f.id: f for f in plan.facts}
    total = max(plan.forecast.compute_s, 1e-12)
    seconds = dict(plan.forecast.stage_s)
    for graph in dict.fromkeys(c.graph for c in plan.chunks):
        chunks = [c for c in plan.chunks if c.graph == graph]
        times = calls[chunks[0].id]
        table.add_row(
            graph,
            str(len(chunks)),
            compact_bytes(sum(facts[c.id].weight_bytes for c in chunks)),
            compact_bytes(max(facts[c.id].activation_bytes for c in chunks)),
            compact_count(sum(flops[c.id] for c in chunks)),
            str(times),
            compact_seconds(seconds.get(graph, 0.0)),
            f"{100 * seconds.get(graph, 0.0) / total:.0f} %",
        )
    weights = sum(f.weight_bytes for f in plan.facts)
    table.add_section()
    table.add_row(
        "all",
        str(len(plan.chunks)),
        compact_bytes(weights),
        "",
        compact_count(sum(flops.values())),
        "",
        compact_seconds(plan.forecast.compute_s),
        "",
    )
    return table


def _flops(plan: Plan) -> dict[str, int]:
    """Operations of all calls of each chunk, by the functions they use."""
    chunks = {c.id: c for c in plan.chunks}
    total = dict.fromkeys(chunks, 0)
    for segment in plan.program.segments:
        for step in segment.steps:
            if not isinstance(step, Call):
                continue
            chunk = chunks[step.chunk]
            by = {v.name: v.flops for v in chunk.variants}
            for i in range(segment.count):
                once = by.get(step.function_at(i), chunk.flops)
                total[step.chunk] += step.repeat * once
    return total


def loop_lines(segment: Segment) -> list[str]:
    """What is special about a loop: an early end, functions that change by iteration."""
    lines = []
    if segment.until is not None:
        lines.append(
            f"  ends early after an iteration whose [bold]{segment.until}[/bold] is not zero"
        )
    switched: dict[tuple[str, tuple[tuple[str, int], ...]], int] = {}
    for step in segment.steps:
        if isinstance(step, Call) and step.switch:
            key = (step.stage, step.switch)
            switched[key] = switched.get(key, 0) + 1
    for stage, switch in switched:
        (first, n), *others = switch
        named = [f"{first} in the first {n} iterations"]
        named += [f"{name} up to the {end}th" for name, end in others]
        lines.append(f"  {stage} calls {', then '.join(named)}, then main")
    return lines


def chunk_table(plan: Plan, *, stage: str | None = None, chunk: str | None = None) -> Table:
    """One row per chunk. PSNR is there once `plan verify` measured it."""
    table = _table("Chunks")
    table.add_column("chunk", no_wrap=True)
    for name in ("weights", "activ.", "out", "load", "exec", "loads", "kept"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("form", no_wrap=True)
    facts = {f.id: f for f in plan.facts}
    loads = _loads(plan)
    packages = {p.chunk: p for p in plan.packages}
    scored = any(p.psnr_db is not None for p in plan.packages)
    if scored:
        table.add_column("PSNR", justify="right", no_wrap=True)
    for c in _selected(plan.chunks, stage, chunk):
        f = facts[c.id]
        package = packages.get(c.id)
        row = [
            c.id,
            compact_bytes(f.weight_bytes),
            compact_bytes(f.activation_bytes),
            compact_bytes(sum(p.size_bytes for p in c.outputs)),
            compact_seconds(f.load_s),
            compact_seconds(f.exec_s),
            str(loads.get(c.id, 0)),
            "loop" if c.id in plan.schedule.resident else "use",
            _precision(package.precision, package.compression) if package else "",
        ]
        if scored:
            row.append(_decibels(package.psnr_db) if package else "")
        table.add_row(*row)
    return table


def _precision(precision: str, compression: str) -> str:
    return precision if compression == "none" else compression


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} dB"


def _selected(chunks: Iterable[Chunk], stage: str | None, chunk: str | None) -> list[Chunk]:
    return [
        c
        for c in chunks
        if (stage is None or c.graph == stage or c.graph.split(".")[0] == stage)
        and (chunk is None or c.id == chunk)
    ]


def _loads(plan: Plan) -> dict[str, int]:
    count: dict[str, int] = {}
    for load in plan.schedule.loads:
        iterations = plan.program.segments[load.segment].count
        times = 1 if load.iterations == "first" else iterations - 1
        count[load.chunk] = count.get(load.chunk, 0) + times
    return count


def show_iteration(console: Console, plan: Plan, number: int, segment: Segment) -> None:
    """One steady iteration of a loop as two lanes: what loads while what computes."""
    events = [e for e in plan.forecast.events if e.segment == number]
    steady = min(2, segment.count - 1)
    own = [e for e in events if e.iteration == steady]
    computing = [e for e in own if e.queue == "compute"]
    if not computing:
        return
    end = computing[-1].end_s
    changing = any(isinstance(s, Call) and s.switch for s in segment.steps)
    alike = 0 if changing else segment.count
    begin = end - _period(events, alike, steady, computing)
    span = max(end - begin, 1e-12)
    console.print(
        f"One steady iteration of [bold]{segment.name}[/bold] ({segment.count} in all): "
        f"{format_seconds(span)}"
    )
    for line in loop_lines(segment):
        console.print(line)
    names = {e.label: chr(ord("A") + i % 26) for i, e in enumerate(computing)}
    shown = [e for e in events if e.queue == "load" and e.end_s > begin and e.start_s < end]
    console.print(f"  load    |{_lane(shown, names, begin, span)}|")
    console.print(f"  compute |{_lane(computing, names, begin, span)}|")
    if not shown:
        console.print("  nothing is loaded: every chunk of the loop stays resident")
    legend = "  ".join(f"{letter} {label}" for label, letter in names.items())
    console.print(f"  [dim]{legend}[/dim]\n")


def _period(events: list[Event], count: int, steady: int, computing: list[Event]) -> float:
    """From the end of one iteration to the end of the next, stalls included."""
    last = [e.end_s for e in events if e.iteration == count - 1 and e.queue == "compute"]
    if count - 1 > steady and last:
        return (last[-1] - computing[-1].end_s) / (count - 1 - steady)
    return computing[-1].end_s - computing[0].start_s


def _lane(events: list[Event], names: dict[str, str], begin: float, span: float) -> str:
    lane = ["."] * _LANE
    for e in events:
        first = max(0, int((e.start_s - begin) / span * _LANE))
        last = min(_LANE, max(first + 1, round((e.end_s - begin) / span * _LANE)))
        for k in range(first, last):
            lane[k] = names.get(e.label, "+")
    return "".join(lane)


def budget_line(plan: Plan) -> str:
    """The proven peak against the budget, and when it is."""
    budget = plan.target.budget_bytes
    share = 100 * plan.forecast.peak_bytes / budget
    return (
        f"memory  peak {format_bytes(plan.forecast.peak_bytes)} of {format_bytes(budget)} budget "
        f"({share:.0f} %), proven for any timing\n"
        f"        at {plan.forecast.peak_step}"
    )


_CAUSES = {
    "start": "at the start",
    "straight": "outside loops",
    "first": "in first iterations",
    "steady": "later",
}
"""`Forecast.stalls` in words."""


def time_line(plan: Plan) -> str:
    """The predicted time and what it is made of."""
    f = plan.forecast
    early = "" if f.earliest_s is None else (
        f"\n        without an early end; {format_seconds(f.earliest_s)} if loops that may end "
        "early do\n        after one iteration"
    )  # fmt: skip
    times = f.makespan_s / max(f.lower_bound_s, 1e-12)
    waits = ", ".join(f"{format_seconds(s)} {_CAUSES[cause]}" for cause, s in f.stalls)
    return (
        f"time    {format_seconds(f.makespan_s)} predicted: computing "
        f"{format_seconds(f.compute_s)}, waiting {format_seconds(f.stall_s)}\n"
        + (f"waits   {waits}\n" if waits else "")
        + f"        {f.loads} loads of {format_bytes(f.loaded_bytes)} in all; "
        f"{times:.2f} x the {f.lower_bound} bound{early}"
    )


def run_table(plan: Plan, run: Run) -> Table:
    """Claimed against observed, per chunk."""
    table = _table(f"Claimed/observed on device {run.device}")
    table.add_column("chunk", no_wrap=True)
    for name in ("calls", "loads", "load", "exec", "activ."):
        table.add_column(name, justify="right", no_wrap=True)
    facts = {f.id: f for f in plan.facts}
    for c in run.chunks:
        f = facts[c.chunk]
        load = compact_seconds(c.load_s / max(1, c.loads))
        execution = compact_seconds(c.exec_s / max(1, c.calls))
        table.add_row(
            c.chunk,
            str(c.calls),
            str(c.loads),
            f"{compact_seconds(f.load_s)}/{load}",
            f"{compact_seconds(f.exec_s)}/{execution}",
            f"{compact_bytes(f.activation_bytes)}/{compact_bytes(c.peak_activation_bytes)}",
        )
    return table


ONLINE = "        the online rule decided what was loaded when; the claim is of the plan's gates"


def run_lines(plan: Plan, run: Run) -> list[str]:
    """Peak and time, claimed against observed."""
    f = plan.forecast
    ends = run.iterations
    counts = {g.name: g.count for g in plan.program.segments}
    anonymous = run.anonymous_peak_bytes
    measured = "" if anonymous is None else (
        f"        the process took {format_bytes(anonymous)} more than at the start, everything "
        "included"
    )  # fmt: skip
    return [
        f"peak    claimed at most {format_bytes(f.peak_bytes)}, observed "
        f"{format_bytes(run.peak_bytes)}",
        *([measured] if measured else []),
        f"time    claimed {format_seconds(f.makespan_s)} on {plan.target.name}, observed "
        f"{format_seconds(run.wall_s)} on device {run.device}",
        *([ONLINE] if plan.schedule.rule == "online" else []),
        f"        waiting for loads {format_seconds(run.stall_s)}; "
        f"{format_bytes(run.loaded_bytes)} loaded",
        *(f"        loop {name} did {done} of {counts[name]} iterations" for name, done in ends),
    ]
