"""`compile`: compose a configuration with Hydra and build it."""

import os
import sys

if __name__ == "__main__":
    # First of all, so that it holds while the rest is imported.
    from entracte.cli.start import start

    start("entracte.cli.compile")
    sys.exit()

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from entracte.cli.compile_help import asks_help, compile_help
from entracte.cli.console import (
    Bars,
    choose,
    console,
    errors,
    one_message,
    print_version,
)
from entracte.cli.faults import fault_of
from entracte.cli.progress import taken, times_text
from entracte.cli.start import guarded
from entracte.cli.sweep_job import SweepJob
from entracte.cli.tables import say
from entracte.cli.words import asks_search, take_words
from entracte.declare.compose import composing
from entracte.declare.sealed import sealed
from entracte.declare.settings import register
from entracte.disk import left
from entracte.errors import ConfigError
from entracte.garbage import seldom_collected

register()


@cache
def _scratch() -> str:
    """Removed when the command ends."""
    folder = mkdtemp(prefix="entracte-sweep-")
    left.note(Path(folder))
    return folder


# Of `hydra.sweep.dir`; made by the first sweep that asks for it.
OmegaConf.register_new_resolver("entracte_scratch", _scratch, replace=True)

_RAISE = "HYDRA_FULL_ERROR"

_WORTH_S = 5.0
"""From here on a dry run says what its phases took."""
_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"

_sweep: list[SweepJob] = []
"""The jobs of this process's sweep, if there is one."""


def main() -> None:
    """Entry point of the console script. Hydra reads its words."""
    with seldom_collected():
        guarded(_main)


def _main() -> None:
    if "--version" in sys.argv[1:]:
        # Hydra would say its own.
        print_version()
        return
    with one_message():
        if asks_help(sys.argv[1:]):
            print(compile_help(sys.argv[1:], console.width), end="")
            return
        how, sys.argv[1:] = taken(sys.argv[1:])
        choose(how)
        take_words()
    if asks_search(sys.argv[1:]):
        _run_search()
        return
    with one_message(), _own_messages(), composing():
        _hydra()
    if _sweep:
        _run_sweep()


@contextmanager
def _own_messages() -> Iterator[None]:
    """Hydra prints tracebacks of what it does not know, unless it is told to raise everything."""
    before = os.environ.get(_RAISE)
    os.environ[_RAISE] = "1"
    try:
        yield
    finally:
        os.environ.pop(_RAISE)
        if before is not None:
            os.environ[_RAISE] = before


def _run_sweep() -> None:
    """All jobs, then the comparison; and exit code 1 if a job failed."""
    from entracte.cli.sweep import show_sweep
    from entracte.cli.sweep_run import run_sweep

    with one_message(), sealed():
        run_sweep(_sweep)
        made = [o for o in _sweep if not o.advises]
        if made:
            show_sweep(console, made)
    _end(_sweep)


def _run_search() -> None:
    """As many points as it asks for, then the comparison; exit code 1 as of a sweep."""
    from entracte.cli.search import searched
    from entracte.cli.sweep import show_sweep

    with one_message():
        found = searched(sys.argv[1:])
        show_sweep(console, found.jobs, found.objectives, found.sentence)
    _end(found.jobs)


def _end(jobs: Sequence[SweepJob]) -> None:
    failed = [o.overrides for o in jobs if o.failed]
    if failed:
        errors.print(
            f"{len(failed)} of the sweep's jobs failed:", *failed, sep="\n  ", markup=False
        )
        sys.exit(1)


@hydra.main(version_base="1.3", config_path="pkg://entracte.conf", config_name="compile")
def _hydra(config: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    if hydra_config.mode is RunMode.MULTIRUN:
        _note_job(config, str(hydra_config.launcher["_target_"]))
        return
    with one_message(), sealed():
        _compile(config)


def _note_job(config: DictConfig, launcher: str) -> None:
    """A job of a sweep: they run when all are known. Raises `ConfigError` for a launcher that
    would call this in other processes, where what is noted is lost."""
    if launcher != _LAUNCHER:
        raise ConfigError(
            f"hydra.launcher: {launcher} cannot run a sweep's jobs; leave it out, and say with "
            "`sweep.jobs=auto`, or a number, how many run at once; `sweep.ray` has other machines"
        )
    overrides = HydraConfig.get().overrides.task
    sweep_job = SweepJob.unread(overrides)
    try:
        with composing(), sealed():
            sweep_job = SweepJob.of(config, overrides)
    except Exception as error:  # noqa: BLE001 - the other jobs go on
        sweep_job.error = fault_of(error)
    _sweep.append(sweep_job)


def _compile(config: DictConfig) -> None:
    """Compile and say what came out of it."""
    from entracte.calibrate.derived import calibrated
    from entracte.cli.show import show_summary
    from entracte.compile.folder import build_folder
    from entracte.compile.job import compile_job
    from entracte.store.declared import read_job
    from entracte.store.times import Times

    config = calibrated(config)
    with composing():
        advises = bool(config.advise)
    if advises:
        from entracte.cli.advise import show_advice

        show_advice(console, config)
        return
    if config.search.trials:
        raise ConfigError("search.trials: say it as a word, `compile search=N ...`")
    job = read_job(config)
    say(console, job.pipeline.title, style="bold")
    into = " (dry run)" if job.dry_run else f" into {build_folder(job)}"
    say(console, f"for {job.target.title}{into}")
    times = Times.of(job)
    with Bars(expected=times.expected()) as bars:
        built = compile_job(job, bars)
    times.keep(bars.phases)
    if not job.dry_run or built.seconds >= _WORTH_S:
        say(console, times_text(bars.phases, console.width))
    show_summary(console, built.plan, built.folder, built.seconds, built.dry_run_s)
