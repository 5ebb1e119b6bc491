"""`plan report`: a plan, and what was observed of it, as one HTML page; or two side by side."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from entracte.cli.files import read_for_show
from entracte.cli.observed import show_alarm
from entracte.cli.shared import build_folder
from entracte.disk.write import write_text
from entracte.errors import ConfigError
from entracte.run.record import run_of

FILE = "report.html"
PAIR_FILE = "comparison.html"


def report(
    console: Console,
    builds: Sequence[Path],
    out: Path | None,
    runs: Sequence[Path],
    clips: Sequence[Path],
) -> bool:
    """Write the page, whole or not at all; print its path. Whether there is an alarm on it.

    Without `out` it becomes a file of the (last) build folder; without `runs` a folder's own
    `run.json` is shown, if it has one. Two builds, or two runs of one, make a page of both.

    Raises:
        ConfigError: more than two, or runs and clips of which it is not clear whose they are.
        PlanError: no plan, a damaged one, one of another version, or one of too many steps; a run
            of another build.
        RunError: a file that cannot be read or written.
    """
    is_pair = len(builds) == 2 or len(runs) == 2
    if len(builds) > 2:
        raise ConfigError(
            f"{len(builds)} builds: a page shows one or two side by side; `plan compare` takes more"
        )
    if len(runs) > 2 or (len(builds) == 2 and len(runs) == 1):
        raise ConfigError(
            f"--run given {len(runs)} times: give one for each build, or two of one build"
        )
    if len(clips) > (2 if is_pair else 1):
        raise ConfigError(f"--clip given {len(clips)} times: give one for each run that is shown")
    return (_pair if is_pair else _one)(console, builds, out, runs, clips)


def _one(
    console: Console,
    builds: Sequence[Path],
    out: Path | None,
    runs: Sequence[Path],
    clips: Sequence[Path],
) -> bool:
    from entracte.report.clip import clip_of
    from entracte.report.helps import helps
    from entracte.report.model import page_of
    from entracte.report.page import render
    from entracte.report.policies import compared

    plan = read_for_show(builds[0])
    folder = build_folder(builds[0])
    run = run_of(plan, runs[0] if runs else folder)
    clip = clip_of(plan, clips[0]) if clips else None
    page = page_of(plan, compared(plan), run, helps(plan), clip)
    _write(console, out, folder / FILE, render(page))
    show_alarm(console, page.alarm)
    return page.alarm is not None


def _pair(
    console: Console,
    builds: Sequence[Path],
    out: Path | None,
    runs: Sequence[Path],
    clips: Sequence[Path],
) -> bool:
    """The n-th run and clip are those of the n-th side."""
    from entracte.report.clip import clip_of
    from entracte.report.pair import Given, pair_of, render_pair

    given = []
    for k in range(2):
        build = builds[k % len(builds)]
        plan = read_for_show(build)
        place = str(runs[k]) if len(builds) == 1 else str(build)
        run = run_of(plan, runs[k] if runs else build_folder(build))
        given.append(Given(place, plan, run, clip_of(plan, clips[k]) if k < len(clips) else None))
    pair = pair_of(*given)
    _write(console, out, build_folder(builds[-1]) / PAIR_FILE, render_pair(pair))
    for g, alarm in zip(given, pair.alarms, strict=True):
        show_alarm(console, alarm, g.place)
    return any(alarm is not None for alarm in pair.alarms)


def _write(console: Console, out: Path | None, usual: Path, text: str) -> None:
    path = out if out is not None else usual
    write_text(path, text, follow=out is not None, remedy="name another file with --out")
    console.print(f"wrote {path}", soft_wrap=True, markup=False)
