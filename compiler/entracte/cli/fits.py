"""`plan fits`: one table of the targets that a pipeline or a build fits on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entracte.cli.console import Bars, console, one_message
from entracte.cli.shared import Shown, Silent, Wordy

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from entracte.fits.found import Fit

HONEST = (
    "Nothing was run on any of these devices: memory is proven for the budget, times are what the "
    "clock predicts from each target's figures."
)


def fits(
    words: Annotated[
        list[str],
        typer.Argument(
            help="A build folder; or a pipeline's name, or the words of a compile, or both.",
            metavar="BUILD | PIPELINE | KEY=VALUE...",
        ),
    ],
    targets: Annotated[
        str | None,
        typer.Option(help="Names with commas between; all, the default, is every device."),
    ] = None,
    limit: Annotated[
        str | None,
        typer.Option(help="Which limit in memory holds, where a target has it; all: each it has."),
    ] = None,
    config_dir: Annotated[
        Path | None, typer.Option(help="A folder of yaml files of your own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    progress: Shown = None,
    quiet: Silent = False,
    verbose: Wordy = False,
) -> None:
    """On which targets a pipeline or a build fits, and what is predicted there; nothing is run.

    Exit status 0: on one of them at least; 1: on none; 2: an error.
    """
    from entracte.cli.progress import how_of
    from entracte.fits.on import fits_on

    with one_message(status=2):
        # JSON is for programs: progress only if it is asked for, as the web UI does.
        asked = progress is not None or verbose
        how = how_of(progress, quiet=quiet or (as_json and not asked), verbose=verbose)
        with Bars(how) as bars:
            found = fits_on(
                words, targets=targets, limit=limit, config_dir=config_dir, reporter=bars
            )
        if as_json:
            typer.echo(fits_json(found))
        else:
            show_fits(console, found)
    if not any(fit.fits for fit in found):
        raise typer.Exit(1)


# ---------------------------------------------------------------- what is printed


def fits_json(fits: "Sequence[Fit]") -> str:
    """All rows, sorted as in the table."""
    rows = [{"fits": fit.fits, **asdict(fit)} for fit in fits]
    return json.dumps({"run_on_these_devices": False, "rows": rows}, indent=1)


def show_fits(console: "Console", fits: "Sequence[Fit]") -> None:
    """The table; why some do not fit; what of the figures nobody published."""
    from entracte.cli.tables import say

    console.print(fits_table(fits, console.width))
    unfit = [fit for fit in fits if not fit.fits]
    for n, fit in enumerate(unfit, start=1):
        say(console, f"({n}) {_called(fit)}: {'; '.join(fit.missing)}")
    if unfit:
        say(console, "")
    say(console, *estimated_lines(fits))
    say(console, HONEST, style="dim")


def fits_table(fits: "Sequence[Fit]", width: int = 80) -> "Table":
    """One row per target and limit; why one does not fit is a number in the list below."""
    from entracte.cli.tables import Column, fitted
    from entracte.units import compact_bytes, compact_seconds

    unfit = [fit for fit in fits if not fit.fits]
    needs = [compact_bytes(f.least_memory_bytes) if f.least_memory_bytes else "" for f in fits]
    return fitted(
        "Targets, fastest first",
        (
            Column("target", [f.target for f in fits], left=True),
            Column("limit", [f.limit for f in fits], 2, left=True),
            Column("fits", ["yes" if f.fits else f"no ({unfit.index(f) + 1})" for f in fits]),
            Column("peak", [_peak(f) for f in fits]),
            Column("of budget", [compact_bytes(f.budget_bytes) for f in fits]),
            *([Column("needs", needs)] if any(needs) else []),
            Column("time", [compact_seconds(f.makespan_s) if f.makespan_s else "" for f in fits]),
            Column("chunks", [str(f.chunks) if f.fits else "" for f in fits], 3),
            Column("estimated", [_share(f) for f in fits], 1),
        ),
        width,
    )


def _peak(fit: "Fit") -> str:
    from entracte.units import compact_bytes

    return "" if fit.peak_bytes is None else compact_bytes(fit.peak_bytes)


def _share(fit: "Fit") -> str:
    known = {*fit.sourced, *fit.estimated}
    return f"{len(fit.estimated)} of {len(known)}"


def _called(fit: "Fit") -> str:
    return f"{fit.target} ({fit.limit})" if fit.limit else fit.target


def estimated_lines(fits: "Sequence[Fit]") -> list[str]:
    """Figures that nobody published, and of which targets."""
    twice = len({f.target for f in fits}) < len(fits)
    named = {_called(f) if twice else f.target: f for f in fits}
    by_names: dict[str, list[str]] = {}
    for figure in dict.fromkeys(x for f in fits for x in f.estimated):
        by_names.setdefault(_of(named, figure), []).append(figure)
    return [f"estimated of {names}: {', '.join(x)}" for names, x in by_names.items()]


def _of(named: "Mapping[str, Fit]", figure: str) -> str:
    """The targets of which it is estimated; or the others, if these are fewer and it is published
    of each."""
    have = [name for name, fit in named.items() if figure in fit.estimated]
    lack = [name for name in named if name not in have]
    if not lack:
        return "all" if len(have) > 1 else have[0]
    if len(lack) < len(have) and all(figure in named[name].sourced for name in lack):
        return f"all but {', '.join(lack)}"
    return ", ".join(have)
