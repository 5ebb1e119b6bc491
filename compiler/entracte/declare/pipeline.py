"""settings -> Pipeline: stages, loops, and who reads what of whom."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from entracte.declare.edges import read_input, read_output
from entracte.declare.host_ops import HOST_OPS
from entracte.declare.loras import read_loras
from entracte.declare.maps import read_map
from entracte.declare.order import ordered
from entracte.declare.rests import read_at, read_reuse, with_tests
from entracte.declare.scheme import PRECISION_FLOORS_DB, compressions
from entracte.declare.settings import LoopSettings, PipelineSettings, StageSettings
from entracte.declare.wiring import check_wiring
from entracte.declare.words import (
    check_allowed,
    check_file_name,
    check_own_name,
    freeze,
    is_name,
    is_whole,
)
from entracte.errors import ConfigError
from entracte.graphs.checks import similar
from entracte.ir import (
    STAGE_UNITS,
    SUITED,
    Collect,
    Loop,
    Pipeline,
    Scan,
    Stage,
    StageKind,
)

MOST_ITERATIONS = 100_000
"""Of a loop: a plan of more could not be followed step by step."""


def read_pipeline(s: PipelineSettings, compression: str, score_bytes: int = 0) -> Pipeline:
    """Its stages in an order in which they can run. Raises `ConfigError`.

    Args:
        compression: of stages that do not say their own.
        score_bytes: of every stage that is compiled (`Stage.score_bytes`).
    """
    check_file_name("pipeline.name", s.name)
    loops = tuple(_loop(name, loop) for name, loop in s.loops.items())
    counts = {stage: loop.count for loop in loops for stage in loop.stages}
    stages = tuple(
        _stage(name, stage, s, compression, counts.get(name)) for name, stage in s.stages.items()
    )
    stages, loops = with_tests(stages, loops)
    if not s.outputs:
        raise ConfigError("pipeline.outputs: there is none; name what a run gives")
    pipeline = Pipeline(
        name=s.name,
        title=s.title,
        weights=s.weights,
        inputs=tuple(read_input(name, i) for name, i in s.inputs.items()),
        stages=stages,
        loops=loops,
        outputs=tuple(read_output(name, o) for name, o in s.outputs.items()),
        loras=read_loras(s),
        lora_class=s.lora_class,
    )
    check_wiring(pipeline)
    # What is another stage's is where that stage's is.
    place = {stage.name: stage.weights for stage in stages}
    stages = tuple(
        replace(x, weights=place[x.weights_of or x.name], score_bytes=_scores(x, score_bytes))
        for x in stages
    )
    return replace(pipeline, stages=ordered(stages, loops))


def _scores(stage: Stage, score_bytes: int) -> int:
    return score_bytes if stage.kind is StageKind.GRAPH else 0


def _stage(
    name: str, s: StageSettings, pipeline: PipelineSettings, compression: str, count: int | None
) -> Stage:
    """`count`: iterations of the loop that it is in; None where it is in none."""
    where = f"pipeline.stages.{name}"
    check_own_name(where, "a stage", name)
    given = [(k, op) for k in StageKind if (op := getattr(s, k.value)) is not None]
    if len(given) != 1:
        raise ConfigError(f"{where}: give exactly one of graph, constant, host")
    kind, op = given[0]
    if kind is StageKind.HOST:
        check_allowed(f"{where}.host", op, tuple(HOST_OPS))
        if fault := HOST_OPS[op].declared_fault(dict(freeze(s.params)), s.inputs):
            raise ConfigError(f"{where}.{fault}")
    precision = s.precision or pipeline.precision
    chosen = s.compression or pipeline.compression or compression
    check_allowed(f"{where}.precision", precision, tuple(PRECISION_FLOORS_DB))
    check_allowed(f"{where}.compression", chosen, compressions())
    check_allowed("pipeline.compute_unit", pipeline.compute_unit or SUITED, STAGE_UNITS)
    if s.compute_unit is not None:
        check_allowed(f"{where}.compute_unit", s.compute_unit, STAGE_UNITS)
        if kind is not StageKind.GRAPH:
            raise ConfigError(f"{where}.compute_unit: a {kind} has no packages; leave it out")
    return Stage(
        name=name,
        kind=kind,
        op=op,
        params=freeze(s.params),
        inputs=tuple(s.inputs.items()),
        map=None if s.map is None else read_map(f"{where}.map", s.map, tuple(s.inputs), count),
        precision=precision,
        compression=chosen,
        functions=_functions(where, s.functions),
        weights=_own_weights(where, kind, s),
        weights_of=s.weights_of or "",
        at=read_at(f"{where}.at", s.at, count),
        reuse=read_reuse(f"{where}.reuse", s.reuse, count),
        compute_unit=s.compute_unit or _unit(kind, pipeline),
    )


def _unit(kind: StageKind, pipeline: PipelineSettings) -> str:
    """The pipeline's, of what has packages; empty for the target's."""
    return pipeline.compute_unit or "" if kind is StageKind.GRAPH else ""


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
        if not is_name(name) or name == "main":
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


# ---------------------------------------------------------------- loops


def _loop(name: str, s: LoopSettings) -> Loop:
    where = f"pipeline.loops.{name}"
    check_own_name(where, "a loop", name)
    if not 1 <= s.count <= MOST_ITERATIONS:
        raise ConfigError(
            f"{where}.count: {s.count} iterations; at least 1 (sampler.steps=1), at most "
            f"{MOST_ITERATIONS}"
        )
    if not s.stages or len(set(s.stages)) != len(s.stages):
        raise ConfigError(f"{where}.stages: {list(s.stages)}: name at least one, and none twice")
    for state, pair in s.state.items():
        if len(pair) != 2:
            raise ConfigError(f"{where}.state.{state}: give [first value, next value]")
    loop = Loop(
        name=name,
        count=s.count,
        stages=tuple(s.stages),
        state=tuple((n, pair[0], pair[1]) for n, pair in s.state.items()),
        scan=tuple(_scan(f"{where}.scan.{n}", n, given) for n, given in s.scan.items()),
        until=s.until,
        collect=tuple(_collect(f"{where}.collect.{n}", n, g) for n, g in s.collect.items()),
    )
    _check_names(where, loop)
    return loop


def _scan(where: str, name: str, given: Any) -> Scan:
    """A value alone is read row by row."""
    if isinstance(given, str):
        return Scan(name, given)
    keys = _keys(where, given, "value", ("axis", "size"))
    made = Scan(name, str(keys["value"]), keys.get("axis", 0), keys.get("size", 1))
    if made.size < 1 or made.axis < 0:
        raise ConfigError(f"{where}: axis {made.axis}, size {made.size}: a size is at least 1")
    return made


def _collect(where: str, name: str, given: Any) -> Collect:
    keys = _keys(where, given, "value", ("axis",))
    if "axis" not in keys:
        raise ConfigError(f"{where}.axis: along which axis is it joined?")
    return Collect(name, str(keys["value"]), keys["axis"])


def _keys(where: str, given: Any, text: str, numbers: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(given, Mapping) or text not in given:
        raise ConfigError(f"{where}: {given!r}: give {{{', '.join((text, *numbers))}}}")
    stray = sorted(set(given) - {text, *numbers})
    if stray:
        known = (text, *numbers)
        raise ConfigError(
            f"{where}: {stray[0]!r} is unknown{similar(stray[0], known)}; it has {', '.join(known)}"
        )
    for key in numbers:
        if key in given and not is_whole(given[key]):
            raise ConfigError(f"{where}.{key}: {given[key]!r} is no whole number")
    return dict(given)


def _check_names(where: str, loop: Loop) -> None:
    names = list(_values_of(loop))
    for name in names:
        check_own_name(where, "a value of a loop", name)
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ConfigError(
            f"{where}: {twice[0]!r} is there twice; states, scans and collected values are all "
            f"named `{loop.name}.NAME`"
        )


def _values_of(loop: Loop) -> Iterator[str]:
    yield from (name for name, _, _ in loop.state)
    yield from (scan.name for scan in loop.scan)
    yield from (collect.name for collect in loop.collect)
