"""Run the jobs of a sweep: those that earlier sweeps made are known, the others run one after the
other, or several at once in processes of their own. A job that fails is one of the jobs."""

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from entracte.cli import machine
from entracte.cli import sweep_known as shelf
from entracte.cli.console import Bars, console, show_error
from entracte.cli.faults import fault_of
from entracte.cli.held import budget_line
from entracte.cli.show import show_summary
from entracte.cli.sweep_job import Made, SweepJob, labels
from entracte.cli.sweep_pool import Answer, Call, run_calls
from entracte.cli.sweep_verify import origin_of, verified
from entracte.cli.tables import say
from entracte.cli.verdict import time_line
from entracte.compile.job import Built, compile_job
from entracte.declare.read import Job, sweep_jobs
from entracte.disk.folder import fresh
from entracte.errors import ConfigError, DoesNotFit, EntracteError
from entracte.store.cache import cache_folder
from entracte.store.declared import read_job
from entracte.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from entracte.verify.source import Origin


def run_sweep(jobs: Sequence[SweepJob], ended: int = 0, total: int | None = None) -> None:
    """Run them all; what became of each stands in it. Raises `ConfigError` for `sweep.jobs`.

    Args:
        ended: how many of `total` ended before, where these are not all.
    """
    told = _Told(ended, len(jobs) if total is None else total)
    at_once, address = _jobs_given(jobs), _ray_given(jobs)
    for o in jobs:
        _read(o)
    waiting = []
    for o in jobs:
        if o.error is not None:
            told.end(o)
        elif o.advises:
            _advise(o, told)
        elif at_once == 1 and address is None:
            _run_here(o, told)
        elif _is_known(o):
            told.end(o)
        else:
            waiting.append(o)
    if waiting and address is not None:
        _run_on_ray(waiting, address, at_once, told)
    elif waiting:
        _run_beside(waiting, at_once, told)


def _jobs_given(jobs: Sequence[SweepJob]) -> int | None:
    """`sweep.jobs`, one for all; None for `auto`."""
    given = {sweep_jobs(o.config.sweep.jobs) for o in jobs if o.config is not None}
    if len(given) > 1:
        raise ConfigError("sweep.jobs: there are several values; it is one number for all jobs")
    return given.pop() if given else 1


def _ray_given(jobs: Sequence[SweepJob]) -> str | None:
    """`sweep.ray`, one for all."""
    given = {o.config.sweep.ray for o in jobs if o.config is not None}
    if len(given) > 1:
        raise ConfigError("sweep.ray: there are several values; it is one cluster for all jobs")
    return given.pop() if given else None


def _read(o: SweepJob) -> None:
    """The job, declared, with a folder of its own."""
    if o.error is not None or o.config is None or o.advises:
        return
    try:
        job = read_job(o.config)
    except Exception as error:  # noqa: BLE001 - the other jobs go on
        o.error = fault_of(error)
        return
    o.budget_bytes = job.target.budget_bytes
    o.job = replace(job, out=str(o.folder(job.pipeline.name)))


def _is_known(o: SweepJob) -> bool:
    """Take what an earlier sweep made, if it did."""
    assert o.job is not None
    found = shelf.known(o.job, o.place, o.verifies)
    if found is not None:
        o.was_known = True
        _take(o, found)
    return found is not None


def _take(o: SweepJob, made: Made) -> None:
    o.made = made
    if not made.fits:
        o.error = DoesNotFit(made.reason)


class _Told:
    """What is printed of each job, and how many of all have ended."""

    def __init__(self, ended: int, total: int) -> None:
        self._total, self._ended = total, ended

    def head(self, o: SweepJob) -> None:
        """Which job, of how many."""
        self._ended += 1
        count = f"({self._ended} of {self._total}) "
        console.print(Text(f"{count}compile {o.overrides}", style="bold"), soft_wrap=True)

    def end(self, o: SweepJob, said: str = "") -> None:
        """All of a job that did not print itself."""
        self.head(o)
        if said.strip():
            console.print(Text(said.rstrip()), soft_wrap=True)
        self.outcome(o)

    def outcome(self, o: SweepJob) -> None:
        """The last lines of a job."""
        if o.was_known:
            say(console, "known: an earlier sweep made it")
        if o.failed:
            assert o.error is not None
            show_error(o.error)
        elif o.error is not None:
            say(console, "does not fit")
        say(console, "")


def _advise(o: SweepJob, told: _Told) -> None:
    from entracte.cli.advise import show_advice

    told.head(o)
    try:
        assert o.config is not None
        show_advice(console, o.config)
    except Exception as error:  # noqa: BLE001 - the other jobs go on
        o.error = fault_of(error)
        show_error(o.error)


# ---------------------------------------------------------------- one after the other


def _run_here(o: SweepJob, told: _Told) -> None:
    assert o.job is not None
    told.head(o)
    if not _is_known(o):
        try:
            with Bars() as bars:
                built = compile_job(o.job, bars)
            _say_built(o.job, built)
            _take(o, verified(built, origin_of(o)))
        except Exception as error:  # noqa: BLE001 - the other jobs go on
            o.error = fault_of(error)
        _keep(o)
    told.outcome(o)


def _say_built(job: Job, built: Built) -> None:
    """Of dry runs little: each job's tables would drown what the sweep ends with."""
    if job.dry_run:
        say(console, budget_line(built.plan), time_line(built.plan))
    else:
        show_summary(console, built.plan, built.folder, built.seconds)


