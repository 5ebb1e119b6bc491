"""settings -> Pipeline, Target, Policy: the declared values, with every fault reported."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from entracte.declare.folder import Keep, expanded, without_groups
from entracte.declare.guidance import with_guidance, written_over
from entracte.declare.host_ops import HOST_OPS
from entracte.declare.packages import check_package
from entracte.declare.pipeline import read_pipeline
from entracte.declare.scheme import UNCOMPRESSED
from entracte.declare.sealed import sealed
from entracte.declare.settings import (
    KEEPS,
    LOCAL,
    POLICY_DRIVERS,
    CompileSettings,
    PolicySettings,
    TargetSettings,
)
from entracte.declare.sizes import check_keys_are_read
from entracte.declare.strays import check_keys
from entracte.declare.target import target_of
from entracte.declare.undecided import AUTO, Undecided, undecided_of, with_values
from entracte.declare.values import check_kinds, check_values, not_negative, positive
from entracte.declare.words import check_allowed, check_file_name
from entracte.errors import ConfigError
from entracte.ir import (
    Pipeline,
    Policy,
    StageKind,
    Target,
)
from entracte.units import parse_bytes

_VERIFY = {"on": True, "off": False, "True": True, "False": False}
"""Unquoted in a yaml file, `on` and `off` arrive as booleans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One compile, declared: everything between the user's words and the side effects."""

    pipeline: Pipeline
    target: Target
    policy: Policy
    chunk_bytes: int | None
    shares_graphs: bool
    """Equal blocks share one graph, which takes their weights as inputs."""
    out: str | None
    dry_run: bool
    verify: bool
    workers: int
    cache: str
    cache_limit_bytes: int
    settings: str
    guidance: str
    """Which file of `conf/guidance` says how its halves come."""
    composed: str
    """The configuration as it was given, JSON: `guided` reads it again."""
    undecided: Undecided | None = None
    """What the planner is to choose; till then each stands at the first value that is tried."""


def read(config: DictConfig, *, recorded: bool = False, keep: Keep | None = None) -> Job:
    """Check a composed configuration and freeze it. Raises `ConfigError`.

    Args:
        keep: gives what a recipe declared before.
        recorded: it was read before, and its values no longer refer to each other.
    """
    with sealed():
        given = config
        if not recorded:
            config = written_over(config)
        _check_whole(config)
        check_keys(_raw(config))
        if not recorded:
            config = expanded(config) if keep is None else expanded(config, keep)
            _check_nothing_is_missing(config)
            _check_nothing_is_chosen(given)
        undecided = undecided_of(config)
        if undecided is not None:
            # Told apart from a job whose settings are these very values.
            config = with_values(undecided, {}, {key: {} for key in undecided.keys})
        settings = OmegaConf.to_object(config)
        plain = OmegaConf.to_container(config, resolve=True)
        assert isinstance(plain, dict)
        check_values(plain)
        check_kinds(settings)
        text = json.dumps({k: v for k, v in plain.items() if k not in LOCAL})
    assert isinstance(settings, CompileSettings)
    if "${" in text:
        raise ConfigError("configuration: a text holds `${`, which a plan's settings must not")
    pipeline = read_pipeline(
        settings.pipeline,
        settings.compression.name,
        parse_bytes(settings.partition.score_bytes, "partition.score_bytes"),
    )
    if not recorded:
        # As it was given: what a recipe made of it refers to nothing.
        check_keys_are_read(_raw(given))
    _check_packages(pipeline, settings.allow_packages)
    sweep_jobs(settings.sweep.jobs)
    if settings.sweep.verify and settings.dry_run:
        raise ConfigError(
            "sweep.verify=true: a dry run makes no packages that could run, so it has no dB; leave "
            "out dry_run=true"
        )
    return Job(
        pipeline=pipeline,
        target=target_of(settings.target),
        policy=_policy(settings.policy),
        chunk_bytes=_chunk_bytes(settings.partition.chunk_bytes),
        shares_graphs=_shares_graphs(settings.partition.weights, pipeline),
        out=settings.out,
        dry_run=settings.dry_run,
        verify=_verify(settings.verify),
        workers=max(1, settings.workers),
        cache=settings.cache,
        cache_limit_bytes=parse_bytes(settings.cache_limit, "cache_limit"),
        settings=text,
        guidance=settings.guidance.name,
        composed=json.dumps({k: v for k, v in _raw(given).items() if k in plain}),
        undecided=undecided,
    )


def guided(job: Job, name: str, keep: Keep | None = None) -> Job:
    """The same job with another file of `conf/guidance`; `keep` as of `read`. Raises `ConfigError`
    where its pipeline cannot be guided so."""
    config = OmegaConf.merge(OmegaConf.structured(CompileSettings), json.loads(job.composed))
    assert isinstance(config, DictConfig)
    return read(with_guidance(config, name), keep=keep)


