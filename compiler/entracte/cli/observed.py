"""Planned against observed: what `plan run` prints, and `plan show` of a recorded run."""

import json
from pathlib import Path
from textwrap import fill

from rich.console import Console
from rich.table import Table

from entracte.cli.tables import Column, fitted, say
from entracte.errors import RunError, WriteError
from entracte.inspect.claims import chunk_claims
from entracte.ir import Plan, Run
from entracte.run.alarm import Alarm, alarm_of
from entracte.run.execute import OpenBuild
from entracte.run.record import NULL, write_run
from entracte.run.runner import Outcome
from entracte.run.video import CLIPS, SMALL_SIDE
from entracte.units import compact_seconds, format_bytes, format_seconds


def show_run(console: Console, plan: Plan, run: Run) -> None:
    """The table of chunks, then peak and time; an alarm last."""
    console.print(run_table(plan, run, console.width))
    say(console, *run_lines(plan, run))
    show_alarm(console, alarm_of(plan, run))


def show_alarm(console: Console, alarm: Alarm | None, name: str = "") -> None:
    """What was observed above proven, what it means and what to do; `name`: of which build."""
    if alarm is None:
        return
    where = f" in the recorded run of {name}" if name else ""
    say(console, f"\nALARM: observed above proven{where}", style="bold red")
    for x in alarm.shown:
        above = format_bytes(x.observed_bytes - x.claimed_bytes)
        text = (
            f"{x.name}: observed {format_bytes(x.observed_bytes)}, claimed "
            f"{format_bytes(x.claimed_bytes)} (+{above})"
        )
        say(console, _within(text, console.width, "    "), style="red")
    if more := len(alarm.over) - len(alarm.shown):
        say(console, f"  and {more} more", style="red")
    for text in (alarm.meaning, alarm.remedy):
        say(console, _within(text, console.width, "  "), style="red")


def _within(text: str, width: int, later: str) -> str:
    """Text indented by two; by `later` where it goes on."""
    return fill(text, width, initial_indent="  ", subsequent_indent=later, break_on_hyphens=False)


def run_table(plan: Plan, run: Run, width: int = 80) -> Table:
    """Planned against observed, per chunk."""
    claims = chunk_claims(plan, run)
    return fitted(
        f"Planned/observed on device {run.device}",
        (
            Column("chunk", [c.chunk for c in claims], left=True),
            Column("calls", [str(c.calls) for c in claims], 2),
            Column("loads", [str(c.loads) for c in claims], 1),
            Column("load", [_seconds(c.load_s, c.loads) for c in claims]),
            Column("call", [_seconds(c.exec_s, c.calls) for c in claims]),
            Column("activ.", [_pair(c.activation_bytes) for c in claims]),
        ),
        width,
    )


def _seconds(seconds: tuple[float, float], times: int) -> str:
    """Planned, and observed where there was something to observe."""
    planned, observed = map(compact_seconds, seconds)
    return f"{planned}/{observed if times else '-'}"


def _pair(sizes: tuple[int, int]) -> str:
    """Two sizes; a unit that both have is written once."""
    planned, observed = (format_bytes(size) for size in sizes)
    number, _, unit = planned.partition(" ")
    same = observed.endswith(f" {unit}")
    return f"{number if same else planned}/{observed}".replace(" ", "")


_LONG = 60
"""Letters of an input that are shown."""
ONLINE = "        the online rule decided the loads from the times it saw"


def run_lines(plan: Plan, run: Run) -> list[str]:
    """The peak claimed and the time predicted, against what was observed."""
    f = plan.forecast
    ends = run.iterations
    counts = {g.name: g.count for g in plan.program.segments}
    return [
        *_made(run),
        *_resumed(plan, run),
        f"peak    claimed at most {format_bytes(f.peak_bytes)}, observed "
        f"{format_bytes(run.peak_bytes)}",
        *_process(run),
        f"time    predicted {format_seconds(f.makespan_s)} on {plan.target.name}, observed "
        f"{format_seconds(run.wall_s)} on device {run.device}",
        *([ONLINE] if plan.schedule.driver == "online" else []),
        f"        waiting for loads {format_seconds(run.stall_s)}; "
        f"{format_bytes(run.loaded_bytes)} read",
        *reused_lines(plan, run, 8),
        *(f"        loop {name} did {done} of {counts[name]} iterations" for name, done in ends),
        *(line for note in run.notes for line in noted(note)),
    ]


def reused_lines(plan: Plan, run: Run, indent: int) -> list[str]:
    """Which stages were not computed, because an earlier run had stored what they make; and which
    were in memory when the run began."""
    graphs = {c.id: c.graph for c in plan.chunks}
    texts = []
    if run.reused:
        stages = dict.fromkeys(graphs[name] for r in run.reused for name in r.chunks)
        size = format_bytes(sum(r.size_bytes for r in run.reused))
        texts.append(f"reused, not computed: {', '.join(stages)} ({size} of values)")
    if run.carried:
        stages = dict.fromkeys(graphs[name] for name in run.carried)
        texts.append(f"in memory from the run before: {', '.join(stages)}")
    margin = " " * indent
    return [
        line
        for text in texts
        for line in fill(
            text, 80, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
        ).splitlines()
    ]