def _keep(o: SweepJob) -> None:
    """For the next sweep. Faults may be gone by then, and are not kept."""
    assert o.job is not None
    if isinstance(o.error, DoesNotFit):
        o.made = shelf.made_without_fit(o.job, o.error)
    if o.made is not None:
        # Without room for that, what it made is there all the same.
        with contextlib.suppress(EntracteError, OSError):
            shelf.keep(o.job, o.place, o.made, o.verifies)


# ---------------------------------------------------------------- several at once


def _run_beside(waiting: list[SweepJob], at_once: int | None, told: _Told) -> None:
    """In processes of their own."""
    _import_all()
    with fresh(Path(tempfile.gettempdir()), "entracte-jobs") as scratch:
        if at_once is None:
            first = [] if _cores(waiting) == 1 else _unmeasured(waiting)
            if first:
                say(console, "the first job runs alone: it shows how much memory one takes")
            _run_calls(first, 1, scratch, told)
            waiting = [o for o in waiting if o not in first]
            at_once = _that_fit(waiting) if waiting else 1
        _run_calls(waiting, at_once, scratch, told)


def _import_all() -> None:
    """What all jobs need, once: forked processes have it."""
    import entracte.lower.backend
    import entracte.trace.wire  # noqa: F401


def _processes(jobs: Sequence[SweepJob]) -> int:
    """That one job keeps busy, at most."""
    return max(1 if o.dry_run or o.job is None else o.job.workers for o in jobs)


def _cores(jobs: Sequence[SweepJob]) -> int:
    """How many jobs the cores take."""
    return machine.jobs_at_once(machine.this_machine(), 0, _processes(jobs))


def _unmeasured(jobs: Sequence[SweepJob]) -> list[SweepJob]:
    """The first job of each pipeline of which nobody knows how much memory it takes."""
    first: dict[tuple[str, bool], SweepJob] = {}
    for o in jobs:
        assert o.job is not None
        if shelf.memory_bytes(o.job) is None:
            first.setdefault((o.job.pipeline.name, o.dry_run), o)
    return list(first.values())


def _that_fit(jobs: Sequence[SweepJob]) -> int:
    """As many as this machine takes of the largest, and a line that says why."""
    need_bytes = max(shelf.memory_bytes(o.job) or 0 for o in jobs if o.job is not None)
    here = machine.this_machine()
    found = min(len(jobs), machine.jobs_at_once(here, need_bytes, _processes(jobs)))
    say(
        console,
        f"{found} at once: {here.cores} cores, {format_bytes(here.free_bytes)} of memory free, "
        f"{format_bytes(need_bytes)} for a job",
        "",
    )
    return found


def _run_calls(jobs: Sequence[SweepJob], at_once: int, scratch: Path, told: _Told) -> None:
    _take_answers(jobs, told, lambda calls, began: run_calls(calls, at_once, scratch, began))


def _run_on_ray(jobs: Sequence[SweepJob], address: str, at_once: int | None, told: _Told) -> None:
    """On the machines of a cluster, which use one cache where they see the same one."""
    from entracte.cli.sweep_ray import run_on_ray

    for o in jobs:
        assert o.job is not None
        o.job = replace(o.job, cache=str(cache_folder(o.job.cache).absolute()))
    busy = _processes(jobs)
    _take_answers(jobs, told, lambda calls, began: run_on_ray(calls, address, at_once, busy, began))


_Runner = Callable[[list[Call], Callable[[Call], None]], Iterator[tuple[Call, Answer]]]


def _take_answers(jobs: Sequence[SweepJob], told: _Told, run: _Runner) -> None:
    named = labels(jobs)
    calls = [
        Call(
            n,
            str(o.place.absolute()).casefold(),
            compile_beside,
            (o.job, console.width, origin_of(o)),
            o.place,
        )
        for n, o in enumerate(jobs)
    ]

    def began(call: Call) -> None:
        o = jobs[call.number]
        console.print(Text(f"begins: {named[call.number]} on {o.target}"), style="dim")

    for call, answer in run(calls, began):
        _take_answer(jobs[call.number], answer)
        told.end(jobs[call.number], answer.said)


def _take_answer(o: SweepJob, answer: Answer) -> None:
    assert o.job is not None
    o.error = answer.error
    if answer.error is None:
        made, taken_bytes = answer.value
        _take(o, made)
        with contextlib.suppress(EntracteError, OSError):
            shelf.note_memory(o.job, taken_bytes)
    _keep(o)


def compile_beside(job: Job, width: int, origin: "Origin | None" = None) -> tuple[Made, int]:
    """In a process of its own: compile, and print what came out of it for `width` columns.

    With an `origin` it is verified too. Returns what was made, and the bytes of memory it took.
    """
    console.width = width
    with _notes():
        built = compile_job(job)
    _say_built(job, built)
    made = verified(built, origin)
    say(console, f"took {format_seconds(built.seconds)}")
    return made, machine.taken_bytes(0 if job.dry_run else job.workers)


@contextlib.contextmanager
def _notes() -> Iterator[None]:
    """What the compiler says in its log, among what is printed."""
    log, handler = logging.getLogger("entracte"), _Note(logging.WARNING)
    log.addHandler(handler)
    # Hydra disables those that it finds.
    log.disabled = False
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Note(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        console.print(Text(f"note: {record.getMessage()}"), soft_wrap=True)