def decided(job: Job, values: Mapping[str, Any], chosen: Mapping[str, Any]) -> Job:
    """A job with values for what was left to the planner (`with_values`). Raises `ConfigError`."""
    if job.undecided is None:
        return job
    made = read(with_values(job.undecided, values, chosen), recorded=True)
    # How its halves come may have been chosen before, and is told there.
    settings = json.loads(made.settings) | {"guidance": json.loads(job.settings)["guidance"]}
    return replace(job, pipeline=made.pipeline, settings=json.dumps(settings), undecided=None)


def refuse_undecided(job: Job, what: str) -> None:
    """Raises `ConfigError` where something is left to the planner and `what` needs values."""
    if job.undecided is not None:
        key = job.undecided.keys[0]
        raise ConfigError(
            f"{key}={AUTO}: {what} compares plans whose settings are given; give a value, for "
            f"instance the one that `compile {key}={AUTO} dry_run=true` chooses"
        )


def read_target(config: DictConfig) -> Target:
    """The device alone of a composed configuration. Raises `ConfigError`."""
    with sealed():
        _check_whole(config)
        plain = OmegaConf.to_container(config.target, resolve=True)
        settings = OmegaConf.to_object(config.target)
        assert isinstance(plain, dict)
        check_values({"target": plain})
        check_kinds(settings, "target")
    assert isinstance(settings, TargetSettings)
    return target_of(settings)


def _raw(config: DictConfig) -> dict[Any, Any]:
    """Its values, with those that refer to others as they are written."""
    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    return raw


def _check_whole(config: DictConfig) -> None:
    if not isinstance(config.get("target"), DictConfig) or OmegaConf.is_missing(
        config.target, "name"
    ):
        raise ConfigError(
            "no target: say which device to compile for, one of "
            f"{', '.join(targets())}; type\n  compile target=iphone15pro"
        )
    # What is put over a recipe's need not be whole: the recipe gives the rest.
    _check_nothing_is_missing(without_groups(config) if config.pipeline.get("folder") else config)


def _check_nothing_is_missing(config: DictConfig) -> None:
    missing = sorted(k for k in OmegaConf.missing_keys(config) if not k.startswith("hydra"))
    if missing:
        raise ConfigError(f"{missing[0]}: a value is missing (of {len(missing)} missing in all)")


def _check_nothing_is_chosen(config: DictConfig) -> None:
    if config.chosen:
        key = next(iter(config.chosen))
        raise ConfigError(
            f"chosen.{key}: is written by `compile`, for those who read the plan; leave it out, "
            f"and say {AUTO} where the planner is to choose"
        )


def _verify(word: str) -> bool:
    if word not in _VERIFY:
        raise ConfigError(f"verify={word}: not one of on, off")
    return _VERIFY[word]


def targets() -> list[str]:
    """The names of all target files that Entracte brings."""
    folder = files("entracte.conf") / "target"
    return sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml"))


def sweep_jobs(value: Any) -> int | None:
    """`sweep.jobs`: how many at once; None for `auto`. Raises `ConfigError`."""
    if value == "auto":
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(
            f"sweep.jobs={value}: not a whole number from 1, and not `auto`; say how many jobs of "
            "a sweep run at once"
        )
    return value


def _chunk_bytes(text: str) -> int | None:
    if text == "auto":
        return None
    return int(positive("partition.chunk_bytes", parse_bytes(text, "partition.chunk_bytes")))


def _shares_graphs(word: str, pipeline: Pipeline) -> bool:
    """Codes and tables can be constants of a package only, so some stage must have neither."""
    if word not in ("stored", "inputs"):
        raise ConfigError(
            f"partition.weights={word}: not one of stored, inputs; `partition=shared` has inputs"
        )
    compiled = [s for s in pipeline.stages if s.kind is StageKind.GRAPH]
    packed = sorted({s.compression for s in compiled} - {UNCOMPRESSED})
    if word == "inputs" and packed and all(s.compression != UNCOMPRESSED for s in compiled):
        raise ConfigError(
            f"partition.weights=inputs: inputs of a graph are fp16, fp32 or int32, and "
            f"compression={', '.join(packed)} stores codes, which only constants of a package can "
            "be; give compression=none, or partition=auto"
        )
    return word == "inputs"


def _policy(s: PolicySettings) -> Policy:
    check_allowed("policy.keep", s.keep, KEEPS)
    check_allowed("policy.driver", s.driver, POLICY_DRIVERS)
    check_file_name("policy.name", s.name)
    for key in ("lookahead", "margin"):
        not_negative(f"policy.{key}", getattr(s, key))
    return Policy(s.name, s.lookahead, s.retain, s.keep, s.driver, s.margin)


def _check_packages(p: Pipeline, allowed: Sequence[str]) -> None:
    """To find a package's folder is to import it, which runs its code."""
    places = [("pipeline.weights", p.weights)]
    places += [("pipeline.lora", lora.file) for lora in p.loras]
    for stage in p.stages:
        if stage.weights:
            places.append((f"pipeline.stages.{stage.name}.weights", stage.weights))
        if stage.kind is StageKind.HOST:
            sources = HOST_OPS[stage.op].sources(dict(stage.params), stage.weights or p.weights)
            places += [(f"pipeline.stages.{stage.name}.params", s.place) for s in sources]
    for where, place in places:
        check_package(where, place, allowed)
