"""settings -> Pipeline, Target, Policy: the declared values, with every fault reported."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from entracte.cost import CLASSES
from entracte.declare.host_ops import HOST_OPS
from entracte.declare.order import ordered
from entracte.declare.scheme import PRECISION_FLOORS_DB, compressions
from entracte.declare.sealed import sealed
from entracte.declare.settings import (
    LOCAL,
    CompileSettings,
    InputSettings,
    LoopSettings,
    PipelineSettings,
    PolicySettings,
    StageSettings,
    TargetSettings,
)
from entracte.declare.values import check_kinds, check_values, not_negative, positive
from entracte.errors import ConfigError
from entracte.ir import (
    MIN_PAGE_BYTES,
    Input,
    Loop,
    Map,
    Params,
    Pipeline,
    Policy,
    Stage,
    StageKind,
    Target,
)
from entracte.units import parse_bytes

KEEPS = ("even", "strided", "searched", "published")
POLICY_DRIVERS = ("gates", "online", "best")
OWN = "entracte"
_VERIFY = {"on": True, "off": False, "True": True, "False": False}
"""Unquoted in a yaml file, `on` and `off` arrive as booleans."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_DEFAULTS = {"text": (str,), "seed": (int,), "number": (int, float)}
"""What the default of an input of each kind is."""
_MOST_FPS = 1000
_MOST_CONTENTION = 1000
MOST_ITERATIONS = 100_000
"""Of a loop: a plan of more could not be followed step by step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One compile, declared: everything between the user's words and the side effects."""

    pipeline: Pipeline
    target: Target
    policy: Policy
    chunk_bytes: int | None
    out: str | None
    dry_run: bool
    verify: bool
    workers: int
    cache: str
    cache_limit_bytes: int
    settings: str


def read(config: DictConfig) -> Job:
    """Check a composed configuration and freeze it. Raises `ConfigError`."""
    with sealed():
        _check_whole(config)
        settings = OmegaConf.to_object(config)
        plain = OmegaConf.to_container(config, resolve=True)
        assert isinstance(plain, dict)
        check_values(plain)
        check_kinds(settings)
        text = json.dumps({k: v for k, v in plain.items() if k not in LOCAL})
    assert isinstance(settings, CompileSettings)
    if "${" in text:
        raise ConfigError("configuration: a text holds `${`, which a plan's settings must not")
    pipeline = _pipeline(settings.pipeline, settings.compression.name)
    _check_packages(pipeline, settings.allow_packages)
    return Job(
        pipeline=pipeline,
        target=_target(settings.target),
        policy=_policy(settings.policy),
        chunk_bytes=_chunk_bytes(settings.partition.chunk_bytes),
        out=settings.out,
        dry_run=settings.dry_run,
        verify=_verify(settings.verify),
        workers=max(1, settings.workers),
        cache=settings.cache,
        cache_limit_bytes=parse_bytes(settings.cache_limit, "cache_limit"),
        settings=text,
    )


def _check_whole(config: DictConfig) -> None:
    if not isinstance(config.get("target"), DictConfig) or OmegaConf.is_missing(
        config.target, "name"
    ):
        raise ConfigError(
            "no target: say which device to compile for, one of "
            f"{', '.join(targets())}; type\n  compile +target=iphone15pro"
        )
    missing = sorted(k for k in OmegaConf.missing_keys(config) if not k.startswith("hydra"))
    if missing:
        raise ConfigError(f"{missing[0]}: a value is missing (of {len(missing)} missing in all)")


def _verify(word: str) -> bool:
    if word not in _VERIFY:
        raise ConfigError(f"verify={word}: not one of on, off")
    return _VERIFY[word]


def targets() -> list[str]:
    """The names of all target files that Entracte brings."""
    folder = files("entracte.conf") / "target"
    return sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml"))


def _chunk_bytes(text: str) -> int | None:
    if text == "auto":
        return None
    return int(positive("partition.chunk_bytes", parse_bytes(text, "partition.chunk_bytes")))


def _policy(s: PolicySettings) -> Policy:
    _allowed("policy.keep", s.keep, KEEPS)
    _allowed("policy.driver", s.driver, POLICY_DRIVERS)
    _check_name("policy.name", s.name)
    for key in ("lookahead", "margin"):
        not_negative(f"policy.{key}", getattr(s, key))
    return Policy(s.name, s.lookahead, s.retain, s.keep, s.driver, s.margin)


