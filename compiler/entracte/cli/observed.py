"""Planned against observed: what `plan run` prints, and `plan show` of a recorded run."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from entracte.cli.tables import grid, row, say
from entracte.errors import WriteError
from entracte.inspect.claims import chunk_claims
from entracte.ir import Plan, Run
from entracte.run.record import FILE, write_run
from entracte.units import compact_seconds, format_bytes, format_seconds


def show_run(console: Console, plan: Plan, run: Run) -> None:
    """The table of chunks, then peak and time."""
    console.print(run_table(plan, run))
    say(console, *run_lines(plan, run))


def run_table(plan: Plan, run: Run) -> Table:
    """Planned against observed, per chunk."""
    numbers = ("calls", "loads", "load", "call", "activ.")
    table = grid(f"Planned/observed on device {run.device}", ["chunk"], numbers)
    for c in chunk_claims(plan, run):
        row(
            table,
            c.chunk,
            str(c.calls),
            str(c.loads),
            "/".join(map(compact_seconds, c.load_s)),
            "/".join(map(compact_seconds, c.exec_s)),
            _pair(c.activation_bytes),
        )
    return table


def _pair(sizes: tuple[int, int]) -> str:
    """Two sizes; a unit that both have is written once."""
    planned, observed = (format_bytes(size) for size in sizes)
    number, _, unit = planned.partition(" ")
    same = observed.endswith(f" {unit}")
    return f"{number if same else planned}/{observed}".replace(" ", "")


ONLINE = "        the online rule decided the loads from the times it saw"


def run_lines(plan: Plan, run: Run) -> list[str]:
    """The peak claimed and the time predicted, against what was observed."""
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
        f"time    predicted {format_seconds(f.makespan_s)} on {plan.target.name}, observed "
        f"{format_seconds(run.wall_s)} on device {run.device}",
        *([ONLINE] if plan.schedule.driver == "online" else []),
        f"        waiting for loads {format_seconds(run.stall_s)}; "
        f"{format_bytes(run.loaded_bytes)} read",
        *(f"        loop {name} did {done} of {counts[name]} iterations" for name, done in ends),
    ]


def record_run(console: Console, run: Run, build: Path, given: Path | None) -> None:
    """Keep the record of a run: beside the plan, or in the file that was given.

    Build folders may be read-only; that costs a line. Raises `WriteError` for a given file.
    """
    if given is not None:
        write_run(run, given, follow=True)
        return
    try:
        write_run(run, build / FILE)
    except WriteError:
        say(console, f"not recorded: {build / FILE} cannot be written", style="dim")
