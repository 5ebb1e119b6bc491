"""`compile`: compose a configuration with Hydra and build it."""

import os
import sys

if __name__ == "__main__":
    # First of all, so that it holds while the rest is imported.
    from entracte.cli.start import start

    start("entracte.cli.compile")
    sys.exit()

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.text import Text

from entracte.cli.console import (
    Bars,
    console,
    errors,
    one_message,
    print_version,
    show_error,
)
from entracte.cli.faults import fault_of
from entracte.cli.start import guarded
from entracte.cli.sweep_job import SweepJob
from entracte.cli.tables import say
from entracte.declare.compose import composing
from entracte.declare.read import read
from entracte.declare.sealed import sealed
from entracte.declare.settings import register
from entracte.disk import left

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

_sweep: list[SweepJob] = []
"""What became of the jobs of this process's sweep, if there is one."""


def main() -> None:
    """Entry point of the console script. Hydra reads the rest, and answers `-h` and `--help`."""
    guarded(_main)


def _main() -> None:
    if "--version" in sys.argv[1:]:
        # Hydra would say its own.
        print_version()
        return
    with one_message(), _own_messages(), composing():
        _hydra()
    if _sweep:
        _end_sweep()


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


def _end_sweep() -> None:
    """The comparison; and exit code 1 if a job failed, which Hydra would tell by a traceback."""
    from entracte.cli.sweep import show_sweep

    with one_message():
        show_sweep(console, _sweep)
    failed = [o.overrides for o in _sweep if o.failed]
    if failed:
        errors.print(
            f"{len(failed)} of the sweep's jobs failed:", *failed, sep="\n  ", markup=False
        )
        sys.exit(1)


@hydra.main(version_base="1.3", config_path="pkg://entracte.conf", config_name="compile")
def _hydra(config: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    with one_message(), sealed():
        if hydra_config.mode is RunMode.MULTIRUN:
            _one_of_many(config)
        else:
            _compile(config)


def _one_of_many(config: DictConfig) -> None:
    """A job of a sweep: its fault is printed and the sweep goes on."""
    overrides = HydraConfig.get().overrides.task
    console.print(Text(f"compile {' '.join(overrides)}", style="bold"))
    sweep_job, advises = SweepJob.unread(overrides), False
    try:
        with composing():
            sweep_job, advises = SweepJob.of(config, overrides), bool(config.advise)
        _compile(config, sweep_job)
    except Exception as error:  # noqa: BLE001 - the other jobs go on
        sweep_job.error = fault_of(error)
        if sweep_job.failed:
            show_error(sweep_job.error)
        else:
            say(console, "does not fit", "")
    if not advises:
        _sweep.append(sweep_job)


def _compile(config: DictConfig, sweep_job: SweepJob | None = None) -> None:
    """Compile and say what came out of it; a job of a sweep notes it in its `sweep_job`."""
    from entracte.build import build_folder, compile_job
    from entracte.cli.held import budget_line
    from entracte.cli.show import show_summary
    from entracte.cli.verdict import time_line

    with composing():
        advises = bool(config.advise)
    if advises:
        from entracte.cli.advise import show_advice

        show_advice(console, config)
        return
    job = read(config)
    if sweep_job is not None:
        sweep_job.budget_bytes = job.target.budget_bytes
        job = replace(job, out=str(sweep_job.folder(job.pipeline.name)))
    else:
        say(console, job.pipeline.title, style="bold")
        into = " (dry run)" if job.dry_run else f" into {build_folder(job)}"
        say(console, f"for {job.target.title}{into}")
    with Bars() as bars:
        built = compile_job(job, bars)
    if sweep_job is not None:
        sweep_job.plan = built.plan
    if sweep_job is not None and job.dry_run:
        # Each job's tables would drown what the sweep ends with.
        say(console, budget_line(built.plan), time_line(built.plan), "")
    else:
        show_summary(console, built.plan, built.folder, built.seconds, built.dry_run_s)
