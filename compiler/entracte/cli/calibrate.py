"""`plan calibrate`: what recorded runs say of their target's figures, and how far predictions are
off before and after."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entracte.cli.console import console, one_message

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from entracte.calibrate.derived import Calibration
    from entracte.calibrate.errors import ClassError

_WHERE = "plan calibrate"


def calibrate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Recorded runs, and the build folders that they are of; a folder alone brings its "
            "run.json.",
            metavar="BUILD | RUN...",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Write the derived target as a yaml file, DIR/target/NAME.yaml."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
) -> None:
    """Fit a target's figures to recorded runs; errors of predictions by class, before and after.

    `compile target=NAME target.from=RUN` plans with these figures.
    """
    from entracte.calibrate.derived import calibration, yaml_of
    from entracte.calibrate.records import recorded
    from entracte.disk.write import write_text

    with one_message():
        records = recorded([str(p) for p in paths], _WHERE)
        made = calibration(records[0].plan.target, records, _WHERE)
        if out is not None:
            write_text(out, yaml_of(made, out), follow=True, remedy="name another file with --out")
        if as_json:
            typer.echo(calibration_json(made))
        else:
            show_calibration(console, made, [str(p) for p in paths])
            if out is not None:
                console.print(f"wrote {out}", soft_wrap=True, markup=False)


def show_calibration(console: "Console", made: "Calibration", paths: Sequence[str]) -> None:
    """Figures, errors by class, the whole runs, and what to type next."""
    from entracte.calibrate.errors import class_errors
    from entracte.calibrate.records import profile_name
    from entracte.cli.tables import say
    from entracte.inspect.command import spelled

    console.print(figure_table(made, console.width))
    notes = dict.fromkeys(f.note for f in made.figures if f.note)
    for n, note in enumerate(notes, start=1):
        say(console, f"({n}) {note}")
    console.print()
    before = class_errors(made.seen, made.profile)
    after = class_errors(made.seen, made.target, by=made.profile)
    console.print(error_table(before, console.width, after))
    say(console, *_runs(made), "")
    typed = [spelled(p) or p for p in paths]
    given = typed[0] if len(typed) == 1 else f"[{','.join(typed)}]"
    named = shlex.quote(f"target.from={given}")
    say(console, f"target {made.target.name}, digest {made.digest[:12]}")
    profile = made.profile.name
    console.print(
        f"next:  compile target={profile_name(profile)} {named}", soft_wrap=True,
        markup=False, highlight=False,
    )  # fmt: skip


def _runs(made: "Calibration") -> list[str]:
    from entracte.calibrate.errors import run_s
    from entracte.units import format_seconds

    lines = []
    for r in made.records:
        before, after = (run_s(r.plan, r.run, t) for t in (made.profile, made.target))
        if before is not None and after is not None:
            lines.append(
                f"run {r.digest[:12]}: observed {format_seconds(r.run.wall_s)}, predicted "
                f"{format_seconds(before)} before and {format_seconds(after)} after"
            )
    return lines


# ---------------------------------------------------------------- tables


def figure_table(made: "Calibration", width: int = 80) -> "Table":
    """Each figure that a run can tell: the profile's, the derived target's, from how many
    observations; a number in brackets is a line below."""
    from entracte.cli.tables import Column, fitted

    notes = list(dict.fromkeys(f.note for f in made.figures if f.note))
    rows = made.figures
    taken = [str(f.observations) if f.observations else "profile" for f in rows]
    return fitted(
        f"Figures of {made.profile.name}, observed on device {made.records[0].run.device}",
        (
            Column("figure", [f.name for f in rows], left=True),
            Column("profile", [_value(f.name, f.given) for f in rows]),
            Column("fitted", [_value(f.name, f.value) if f.observations else "" for f in rows]),
            Column("from", taken),
            Column("", [f"({notes.index(f.note) + 1})" if f.note else "" for f in rows], left=True),
        ),
        width,
    )


def _value(name: str, value: float | None) -> str:
    from entracte.units import compact_bytes, compact_seconds

    if value is None:
        return "none"
    if name.endswith("_s"):
        return compact_seconds(value) if value else "0"
    if name.endswith("bandwidth"):
        return f"{compact_bytes(value)}/s"
    return f"{value / 1e9:.4g}G/s" if name.startswith("rate.") else f"{value:g}"


def error_table(
    before: "Sequence[ClassError]", width: int = 80, after: "Sequence[ClassError]" = ()
) -> "Table":
    """Predicted against observed by class: the error of the sum, and the median one of a chunk;
    with `after` these of other figures beside."""
    from entracte.cli.tables import Column, fitted
    from entracte.units import compact_seconds

    def percent(value: float | None, sign: str = "") -> str:
        return "" if value is None else f"{100 * value:{sign}.0f}%"

    columns = [
        Column("class", [e.name for e in before], left=True),
        Column("times", [str(e.times) for e in before], 2),
        Column("observed", [compact_seconds(e.observed_s) for e in before]),
        Column("predicted", [compact_seconds(e.predicted_s) for e in before]),
        Column("error", [percent(e.total_error, "+") for e in before]),
        Column("median", [percent(e.median_error) for e in before], 1),
    ]
    if after:
        columns += [
            Column("fitted", [compact_seconds(e.predicted_s) for e in after]),
            Column("error", [percent(e.total_error, "+") for e in after]),
            Column("median", [percent(e.median_error) for e in after], 1),
        ]
    return fitted("Errors by class", columns, width)


def calibration_json(made: "Calibration") -> str:
    """All of it."""
    from entracte.calibrate.errors import class_errors, run_s

    before = class_errors(made.seen, made.profile)
    after = class_errors(made.seen, made.target, by=made.profile)
    told = {
        "profile": made.profile.name,
        "target": made.target.name,
        "digest": made.digest,
        "figures": [asdict(f) for f in made.figures],
        "errors": {
            "before": [asdict(e) | {"total_error": e.total_error} for e in before],
            "after": [asdict(e) | {"total_error": e.total_error} for e in after],
        },
        "runs": [
            {
                "record": str(r.path),
                "digest": r.digest,
                "device": r.run.device,
                "observed_s": r.run.wall_s,
                "before_s": run_s(r.plan, r.run, made.profile),
                "after_s": run_s(r.plan, r.run, made.target),
            }
            for r in made.records
        ],
    }
    return json.dumps(told, indent=1)