def _target(s: TargetSettings) -> Target:
    known = {f.name for f in fields(TargetSettings)} - {"name", "title", "sources", "estimated"}
    stray = sorted(set(s.estimated) - known)
    if stray:
        raise ConfigError(
            f"target.estimated: {stray[0]!r} is no figure of a target: {sorted(known)}"
        )
    _check_name("target.name", s.name)
    target = Target(
        name=s.name,
        title=s.title,
        memory_bytes=parse_bytes(s.memory, "target.memory"),
        base_footprint_bytes=parse_bytes(s.base_footprint, "target.base_footprint"),
        settle_fraction=s.settle_fraction,
        chunk_limit_bytes=int(_rate("target.chunk_limit", s.chunk_limit)),
        deployment=s.deployment,
        compute_unit=s.compute_unit,
        load_bandwidth=_rate("target.load_bandwidth", s.load_bandwidth),
        load_overhead_s=not_negative("target.load_overhead_s", s.load_overhead_s),
        compute_flops=positive("target.compute_gflops", s.compute_gflops) * 1e9,
        memory_bandwidth=_rate("target.memory_bandwidth", s.memory_bandwidth),
        call_overhead_s=not_negative("target.call_overhead_s", s.call_overhead_s),
        sources=tuple(s.sources),
        estimated=tuple(s.estimated),
        efficiency=_efficiency(s.efficiency),
        cold_bandwidth=(
            None if s.cold_bandwidth is None else _rate("target.cold_bandwidth", s.cold_bandwidth)
        ),
        contention=s.contention,
        page_bytes=parse_bytes(s.page_bytes, "target.page_bytes"),
    )
    if 0 < target.page_bytes < MIN_PAGE_BYTES:
        raise ConfigError(
            f"target.page_bytes: {s.page_bytes} is below {MIN_PAGE_BYTES} bytes, and no system "
            "gives less memory back; give more, or 0 for whole packages"
        )
    if not 1 <= target.contention <= _MOST_CONTENTION:
        raise ConfigError(
            f"target.contention: {s.contention} is not between 1 and {_MOST_CONTENTION}; give how "
            "many times slower loads and calls are while they overlap, 1 for not at all"
        )
    if not 0 <= target.settle_fraction < 1:
        raise ConfigError(f"target.settle_fraction: {s.settle_fraction} is not in [0, 1)")
    if target.budget_bytes <= 0:
        raise ConfigError(
            f"target.memory: {s.memory} leaves nothing beside the app's own "
            f"{s.base_footprint}; give more, or lower target.base_footprint"
        )
    return target


