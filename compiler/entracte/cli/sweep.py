"""What a sweep ends with: one table, one page, and the same as JSON."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from entracte.cli.sweep_job import SweepJob, labels
from entracte.cli.tables import Column, fitted, say
from entracte.disk.folder import make_folder
from entracte.disk.write import write_text
from entracte.report.pareto import with_pareto
from entracte.report.sweep import SweepRow, render_sweep
from entracte.units import compact_bytes, compact_seconds

PAGE, DATA = "sweep.html", "sweep.json"


def show_sweep(console: Console, jobs: Sequence[SweepJob]) -> None:
    """Print the comparison of all jobs and write it into the folder that they share."""
    named = zip(jobs, labels(jobs), strict=True)
    rows = with_pareto([o.row(label) for o, label in named])
    console.print()
    console.print(sweep_table(rows, console.width))
    say(console, *reasons(rows), counts(jobs, rows))
    bases = [o.base for o in jobs if o.base is not None] or [Path("build")]
    folder = Path(os.path.commonpath([os.path.abspath(b) for b in bases]))
    folder = Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder
    make_folder(folder)
    write_text(folder / PAGE, render_sweep(rows))
    write_text(folder / DATA, json.dumps({"rows": [asdict(r) for r in rows]}, indent=1) + "\n")
    say(console, f"wrote {folder / PAGE} and {folder / DATA}")


def sweep_table(rows: Sequence[SweepRow], width: int = 80) -> Table:
    """One row per job; those without a plan are a number in the list below."""
    numbers = {id(r): str(n) for n, r in enumerate((r for r in rows if not r.fits), start=1)}

    def shown(text: str, row: SweepRow) -> str:
        return text if row.fits else ""

    return fitted(
        "Sweep (* none of the same target is faster and smaller)",
        (
            *_job_columns(rows),
            Column("target", [r.target for r in rows], left=True),
            Column(
                "budget", [compact_bytes(r.budget_bytes) if r.budget_bytes else "" for r in rows], 1
            ),
            Column("fits", [_fits(r, numbers.get(id(r), "")) for r in rows]),
            Column("peak", [shown(compact_bytes(r.peak_bytes), r) for r in rows]),
            Column("time", [shown(compact_seconds(r.makespan_s), r) for r in rows]),
            Column("read", [shown(compact_bytes(r.loaded_bytes), r) for r in rows], 2),
            Column("bound", [shown(_bound(r), r) for r in rows], 3),
            Column("", ["*" if r.pareto else "" for r in rows]),
        ),
        width,
    )


def _job_columns(rows: Sequence[SweepRow]) -> list[Column]:
    """One column for each key where all jobs set the same keys; otherwise whole overrides."""
    jobs = [[w.partition("=") for w in r.label.split(" ")] for r in rows]
    keys = [key for key, _, _ in jobs[0]]
    if any([key for key, _, _ in job] != keys for job in jobs) or keys == ["default"]:
        return [Column("job", [r.label for r in rows], left=True)]
    names = [key.rpartition(".")[2] for key in keys]
    if len(set(names)) < len(names):
        names = keys
    return [Column(name, [job[k][2] for job in jobs], left=True) for k, name in enumerate(names)]


def _fits(r: SweepRow, number: str) -> str:
    return "yes" if r.fits else f"{'failed' if r.failed else 'no'} ({number})"


def counts(jobs: Sequence[SweepJob], rows: Sequence[SweepRow]) -> str:
    """What became of all jobs, in one line."""
    known, failed = sum(o.was_known for o in jobs), sum(r.failed for r in rows)
    unfit = sum(not r.fits for r in rows) - failed
    parts = [f"{len(jobs)} job{'' if len(jobs) == 1 else 's'}"]
    parts += [f"{known} known from an earlier sweep"] if known else []
    parts += [f"{unfit} without a fit"] if unfit else []
    parts += [f"{failed} failed"] if failed else []
    return ", ".join(parts)


def _bound(r: SweepRow) -> str:
    return f"{r.makespan_s / max(r.lower_bound_s, 1e-12):.2f}x"


def reasons(rows: Sequence[SweepRow]) -> list[str]:
    """Why jobs have no plan."""
    left = [r for r in rows if not r.fits]
    return [f"({n}) {r.label}: {r.reason}" for n, r in enumerate(left, start=1)]
