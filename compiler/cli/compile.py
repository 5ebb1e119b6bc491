"""`compile`: compose a configuration with Hydra and build it."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from compiler.cli.console import Bars, console, errors, one_message, show_error
from compiler.errors import ConfigError, EntracteError
from compiler.read import read
from compiler.settings import register

register()


_failed: list[str] = []
"""Jobs of this process's sweep that failed; Hydra itself only knows exceptions with tracebacks."""


def main() -> None:
    """Entry point of the console script."""
    _hydra()
    if _failed:
        errors.print(f"{len(_failed)} of the sweep's jobs failed:", *_failed, sep="\n  ")
        sys.exit(1)


@hydra.main(version_base="1.3", config_path="pkg://compiler.conf", config_name="compile")
def _hydra(config: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    if hydra_config.mode is RunMode.MULTIRUN:
        _one_of_many(config)
        return
    with one_message():
        _compile(config)


def _one_of_many(config: DictConfig) -> None:
    """A job of a sweep: its fault is printed and the sweep goes on, to end with exit code 1."""
    overrides = " ".join(HydraConfig.get().overrides.task)
    console.print(f"[bold]compile {overrides}[/bold]")
    try:
        _compile(config)
    except EntracteError as error:
        show_error(error)
        _failed.append(overrides)


def _compile(config: DictConfig) -> None:
    if not OmegaConf.is_missing(config.target, "name"):
        _build(config)
        return
    raise ConfigError(
        "no target: say which device to compile for, one of "
        f"{', '.join(targets())}; type\n  compile +target=iphone15pro"
    )


def targets() -> list[str]:
    """The names of all target files."""
    from importlib.resources import files

    folder = files("compiler.conf") / "target"
    return sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml"))


def _build(config: DictConfig) -> None:
    from compiler.build import build_folder, compile_job
    from compiler.cli.show import show_summary

    if config.advise:
        from compiler.cli.advise import show_advice

        show_advice(console, config)
        return
    job = read(config)
    if job.out is None and HydraConfig.get().mode is RunMode.MULTIRUN:
        job = _own_folder(job)
    console.print(
        f"[bold]{job.pipeline.title}[/bold]\nfor {job.target.title}"
        f"{' (dry run)' if job.dry_run else f' into {build_folder(job)}'}"
    )
    with Bars() as bars:
        built = compile_job(job, bars)
    show_summary(console, built.plan, built.folder, built.seconds)


def _own_folder(job):  # noqa: ANN001, ANN202 - Job, imported lazily
    """Jobs of a sweep differ by their overrides, and so do their folders."""
    from dataclasses import replace

    overrides = HydraConfig.get().overrides.task
    parts = [o.lstrip("+").replace("/", ".") for o in overrides if not o.startswith("dry_run")]
    name = ",".join(parts) or "default"
    safe = "".join(c if c.isalnum() or c in "=,._-" else "_" for c in name)
    return replace(job, out=str(Path("build") / f"{job.pipeline.name}-{safe}"))


if __name__ == "__main__":
    main()