def _efficiency(given: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    for name, share in given.items():
        _allowed("target.efficiency", name, CLASSES)
        if not 0 < share <= 1:
            raise ConfigError(f"target.efficiency.{name}: {share} is not above 0 and at most 1")
    return tuple((name, given[name]) for name in CLASSES if name in given)


def _rate(where: str, text: str) -> float:
    """A size of which there must be some."""
    return positive(where, float(parse_bytes(text, where)))


def _pipeline(s: PipelineSettings, compression: str) -> Pipeline:
    _check_name("pipeline.name", s.name)
    stages = tuple(_stage(name, stage, s, compression) for name, stage in s.stages.items())
    loops = tuple(_loop(name, loop) for name, loop in s.loops.items())
    pipeline = Pipeline(
        name=s.name,
        title=s.title,
        weights=s.weights,
        inputs=tuple(_input(name, i) for name, i in s.inputs.items()),
        stages=stages,
        loops=loops,
        output=s.output,
        fps=_fps(s.video.get("fps", 8)),
    )
    _check_wiring(pipeline)
    return replace(pipeline, stages=ordered(stages, loops))


def _fps(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MOST_FPS:
        raise ConfigError(
            f"pipeline.video.fps: {value!r} is not above 0 and at most {_MOST_FPS} frames a second"
        )
    return float(value)


def _input(name: str, s: InputSettings) -> Input:
    where = f"pipeline.inputs.{name}"
    _check_own_name(where, "an input", name)
    _allowed(f"{where}.kind", s.kind, tuple(_DEFAULTS))
    kinds = _DEFAULTS[s.kind]
    if s.default is not None and (isinstance(s.default, bool) or not isinstance(s.default, kinds)):
        raise ConfigError(f"{where}.default: {s.default!r} is no {s.kind}")
    default: Any = s.default
    if s.kind == "number" and default is not None:
        default = float(default)
    return Input(name, s.kind, default)


def _check_own_name(where: str, what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: {what}'s name is letters, digits and _, a letter first")


def _check_name(where: str, name: str) -> None:
    """Such names become names of folders."""
    if not _FILE_NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: {name[:60]!r}: a name is letters, digits, _, - and ., a letter or digit "
            "first"
        )


def _stage(name: str, s: StageSettings, pipeline: PipelineSettings, compression: str) -> Stage:
    where = f"pipeline.stages.{name}"
    _check_own_name(where, "a stage", name)
    given = [(k, op) for k in StageKind if (op := getattr(s, k.value)) is not None]
    if len(given) != 1:
        raise ConfigError(f"{where}: give exactly one of graph, constant, host")
    kind, op = given[0]
    if kind is StageKind.HOST:
        _allowed(f"{where}.host", op, tuple(HOST_OPS))
        if fault := HOST_OPS[op].declared_fault(dict(freeze(s.params)), s.inputs):
            raise ConfigError(f"{where}.{fault}")
    precision = s.precision or pipeline.precision
    chosen = s.compression or pipeline.compression or compression
    _allowed(f"{where}.precision", precision, tuple(PRECISION_FLOORS_DB))
    _allowed(f"{where}.compression", chosen, compressions())
    return Stage(
        name=name,
        kind=kind,
        op=op,
        params=freeze(s.params),
        inputs=tuple(s.inputs.items()),
        map=_map(where, s),
        precision=precision,
        compression=chosen,
        functions=_functions(where, s.functions),
        weights=_own_weights(where, kind, s),
    )


def _own_weights(where: str, kind: StageKind, s: StageSettings) -> str:
    """A stage's own place of weights; empty for the pipeline's."""
    if s.weights is None:
        return ""
    if kind is StageKind.CONSTANT or not s.weights:
        raise ConfigError(
            f"{where}.weights: {s.weights!r}: a stage that reads weights names a folder, "
            "`package:NAME/FOLDER` or `random:SEED`, or leaves it out for the pipeline's"
        )
    return s.weights


def _functions(where: str, given: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """By rising count, so that the first one whose count is above the iteration is meant."""
    for name, count in given.items():
        if not _NAME.fullmatch(name) or name == "main":
            raise ConfigError(
                f"{where}.functions: {name!r} is no variant; give letters, digits and _ (`main` "
                "runs after all others)"
            )
        if count < 0:
            raise ConfigError(
                f"{where}.functions.{name}: {count} iterations; give 0 (never) or more"
            )
    kept = sorted((count, name) for name, count in given.items() if count > 0)
    for (count, first), (other, second) in pairwise(kept):
        if count == other:
            raise ConfigError(
                f"{where}.functions: {first} and {second} both end after {count} iterations, so "
                f"{second} never runs; leave it out"
            )
    return tuple((name, count) for count, name in kept)


def _map(where: str, s: StageSettings) -> Map | None:
    if s.map is None:
        return None
    if s.map.port not in s.inputs:
        raise ConfigError(f"{where}.map.port: {s.map.port!r} is none of {sorted(s.inputs)}")
    if s.map.size < 1:
        raise ConfigError(f"{where}.map.size: {s.map.size} is not positive")
    output_axis = s.map.axis if s.map.output_axis is None else s.map.output_axis
    return Map(s.map.port, s.map.axis, s.map.size, output_axis)


def _loop(name: str, s: LoopSettings) -> Loop:
    where = f"pipeline.loops.{name}"
    _check_own_name(where, "a loop", name)
    if not 1 <= s.count <= MOST_ITERATIONS:
        raise ConfigError(
            f"{where}.count: {s.count} iterations; at least 1 (sampler.steps=1), at most "
            f"{MOST_ITERATIONS}"
        )
    for state, pair in s.state.items():
        if len(pair) != 2:
            raise ConfigError(f"{where}.state.{state}: give [first value, next value]")
    return Loop(
        name=name,
        count=s.count,
        stages=tuple(s.stages),
        state=tuple((n, pair[0], pair[1]) for n, pair in s.state.items()),
        scan=tuple(s.scan.items()),
        until=s.until,
    )


def _check_wiring(p: Pipeline) -> None:
    """Every value that is read must be one that somebody makes, by its producer's name."""
    names = {s.name for s in p.stages} | {loop.name for loop in p.loops}
    inputs = {i.name for i in p.inputs}
    clash = names & inputs
    if clash:
        raise ConfigError(f"pipeline: {sorted(clash)[0]!r} is both an input and a stage or loop")
    for stage in p.stages:
        for port, value in stage.inputs:
            _known_value(f"pipeline.stages.{stage.name}.inputs.{port}", value, names, inputs)
        _check_scope(p, stage)
        _check_functions(p, stage)
    for loop in p.loops:
        where = f"pipeline.loops.{loop.name}"
        for member in loop.stages:
            _allowed(f"{where}.stages", member, tuple(s.name for s in p.stages))
        for state, init, after in loop.state:
            _known_value(f"{where}.state.{state}", init, names, inputs)
            _known_value(f"{where}.state.{state}", after, names, inputs)
        _check_until(where, loop)
    _known_value("pipeline.output", p.output, names, inputs)


def _check_scope(p: Pipeline, stage: Stage) -> None:
    """What a loop's stages make is gone after each iteration; only its state is left."""
    for port, value in stage.inputs:
        owner = value.partition(".")[0]
        loop = p.loop_of(owner) if "." in value else None
        if loop is not None and stage.name not in loop.stages:
            states = ", ".join(f"{loop.name}.{n}" for n, _, _ in loop.state)
            raise ConfigError(
                f"pipeline.stages.{stage.name}.inputs.{port}: {value} is made inside the loop "
                f"{loop.name}; read its state instead: {states}"
            )


def _check_until(where: str, loop: Loop) -> None:
    """An iteration decides by what it made itself."""
    if loop.until is None:
        return
    owner, dot, _ = loop.until.partition(".")
    if not dot or owner not in loop.stages:
        raise ConfigError(
            f"{where}.until: {loop.until!r} is not made in the loop; write STAGE.PORT of "
            f"{', '.join(loop.stages)}"
        )


def _check_functions(p: Pipeline, stage: Stage) -> None:
    where = f"pipeline.stages.{stage.name}.functions"
    if stage.functions and stage.kind is not StageKind.GRAPH:
        raise ConfigError(f"{where}: only a graph has variants, {stage.name} is a {stage.kind}")
    if stage.functions and p.loop_of(stage.name) is None:
        inside = ", ".join(n for loop in p.loops for n in loop.stages) or "none"
        raise ConfigError(
            f"{where}: {stage.name} is in no loop, so it has no first iterations; stages of "
            f"loops: {inside}"
        )


def _known_value(where: str, value: str, names: set[str], inputs: set[str]) -> None:
    producer, dot, _ = value.partition(".")
    if (dot and producer in names) or (not dot and value in inputs):
        return
    raise ConfigError(
        f"{where}: nothing makes {value!r}; inputs: {', '.join(sorted(inputs))}; "
        f"stages and loops (write NAME.PORT): {', '.join(sorted(names))}"
    )


def package_of(place: str) -> str | None:
    """The Python package that `package:NAME/FOLDER` imports, without what is below it; None for
    other places."""
    kind, colon, rest = place.partition(":")
    return rest.partition("/")[0].partition(".")[0] if colon and kind == "package" else None


def _check_packages(p: Pipeline, allowed: Sequence[str]) -> None:
    """To find a package's folder is to import it, which runs its code."""
    places = [("pipeline.weights", p.weights)]
    for stage in p.stages:
        places.append((f"pipeline.stages.{stage.name}.weights", stage.weights))
        if stage.kind is StageKind.HOST:
            weights = stage.weights or p.weights
            files = HOST_OPS[stage.op].files(dict(stage.params), weights)
            places += [(f"pipeline.stages.{stage.name}.params", place) for place, _ in files]
    for where, place in places:
        name = package_of(place)
        if name is not None and name not in (OWN, *allowed):
            raise ConfigError(
                f"{where}: {place!r} imports the package {name!r}, which runs its code; if you "
                f"trust it, say so with `allow_packages=[{name}]`"
            )


def _allowed(where: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise ConfigError(f"{where}: {given!r} is not one of {', '.join(allowed)}")


def freeze(params: Mapping[str, object]) -> Params:
    """A mapping from YAML as nested tuples, in a fixed order."""
    return tuple((str(k), _frozen(v)) for k, v in sorted(params.items()))


def _frozen(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(_frozen(v) for v in value)
    if isinstance(value, Mapping):
        return freeze(value)
    return value
