"""`compile ... advise=techniques`: what leaps, intervals of guidance and resting blocks save."""

from dataclasses import replace
from importlib.resources import files
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.table import Table

from entracte.cli.console import Bars
from entracte.cli.tables import Column, fitted, say
from entracte.cli.techniques_ranked import (
    APART,
    CHANGE,
    INTERVAL,
    LEAP,
    REUSE,
    TEST,
    Combination,
    Technique,
    combinations,
    measured,
    ranked,
)
from entracte.declare.guidance import with_guidance
from entracte.declare.read import Job, refuse_undecided
from entracte.declare.settings import ReuseSettings
from entracte.ir import Pipeline, StageKind
from entracte.store.cache import Cache, cache_folder
from entracte.store.declared import read_job
from entracte.units import compact_bytes, compact_seconds

TECHNIQUES = "techniques"
"""What `advise` is for this."""
_EVERY = 2
_DEMOS = {"first": 1, "last": 0}
"""Blocks that run in all steps beside the demo's first-block test."""
_DEMO = (
    "Demo: clips in which all is right, of prompts seen and held out in training, and PSNR against "
    "plain clips (docs/techniques.md). Of another model they say the order at most: look at its "
    "videos."
)
_SHARES = (
    "A first-block test decides while the plan runs. `ends`: its blocks run in the first step "
    "alone, or in all; `time`: in {}. What another model decides is not known: declare its share "
    "as `expected` beside `change`."
)


def show_techniques(console: Console, config: DictConfig) -> None:
    """Print the combinations by time, and what to type for the fastest. Raises `ConfigError`."""
    from entracte.lower.backend import CORE_ML
    from entracte.trace.wire import trace_pipeline

    job = read_job(config)
    own = _own_test(config, job)
    if own is not None:
        config = _without_test(config, job)
        job = read_job(config)
    refuse_undecided(job, "advise=techniques")
    cache = Cache(cache_folder(job.cache))
    with Bars() as bars:
        bars.phase("advise", len(list(combinations())))
        found = ranked(
            lambda on: _declared(config, job, on, own),
            lambda made: trace_pipeline(made.pipeline, CORE_ML, cache=cache),
            bars.advance,
        )
    if own is not None and not _is_demos(own):
        found = tuple(replace(x, as_measured=TEST not in x.on) for x in found)
    console.print(technique_table(found, console.width))
    for one in found:
        if one.makespan_s is not None and one.on:
            say(console, f"{one.name}: {' '.join(one.words)}")
    if any(TEST in one.on and not one.refused for one in found):
        say(console, _SHARES.format(_whose(own)), style="dim")
    say(console, _DEMO, style="dim")


def technique_table(found: tuple[Combination, ...], width: int = 80) -> Table:
    """One row per combination that is possible."""
    rows = [x for x in found if not x.refused]
    return fitted(
        "Techniques, fastest first",
        (
            Column("technique", [x.name for x in rows], left=True),
            Column("time", [_time(x) for x in rows]),
            Column("ends", [_ends(x) for x in rows]),
            Column("at", [_share(x) for x in rows]),
            Column("read", [_read(x) for x in rows], rank=1),
            Column("demo", [_right(x) for x in rows]),
            Column("PSNR", [_psnr(x) for x in rows]),
        ),
        width,
    )


def _time(one: Combination) -> str:
    return "no fit" if one.makespan_s is None else compact_seconds(one.makespan_s)


def _ends(one: Combination) -> str:
    return "" if one.ends_s is None else "-".join(map(compact_seconds, one.ends_s))


def _share(one: Combination) -> str:
    return "" if one.share is None else f"{one.share:.0%}"


def _read(one: Combination) -> str:
    return "" if one.makespan_s is None else compact_bytes(one.loaded_bytes)


def _right(one: Combination) -> str:
    known = one.fidelity
    return "" if known is None else f"{known.seen:.0%} / {known.held_out:.0%}"


def _psnr(one: Combination) -> str:
    known = one.fidelity
    return "" if known is None or known.psnr_db is None else f"{known.psnr_db:.1f} dB"


# ---------------------------------------------------------------- declaring


def _own_test(config: DictConfig, plain: Job) -> DictConfig | None:
    """A first-block test that the configuration has itself: it is what `test` stands for."""
    found = OmegaConf.select(config, _place(config, plain))
    is_test = isinstance(found, DictConfig) and OmegaConf.is_dict(found.get("at"))
    return found if is_test and "change" in found.at else None


def _is_demos(own: DictConfig) -> bool:
    return _blocks(own) == _DEMOS and own["at"]["change"] == CHANGE


def _blocks(own: DictConfig) -> dict[str, int]:
    """What is put over a recipe's stage need not be whole."""
    usual = ReuseSettings()
    return {key: own.get(key, getattr(usual, key)) for key in _DEMOS}


def _whose(own: DictConfig | None) -> str:
    """Which share the times are of."""
    if own is not None and "expected" in own["at"]:
        return "the share `at` that is declared"
    if own is None or _is_demos(own):
        return "the share `at`, which is the demo's, measured there"
    return "all, since the demo's test was another one"


def _without_test(config: DictConfig, job: Job) -> DictConfig:
    """The plain configuration of one that has a test."""
    changed = config.copy()
    usual = OmegaConf.structured(ReuseSettings)
    OmegaConf.update(changed, _place(config, job), usual, merge=False)
    return changed


def _declared(
    config: DictConfig, plain: Job, on: Technique, own: DictConfig | None
) -> tuple[Job, tuple[str, ...]]:
    changed, words = config.copy(), list[str]()
    if LEAP in on:
        OmegaConf.update(changed, "sampler", _file("sampler", "lpl_static"))
        words.append("sampler=lpl_static")
    if APART in on:
        changed = with_guidance(changed, APART)
        words.append("guidance=apart")
    if INTERVAL in on:
        changed = _guided(changed, plain, words)
    place = _place(changed, plain)
    if REUSE in on:
        _set(changed, words, f"{place}.at", {"every": _EVERY})
    if TEST in on:
        _set(changed, words, place, _test(on, own))
    return read_job(changed), tuple(words)


def _place(config: DictConfig, plain: Job) -> str:
    name = _looped(plain.pipeline)
    # A recipe's stage that the configuration does not have is reached by what is put over it.
    over = "" if name in config.pipeline.stages else "over."
    return f"pipeline.{over}stages.{name}.reuse"


def _test(on: Technique, own: DictConfig | None) -> dict[str, object]:
    """The demo's, or the configuration's own, with the share of the steps that was measured where
    it is the demo's and declares none."""
    known = measured(on) if own is None or _is_demos(own) else None
    at: dict[str, Any] = {"change": CHANGE}
    if known is not None and known.share is not None:
        at["expected"] = known.share
    if own is None:
        return {**_DEMOS, "at": at}
    return {**_blocks(own), "at": at | dict(own["at"])}


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
    words.append(f"{'++' if is_new else ''}{place}={_flow(value)}")


def _flow(value: object) -> str:
    """As it is typed: without spaces or quotes."""
    if not isinstance(value, dict):
        return str(value)
    return f"{{{','.join(f'{k}:{_flow(v)}' for k, v in value.items())}}}"


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
