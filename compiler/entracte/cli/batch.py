"""`plan run` of several prompts and seeds: runs of one plan, one after another, in one process."""

import re
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from rich.console import Console

from entracte.cli.console import Bars
from entracte.cli.given import given_by_name, meant
from entracte.cli.observed import (
    noted,
    record_run,
    reused_lines,
    show_alarm,
    show_texts,
    show_written,
)
from entracte.cli.progress import How
from entracte.cli.tables import say
from entracte.disk.folder import fresh
from entracte.errors import ConfigError, RunError
from entracte.inspect.pace import Pace, pace_of
from entracte.ir import Input, Plan
from entracte.progress.values import Expected, PhaseTime
from entracte.run.batch import MOST_RUNS, BatchRun, batch_of, files_there, named, out_of
from entracte.run.conditioning import Conditioning
from entracte.run.execute import OpenBuild
from entracte.run.inputs import told_inputs
from entracte.run.metadata import read_metadata
from entracte.run.origin import plan_digest
from entracte.run.record import place_for
from entracte.run.runner import Outcome
from entracte.run.series import Series
from entracte.units import format_bytes, format_seconds

_MOST_BYTES = 10 * 2**20
_SHOWN = 40
"""Letters of a prompt."""
_MOST_SEED = 2**31 - 1
_REMEDY = "give a whole number from 0, or `random`, which draws one and says which"


@dataclass(frozen=True, slots=True)
class Words:
    """What the command was told of inputs."""

    inputs: Sequence[str] = ()
    prompts: Sequence[str] = ()
    prompts_file: Path | None = None
    negative: str | None = None
    seeds: Sequence[str] = ()
    ranges: str | None = None


def runs_of(plan: Plan, words: Words) -> tuple[BatchRun, ...]:
    """The runs that are meant; one where nothing is given twice. Raises `RunError`."""
    same = given_by_name(plan, words.inputs, negative=words.negative)
    prompts = [*words.prompts, *_lines(words.prompts_file)]
    values: dict[str, list[object]] = {}
    for option, kind, given in (
        ("prompt", "text", prompts),
        ("seed", "seed", [*words.seeds, *_ranges(words.ranges)]),
    ):
        if not given:
            continue
        i = meant(plan, option, kind)
        if i.name in same:
            raise RunError(
                f"--{option}: the input {i.name!r} is given by --input too; leave one out"
            )
        values[i.name] = [_seed(i, s) for s in given] if kind == "seed" else list(given)
    return batch_of(same, values)


def _lines(path: Path | None) -> list[str]:
    """A prompt for each line that is not empty."""
    from entracte.store.tensor_file import reading, whole_file

    if path is None:
        return []
    try:
        with reading(path):
            data = whole_file(path, _MOST_BYTES)
    except ConfigError as error:
        raise RunError(f"--prompts {error}; give a file with a prompt in each line") from None
    if data is None:
        raise RunError(f"--prompts {path}: larger than 10 MiB; give fewer prompts")
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise RunError(f"--prompts {path}: is no text in UTF-8; save it so") from None
    found = [line for line in lines if line]
    if not found:
        raise RunError(f"--prompts {path}: there is no prompt in it; write one in each line")
    return found


