"""`compile ... advise=techniques`: what leaps, intervals of guidance and resting blocks save."""

from importlib.resources import files

from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.table import Table

from entracte.cli.console import Bars
from entracte.cli.tables import Column, fitted, say
from entracte.cli.techniques_ranked import (
    APART,
    INTERVAL,
    LEAP,
    REUSE,
    Combination,
    Technique,
    combinations,
    ranked,
)
from entracte.declare.guidance import with_guidance
from entracte.declare.read import Job, refuse_undecided
from entracte.ir import Pipeline, StageKind
from entracte.store.cache import Cache, cache_folder
from entracte.store.declared import read_job
from entracte.units import compact_bytes, compact_seconds

TECHNIQUES = "techniques"
"""What `advise` is for this."""
_EVERY = 2
_DEMO = (
    "Demo: clips in which all is right, of prompts seen and held out in training, and PSNR against "
    "plain clips (docs/techniques.md). Of another model they say the order at most: look at its "
    "videos."
)


def show_techniques(console: Console, config: DictConfig) -> None:
    """Print the combinations by time, and what to type for the fastest. Raises `ConfigError`."""
    from entracte.lower.backend import CORE_ML
    from entracte.trace.wire import trace_pipeline

    job = read_job(config)
    refuse_undecided(job, "advise=techniques")
    cache = Cache(cache_folder(job.cache))
    with Bars() as bars:
        bars.phase("advise", len(list(combinations())))
        found = ranked(
            lambda on: _declared(config, job, on),
            lambda made: trace_pipeline(made.pipeline, CORE_ML, cache=cache),
            bars.advance,
        )
    console.print(technique_table(found, console.width))
    for one in found:
        if one.makespan_s is not None and one.on:
            say(console, f"{one.name}: {' '.join(one.words)}")
    say(console, _DEMO, style="dim")


def technique_table(found: tuple[Combination, ...], width: int = 80) -> Table:
    """One row per combination that is possible."""
    rows = [x for x in found if not x.refused]
    return fitted(
        "Techniques, fastest first",
        (
            Column("technique", [x.name for x in rows], left=True),
            Column("time", [_time(x) for x in rows]),
            Column("read", [compact_bytes(x.loaded_bytes) if x.makespan_s else "" for x in rows]),
            Column("demo", [_right(x) for x in rows]),
            Column("PSNR", [_psnr(x) for x in rows]),
        ),
        width,
    )


def _time(one: Combination) -> str:
    return "no fit" if one.makespan_s is None else compact_seconds(one.makespan_s)


def _right(one: Combination) -> str:
    known = one.fidelity
    return "" if known is None else f"{known.seen:.0%} / {known.held_out:.0%}"


def _psnr(one: Combination) -> str:
    known = one.fidelity
    return "" if known is None or known.psnr_db is None else f"{known.psnr_db:.1f} dB"


# ---------------------------------------------------------------- declaring


def _declared(config: DictConfig, plain: Job, on: Technique) -> tuple[Job, tuple[str, ...]]:
    changed, words = config.copy(), list[str]()
    if LEAP in on:
        OmegaConf.update(changed, "sampler", _file("sampler", "lpl_static"))
        words.append("sampler=lpl_static")
    if APART in on:
        changed = with_guidance(changed, APART)
        words.append("guidance=apart")
    if INTERVAL in on:
        changed = _guided(changed, plain, words)
    if REUSE in on:
        name = _looped(plain.pipeline)
        # A recipe's stage that the configuration does not have is reached by what is put over it.
        over = "" if name in changed.pipeline.stages else "over."
        _set(changed, words, f"pipeline.{over}stages.{name}.reuse.at", {"every": _EVERY})
    return read_job(changed), tuple(words)


def _guided(config: DictConfig, plain: Job, words: list[str]) -> DictConfig:
    """Guided in the first half of the steps."""
    given = config.sampler.evaluations or config.sampler.steps
    count = given or next((loop.count for loop in plain.pipeline.loops), 0)
    end = max(1, int(count) // 2)
    words.append("guidance=interval")
    changed = with_guidance(config, INTERVAL)
    _set(changed, words, "guidance.end", end)
    return changed


def _set(config: DictConfig, words: list[str], place: str, value: object) -> None:
    """And the word for it."""
    is_new = OmegaConf.select(config, place.rpartition(".")[0]) is None
    with open_dict(config):
        OmegaConf.update(config, place, value, force_add=True)
    shown = f"{{every:{_EVERY}}}" if isinstance(value, dict) else value
    words.append(f"{'++' if is_new else ''}{place}={shown}")


def _file(group: str, name: str) -> DictConfig:
    text = (files("entracte.conf") / group / f"{name}.yaml").read_text()
    made = OmegaConf.create(text)
    assert isinstance(made, DictConfig)
    return made


def _looped(pipeline: Pipeline) -> str:
    """The first graph of a loop that is no scheduler's."""
    for loop in pipeline.loops:
        for name in loop.stages:
            stage = pipeline.stage(name)
            if stage.kind is StageKind.GRAPH and not stage.op.startswith("schedule."):
                return name
    return "denoise"