def noted(note: str) -> list[str]:
    """What a host step had to say."""
    text = f"note: {note}"
    return fill(text, 80, subsequent_indent=" " * 6, break_on_hyphens=False).splitlines()


def _made(run: Run) -> list[str]:
    """When, and of which inputs."""
    if not run.date:
        return []
    given = ", ".join(f"{name} {_told(value)}" for name, value in run.inputs)
    text = f"run     {run.date}{': ' if given else ''}{given}"
    return fill(text, 80, subsequent_indent=" " * 8, break_on_hyphens=False).splitlines()


def _resumed(plan: Plan, run: Run) -> list[str]:
    """That it is the rest of a run."""
    if run.resumed is None:
        return []
    s, iteration = run.resumed
    segment = plan.program.segments[s]
    where = f"iteration {iteration + 1} of {segment.count} of {segment.name}"
    return [f"        resumed at {where}; what follows is of the rest"]


def _told(value: str | int | float) -> str:
    """A text as JSON writes it: a stranger's may hold anything."""
    if not isinstance(value, str):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(value if len(value) <= _LONG else value[: _LONG - 3] + "...")


def _process(run: Run) -> list[str]:
    """What the system says that the process took, and how much of it is not the pipeline's."""
    if run.anonymous_peak_bytes is None:
        return []
    most = format_bytes(run.anonymous_peak_bytes)
    lines = [f"        the process took at most {most} more than before the run"]
    if run.start_bytes:
        kept = format_bytes(run.start_bytes)
        lines.append(
            f"        {kept} of it stayed when all was given back: the process's own start"
        )
    return lines


# ---------------------------------------------------------------- what is left of a run


def finish_run(
    console: Console, opened: OpenBuild, outcome: Outcome, place: Path | None, *, needed: bool
) -> None:
    """Write the record, then show what was observed, said and written.

    Nothing that fails here keeps the rest from being done: what could not be written is raised
    last, as one `RunError`. `needed`: the record's place was asked for.
    """
    note, worse = record_run(outcome.run, place, needed=needed)
    show_run(console, opened.plan, outcome.run)
    if note:
        say(console, note, style="dim")
    show_texts(console, opened, outcome)
    show_written(console, opened, outcome)
    faults = [text for text in (*outcome.faults, worse) if text]
    if faults:
        raise RunError("; ".join(faults))


def show_texts(console: Console, opened: OpenBuild, outcome: Outcome) -> None:
    """Texts that go to no file."""
    for name, text in outcome.texts.items():
        # Alone, it is what was asked for.
        label = f"{name}: " if len(opened.plan.program.outputs) > 1 else ""
        console.print(f"{label}{_harmless(text)}", soft_wrap=True, markup=False, highlight=False)


def show_written(console: Console, opened: OpenBuild, outcome: Outcome) -> None:
    """Files, with what a player would blur; and outputs that went nowhere."""
    for path in outcome.files:
        console.print(f"wrote {path}{_small(opened, outcome, path)}", soft_wrap=True, markup=False)
    for name in _unwritten(opened, outcome):
        say(console, f"not written: {name} (`--out {name}=FILE`)", style="dim")


def _harmless(text: str) -> str:
    """What a model says may hold anything; a terminal's commands are not carried out."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _small(opened: OpenBuild, outcome: Outcome, path: Path) -> str:
    """How large a clip is that players blur, and what helps."""
    for made in opened.made():
        is_clip = made.output.kind == "video" and path.suffix.lower() in CLIPS
        if not is_clip or outcome.places.get(made.output.name) != path:
            continue
        height, width = (side * made.scale for side in made.port.shape[3:])
        if min(height, width) < SMALL_SIDE:
            return f" ({width} x {height} pixels; `--scale {made.scale * 4}` makes it larger)"
    return ""


def _unwritten(opened: OpenBuild, outcome: Outcome) -> list[str]:
    """Outputs that go nowhere."""
    if opened.device.name == NULL:
        return []
    names = [o.name for o in opened.plan.program.outputs]
    return [n for n in names if n not in outcome.places and n not in outcome.texts]


def record_run(run: Run, place: Path | None, *, needed: bool) -> tuple[str, str]:
    """Keep the record of a run. A note where it is not kept, and a fault where it had to be.

    Build folders may be read-only; that costs a line.
    """
    if place is None:
        return f"not recorded: device {run.device} only counts; `--record FILE` keeps it", ""
    try:
        # A link that the user named is the user's own; one inside a build folder is not.
        write_run(run, place, follow=needed)
    except WriteError as error:
        if needed:
            return "", f"--record {error}"
        return f"not recorded: {place} cannot be written", ""
    return "", ""
