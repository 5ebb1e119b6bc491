"""`plan fits`: one table of the targets that a pipeline or a build fits on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entracte.cli.console import Bars, console, one_message
from entracte.cli.shared import Shown, Silent, Wordy
from entracte.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from entracte.declare.profiles import Profiles
    from entracte.fits import Fit
    from entracte.ir import Plan

_TARGET = "target="
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

    with one_message(status=2):
        how = how_of(progress, quiet=quiet or as_json, verbose=verbose)
        with Bars(how) as bars:
            found = _found(words, targets, limit, config_dir, bars)
        if as_json:
            typer.echo(fits_json(found))
        else:
            show_fits(console, found)
    if not any(fit.fits for fit in found):
        raise typer.Exit(1)


def _found(
    words: Sequence[str],
    targets: str | None,
    limit: str | None,
    config_dir: Path | None,
    bars: Bars,
) -> "tuple[Fit, ...]":
    """Every row, sorted. Raises `ConfigError`, and `PlanError` for a build."""
    from entracte.calibrate.derived import calibrated
    from entracte.declare.profiles import profiles
    from entracte.fits import fits_of_plan, ranked

    plan = _plan(words)
    settings = [] if plan is not None else _settings(words, config_dir)
    chosen, others = _parted(settings, targets)
    asked = profiles(chosen, limit, others, config_dir, calibrated)
    if plan is not None:
        return ranked(fits_of_plan(plan, asked.profiles))
    return ranked(_of_job(asked, bars))


def _of_job(asked: "Profiles", bars: Bars) -> "tuple[Fit, ...]":
    from entracte.declare.read import read
    from entracte.fits import fits_of_job

    bars.phase("fits", len(asked.profiles) + 1)
    bars.start("trace")
    done = ["trace"]

    def begun(target: str) -> None:
        bars.advance(done[-1])
        bars.start(target)
        done.append(target)

    return fits_of_job(read(asked.config), asked.profiles, begun)


# ---------------------------------------------------------------- words


def _plan(words: Sequence[str]) -> "Plan | None":
    """That of the build folder which the first word names, if it names one: a folder of a sweep
    has `=` in its name. Raises `PlanError`, and `ConfigError` for settings beside it."""
    from entracte.plan.file import FILE, read_plan

    first = Path(words[0])
    if not (first.is_file() or (first / FILE).is_file()):
        return None
    if len(words) > 1:
        raise ConfigError(
            f"{words[1]}: {first} is a build, whose settings were chosen when it was compiled; "
            "leave it out, or give a pipeline's name in place of the build"
        )
    return read_plan(first)


def _settings(words: Sequence[str], config_dir: Path | None) -> list[str]:
    """With `pipeline=` before a name that stands alone. Raises `ConfigError`."""
    from entracte.declare.overrides import choices
    from entracte.graphs.checks import similar

    known = choices([] if config_dir is None else [config_dir])["pipeline"]
    for word in words:
        if "=" not in word and word not in known:
            raise ConfigError(
                f"{word}: no build folder is there, and no pipeline has this name; there are "
                f"{', '.join(known)}{similar(word, known)}"
            )
    return [word if "=" in word else f"pipeline={word}" for word in words]


def _parted(words: Sequence[str], targets: str | None) -> tuple[str, list[str]]:
    """The targets' names, and all other words. Raises `ConfigError` where both name targets."""
    from entracte.declare.profiles import ALL

    plain = [word.lstrip("+") for word in words]
    named = [word[len(_TARGET) :] for word in plain if word.startswith(_TARGET)]
    if named and targets is not None:
        raise ConfigError(f"--targets {targets}: target={named[0]} is given too; leave one out")
    others = [word for word in words if not word.lstrip("+").startswith(_TARGET)]
    return targets or ",".join(named) or ALL, others


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