def _ranges(text: str | None) -> list[str]:
    """`0-3,7`: 0, 1, 2, 3 and 7."""
    found: list[str] = []
    for part in [] if text is None else text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,18})(?:-([0-9]{1,18}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not 0 <= last - first < MOST_RUNS:
            raise RunError(
                f"--seeds {text}: write ranges of whole numbers, as 0-3 or 0,2,8-11; at most "
                f"{MOST_RUNS}"
            )
        found += map(str, range(first, last + 1))
    return found


def seeds_of(text: str) -> list[int]:
    """`0-3,7` as numbers. Raises `RunError`."""
    return [int(seed) for seed in _ranges(text)]


def _seed(i: Input, text: str) -> int:
    if text == "random":
        least = max(0, int(i.least or 0))
        most = _MOST_SEED if i.most is None else int(i.most)
        return least + secrets.randbelow(max(1, most - least + 1))
    try:
        seed = int(text)
    except ValueError:
        raise RunError(f"--seed {text}: is no whole number; {_REMEDY}") from None
    if seed < 0:
        raise RunError(
            f"--seed {text}: {_REMEDY} (`--input {i.name}={text}` means just that number)"
        )
    return seed


def drawn(words: Words, runs: Sequence[BatchRun]) -> str:
    """What to say where seeds were drawn; empty where none was."""
    if "random" not in words.seeds:
        return ""
    seeds = dict.fromkeys(str(v) for r in runs for v in r.inputs.values() if isinstance(v, int))
    return f"seed {', '.join(seeds)}"


# ---------------------------------------------------------------- one after another


@dataclass(frozen=True, slots=True)
class _Planned:
    """One run with all that it needs."""

    run: BatchRun
    opened: OpenBuild
    place: Path | None
    is_done: bool


def run_batch(
    console: Console,
    opened: OpenBuild,
    runs: Sequence[BatchRun],
    record: Path | None,
    *,
    resume: bool = False,
    reuse: bool = True,
    how: How | None = None,
) -> bool:
    """Run all, each with its own record and files; returns whether one was an alarm.

    Args:
        resume: files that are there are left out.
        reuse: what follows from the same inputs is computed once, also where nothing is to be kept
            when all is done.

    Raises `RunError` before the first one where a file is there already or an input is not what it
    should be, and after the last one where something could not be written.
    """
    if opened.answers is not None:
        raise RunError("--answers: is of one run; give one prompt and one seed")
    planned = [_planned(opened, run, record, resume) for run in runs]
    if opened.snapshots is not None:
        # A snapshot is of a run that computes everything.
        reuse = False
    if opened.conditioning is not None or not reuse:
        return _run_all(console, opened, planned, how, needed=record is not None, carries=reuse)
    # On disk, so that between runs and in those of other prompts it takes no memory.
    with fresh(Path(tempfile.gettempdir()), "entracte-conditioning") as folder:
        stored = Conditioning(folder)
        planned = [replace(p, opened=replace(p.opened, conditioning=stored)) for p in planned]
        return _run_all(console, opened, planned, how, needed=record is not None)


def _run_all(
    console: Console,
    opened: OpenBuild,
    planned: Sequence[_Planned],
    how: How | None,
    *,
    needed: bool,
    carries: bool = True,
) -> bool:
    """`carries`: a run leaves in memory what the next one needs, within the claim."""
    alarmed, faults = False, []
    todo = [p for p in planned if not p.is_done]
    then = {id(p): q.run.inputs for p, q in pairwise(todo)}
    pace = pace_of(opened.plan, opened.folder, opened.device.name)
    phases = {id(p): f"run {k}/{len(planned)}" for k, p in enumerate(planned, 1)}
    expected = expected_of(pace, [phases[id(p)] for p in todo])
    with Bars(how, expected) as bars, Series(opened.plan, opened.device) as series:
        carrying = series if carries and Series.suits(opened.plan) else None
        for k, p in enumerate(planned, 1):
            title = f"{k}/{len(planned)} {_title(p.run)}"
            if p.is_done:
                say(console, f"{title}: is there already", style="dim")
                continue
            bars.steps(phases[id(p)], pace)
            outcome = p.opened.compute(
                p.run.inputs,
                lambda stage, done, _: bars.at(stage, done),
                series=carrying,
                following=then.get(id(p)),
            )
            note, worse = record_run(outcome.run, p.place, needed=needed)
            _show(console, title, p.opened, outcome, note)
            faults += [text for text in (*outcome.faults, worse) if text]
            alarmed |= outcome.alarm is not None
    if faults:
        raise RunError("; ".join(faults))
    return alarmed


def expected_of(pace: Pace, phases: Sequence[str]) -> Expected:
    """Runs of one plan, each a phase: all as long as the one whose pace is known."""
    each = [PhaseTime(name, sum(pace.steps_s), len(pace.names)) for name in phases]
    return Expected(tuple(each), ground=next(iter(phases), "") if pace.same else "")


def _planned(opened: OpenBuild, run: BatchRun, record: Path | None, resume: bool) -> _Planned:
    """Raises `RunError` where a run cannot be, or would overwrite something."""
    kept = opened.snapshots
    if kept is not None:
        kept = replace(kept, folder=kept.folder / run.name)
    own = replace(opened, out=out_of(opened.out, run), snapshots=kept)
    told = told_inputs(opened.plan, run.inputs)
    place = place_for(opened.folder, record and Path(named(record, run.name)), opened.device.name)
    there, missing = files_there(own.made(), own.out)
    if not there:
        return _Planned(run, own, place, is_done=False)
    if not resume or missing:
        raise RunError(
            f"{there[0]}: is there already, and several runs overwrite nothing; move it, or name "
            "others with --out" + ("" if missing else "; --resume leaves out what is there")
        )
    for path in there:
        _check_same(opened.plan, told, path)
    return _Planned(run, own, place, is_done=True)


def _check_same(plan: Plan, told: dict[str, str | int | float], path: Path) -> None:
    """That a file is of this run, where it says of what it is."""
    try:
        found = read_metadata(path)
    except RunError:
        return
    if found.plan != plan_digest(plan) or dict(found.inputs) != told:
        what = "other inputs" if found.plan == plan_digest(plan) else "another plan"
        raise RunError(
            f"{path}: is there, and of {what} (`plan whence {path}`); move it, or name "
            "others with --out"
        )


def _title(run: BatchRun) -> str:
    """What is its own: `"a red circle", seed 3`."""
    parts = []
    for name in run.differing:
        value = run.inputs[name]
        parts.append(_quoted(value) if isinstance(value, str) else f"{name} {value}")
    return ", ".join(parts)


def _quoted(text: str) -> str:
    """Its first letters; a file of prompts may be a stranger's."""
    plain = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return f'"{plain}"' if len(plain) <= _SHOWN else f'"{plain[: _SHOWN - 3]}..."'


def _show(console: Console, title: str, opened: OpenBuild, outcome: Outcome, note: str) -> None:
    run, claimed = outcome.run, format_bytes(opened.plan.forecast.peak_bytes)
    peak = format_bytes(run.peak_bytes)
    say(console, f"{title}: {format_seconds(run.wall_s)}, peak {peak} (claimed {claimed})")
    for text in reused_lines(opened.plan, run, 2):
        say(console, text, style="dim")
    for text in run.notes:
        say(console, *noted(text))
    if note:
        say(console, note, style="dim")
    show_texts(console, opened, outcome)
    show_written(console, opened, outcome)
    show_alarm(console, outcome.alarm)
