"""`compile ... advise=true`: a table of options, ranked."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from importlib.resources import files
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from entracte.advise import Choice, Option, advise, count, verdict
from entracte.cli.console import Bars
from entracte.cli.tables import Column, fitted, say
from entracte.cli.techniques import TECHNIQUES, show_techniques
from entracte.declare.read import Job, refuse_undecided
from entracte.declare.settings import PolicySettings
from entracte.errors import ConfigError
from entracte.ir import Policy
from entracte.store.cache import Cache, cache_folder
from entracte.store.declared import read_job
from entracte.units import compact_bytes, compact_seconds

POLICIES = ("sequential", "double_buffer", "ci_dl")
"""What is tried besides the configured policy."""


def show_advice(console: Console, config: DictConfig) -> None:
    """Print the ranked options and the final sentence. Raises `ConfigError`."""
    if config.advise == TECHNIQUES:
        show_techniques(console, config)
        return
    if not isinstance(config.advise, bool):
        raise ConfigError(f"advise={config.advise}: give true, false or {TECHNIQUES}")
    from entracte.lower.backend import CORE_ML
    from entracte.trace.wire import trace_pipeline

    job = read_job(config)
    refuse_undecided(job, "advise=true")
    if job.shares_graphs:
        raise ConfigError(
            "partition.weights=inputs: advise=true compares compressions, which weights that are "
            "inputs cannot have; give one of the two, or advise=techniques"
        )
    cache = Cache(cache_folder(job.cache))
    sizes = tuple(_sizes(config))
    policies = tuple(p for p in _policies(config) if p.name != job.policy.name)
    with Bars() as bars:
        bars.phase("advise", count(len(sizes), len(policies)))
        options = advise(
            lambda choice, precision, compression: _job(config, choice, precision, compression),
            lambda pipeline: trace_pipeline(pipeline, CORE_ML, cache=cache),
            sizes,
            policies,
            bars.advance,
        )
    console.print(option_table(options, console.width))
    say(console, verdict(options, sizes[0].size))
    console.print(
        "Fidelity is only the order of what is kept of the weights: check with `plan verify`.",
        style="dim",
    )


def _sizes(config: DictConfig) -> Iterator[Choice]:
    """The configured size, and three quarters of it in steps of 16."""
    video = OmegaConf.to_container(config.pipeline.video, resolve=True)
    assert isinstance(video, dict)
    if not {"height", "width"} <= video.keys():
        yield Choice("as is", ())
        return
    height, width = int(video["height"]), int(video["width"])
    yield Choice(f"{height}x{width}", ())
    small = max(16, height * 3 // 4 // 16 * 16), max(16, width * 3 // 4 // 16 * 16)
    if small != (height, width):
        both = zip(("height", "width"), small, strict=True)
        overrides = tuple((f"pipeline.video.{name}", size) for name, size in both)
        yield Choice(f"{small[0]}x{small[1]}", overrides)


def _job(config: DictConfig, choice: Choice, precision: str, compression: str) -> Job:
    changed = config.copy()
    for key, value in (
        *choice.overrides,
        ("pipeline.precision", precision),
        ("compression.name", compression),
    ):
        OmegaConf.update(changed, key, value)
    return read_job(changed)


def _policies(config: DictConfig) -> Iterator[Policy]:
    folder = files("entracte.conf") / "policy"
    for name in POLICIES:
        text = (folder / f"{name}.yaml").read_text()
        changed = config.copy()
        # The fields that this policy's file leaves out have their defaults again.
        plain = {f.name: f.default for f in fields(PolicySettings) if f.default != MISSING}
        OmegaConf.update(changed, "policy", plain)
        OmegaConf.update(changed, "policy", OmegaConf.create(text))
        yield replace(read_job(changed).policy)


def option_table(options: tuple[Option, ...], width: int = 80) -> Table:
    """One row per option."""
    return fitted(
        "Options, fastest first",
        (
            Column("size", [o.size for o in options], left=True),
            Column("weights", [_weights(o) for o in options], left=True),
            Column("policy", [o.policy for o in options], left=True),
            Column("chunks", [_shown(str, o.chunks, o) for o in options], 1),
            Column("time", [_shown(compact_seconds, o.makespan_s, o) for o in options]),
            Column("read", [_shown(compact_bytes, o.loaded_bytes, o) for o in options]),
            Column("fid", [str(o.fidelity + 1) for o in options]),
            Column("bottleneck", [o.bottleneck for o in options], left=True),
        ),
        width,
    )


def _weights(o: Option) -> str:
    return o.precision if o.compression == "none" else f"{o.precision} {o.compression}"


def _shown(format_: Callable[[Any], str], value: float | None, o: Option) -> str:
    """Figures of an option that fits."""
    return format_(value) if o.makespan_s is not None else ""
