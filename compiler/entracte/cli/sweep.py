"""What a sweep ends with: one table, one page, and the same as JSON."""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from entracte.cli.report import FILE as REPORT
from entracte.cli.report import report
from entracte.cli.sweep_job import SweepJob, labels
from entracte.cli.tables import Column, fitted, say
from entracte.disk.folder import make_folder
from entracte.disk.write import write_text
from entracte.errors import EntracteError
from entracte.inspect.compared import decibels
from entracte.report.objectives import USUAL
from entracte.report.pareto import usual, with_pareto
from entracte.report.sweep import SweepRow, render_sweep
from entracte.units import compact_bytes, compact_seconds

PAGE, DATA = "sweep.html", "sweep.json"


def show_sweep(
    console: Console,
    jobs: Sequence[SweepJob],
    objectives: Sequence[str] = (),
    sentence: str = "",
) -> None:
    """Print the comparison of all jobs and write it into the folder that they share.

    Args:
        objectives: what plans are compared by; by default what there is.
        sentence: how the jobs were chosen, if they were not simply all.
    """
    folder = _shared(jobs)
    rows = [o.row(label) for o, label in zip(jobs, labels(jobs), strict=True)]
    names = tuple(objectives) or usual(rows)
    both = zip(jobs, with_pareto(rows, names), strict=True)
    marked = [_placed(o, row, folder) for o, row in both]
    console.print()
    console.print(sweep_table(marked, console.width, names))
    say(console, *reasons(marked), counts(jobs, marked))
    make_folder(folder)
    write_text(folder / PAGE, render_sweep(marked, names, sentence))
    data = {"objectives": names, "rows": [asdict(r) for r in marked]}
    write_text(folder / DATA, json.dumps(data, indent=1) + "\n")
    say(console, f"wrote {folder / PAGE} and {folder / DATA}")


def _shared(jobs: Sequence[SweepJob]) -> Path:
    """The folder in which all jobs' folders lie."""
    bases = [o.base for o in jobs if o.base is not None] or [Path("build")]
    folder = Path(os.path.commonpath([os.path.abspath(b) for b in bases]))
    return Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder


def _placed(o: SweepJob, row: SweepRow, folder: Path) -> SweepRow:
    """The row with the way to its plan; those that no other beats get a page of their own."""
    if not row.fits or o.job is None:
        return row
    way = Path(os.path.relpath(o.place, folder)).as_posix()
    return replace(row, folder=way, has_report=row.pareto and _reported(o.place))


def _reported(build: Path) -> bool:
    """Write `plan report`'s page of a plan; whether it is there. A sweep is whole without it."""
    with contextlib.suppress(EntracteError, OSError):
        report(Console(quiet=True), [build], None, [], [])
    return (build / REPORT).is_file()


def _title(names: Sequence[str]) -> str:
    if tuple(names) == USUAL:
        return "Sweep (* none of the same target is faster and smaller)"
    return f"Sweep (* none of the same target is better in all of {', '.join(names)})"


def sweep_table(
    rows: Sequence[SweepRow], width: int = 80, objectives: Sequence[str] = USUAL
) -> Table:
    """One row per job; those without a plan are a number in the list below."""
    has_db = any(r.psnr_db is not None for r in rows)
    numbers = {id(r): str(n) for n, r in enumerate((r for r in rows if not r.fits), start=1)}

    def shown(text: str, row: SweepRow) -> str:
        return text if row.fits else ""

    return fitted(
        _title(objectives),
        (
            *_job_columns(rows),
            Column("target", [r.target for r in rows], left=True),
            Column(
                "budget", [compact_bytes(r.budget_bytes) if r.budget_bytes else "" for r in rows], 1
            ),
            Column("fits", [_fits(r, numbers.get(id(r), "")) for r in rows]),
            Column("peak", [shown(compact_bytes(r.peak_bytes), r) for r in rows]),
            Column("time", [shown(compact_seconds(r.makespan_s), r) for r in rows]),
            *([Column("dB", [_db(r) for r in rows])] if has_db else []),
            *(
                [Column("weights", [shown(compact_bytes(r.weight_bytes), r) for r in rows])]
                if "weights" in objectives
                else []
            ),
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


def _db(r: SweepRow) -> str:
    return "" if r.psnr_db is None else decibels(r.psnr_db).removesuffix(" dB")


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
