"""`compile ... advise=true`: a table of options, ranked."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files

from omegaconf import DictConfig, OmegaConf
from rich import box
from rich.console import Console
from rich.table import Table

from entracte.advise import Choice, Option, advise, count, verdict
from entracte.cli.console import Bars
from entracte.declare.read import Job, read
from entracte.ir import Policy
from entracte.store.cache import Cache, cache_folder
from entracte.units import compact_bytes, compact_seconds

POLICIES = ("sequential", "double_buffer", "ci_dl")
"""What is tried besides the configured policy."""


def show_advice(console: Console, config: DictConfig) -> None:
    """Print the ranked options and the final sentence. Raises `ConfigError`."""
    from entracte.lower.backend import CORE_ML
    from entracte.trace.wire import trace_pipeline

    job = read(config)
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
    console.print(option_table(options))
    console.print(verdict(options, sizes[0].size))
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
    return read(changed)


def _policies(config: DictConfig) -> Iterator[Policy]:
    folder = files("entracte.conf") / "policy"
    for name in POLICIES:
        text = (folder / f"{name}.yaml").read_text()
        changed = config.copy()
        # The fields that this policy's file leaves out have their defaults again.
        plain = {"rule": "gates", "margin": 0}
        OmegaConf.update(changed, "policy", plain)
        OmegaConf.update(changed, "policy", OmegaConf.create(text))
        yield replace(read(changed).policy)


def option_table(options: tuple[Option, ...]) -> Table:
    """One row per option, fits 80 columns."""
    table = Table(
        title="Options, fastest first",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 1),
        collapse_padding=True,
    )
    for name in ("size", "weights", "policy"):
        table.add_column(name, no_wrap=True)
    for name in ("chunks", "time", "read"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("fid.", justify="right")
    table.add_column("bottleneck", no_wrap=True)
    for o in options:
        fits = o.makespan_s is not None
        table.add_row(
            o.size,
            o.precision if o.compression == "none" else f"{o.precision} {o.compression}",
            o.policy,
            str(o.chunks) if fits else "",
            compact_seconds(o.makespan_s) if o.makespan_s is not None else "",
            compact_bytes(o.loaded_bytes) if fits else "",
            str(o.fidelity + 1),
            o.bottleneck,
        )
    return table
