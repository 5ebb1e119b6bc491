"""What rests in some iterations of its loop: a stage, its blocks, or slices of its map."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from entracte.declare.words import is_whole
from entracte.errors import ConfigError
from entracte.ir import Loop, Map, Params, Reuse, Scan, Stage, StageKind

if TYPE_CHECKING:
    from entracte.declare.settings import ReuseSettings

_KEYS = ("every", "from", "to")
_WAYS = "give a list of iterations, or {every: N}, {from: A, to: B}, or all three"


def read_at(where: str, given: object, count: int | None) -> tuple[int, ...]:
    """Iterations, the first among them; nothing where they are all. Raises `ConfigError`.

    Args:
        given: a list, or a mapping of `every`, `from` and `to`: each N-th of those from A up to B,
            which is not one; nothing for all.
        count: iterations of the loop; None outside of loops.
    """
    if given is None:
        return ()
    if count is None:
        raise ConfigError(f"{where}: a stage outside of loops has no iterations; leave it out")
    if isinstance(given, Mapping):
        chosen = _range(where, given, count)
    else:
        listed = list(given) if isinstance(given, list | tuple) else [given]
        chosen = sorted({x for x in listed if is_whole(x)})
        if not all(map(is_whole, listed)):
            raise ConfigError(f"{where}: {given!r}: {_WAYS}")
    if not chosen or chosen[0] != 0 or chosen[-1] >= count:
        raise ConfigError(
            f"{where}: {list(chosen)[:8]}: iterations are 0 to {count - 1}, and 0 is one of them: "
            "what stands in the others must be made first"
        )
    return () if len(chosen) == count else tuple(chosen)


def _range(where: str, given: Mapping[object, object], count: int) -> list[int]:
    """Of `from` that is above 0 the first iteration too: what stands must be made."""
    ranges = {"every": 1, "from": 0, "to": count}
    every, first, stop = (v if (v := given.get(k)) is not None else ranges[k] for k in _KEYS)
    if not given or set(given) - set(_KEYS) or not all(map(is_whole, (every, first, stop))):
        raise ConfigError(f"{where}: {dict(given)}: {_WAYS}")
    assert isinstance(every, int) and isinstance(first, int) and isinstance(stop, int)
    if every < 1 or first < 0 or stop > count:
        raise ConfigError(
            f"{where}: {dict(given)}: every is at least 1, and `from` and `to` are of 0 to {count}"
        )
    return sorted({0, *range(first, stop, every)})


def read_reuse(where: str, s: "ReuseSettings", count: int | None) -> Reuse | None:
    """Nothing where nothing rests. Raises `ConfigError`."""
    for key in ("first", "last"):
        if not is_whole(getattr(s, key)) or getattr(s, key) < 0:
            raise ConfigError(f"{where}.{key}: {getattr(s, key)}: give how many blocks, 0 or more")
    if isinstance(s.at, Mapping) and _CHANGE in s.at:
        return Reuse(s.first, s.last, (), _read_change(where, s, count))
    at = read_at(f"{where}.at", s.at, count)
    return Reuse(s.first, s.last, at) if at else None


# ---------------------------------------------------------------- first-block test

COPIES = "copies"
"""Of zeros whose shape is another graph's: (axis, how many of them lie along it)."""
_CHANGE = "change"
EXPECTED = "expected"
"""Beside it: in which share of the iterations those blocks are expected to run."""
SEEN = "first_change"
"""Input of a stage with a first-block test: what its first blocks changed when those behind them
ran last."""
JOINED = "seen.joined"
"""The graph that puts what slices saw that rest beside what the others saw."""
ASIDE = "_rests"
"""Behind the names of what slices make that rest."""
SEEN_NEXT, RESTS = "first_change_next", "rests"
"""Its outputs: the same for the next iteration, and whether those blocks rest in this one (1 or
0)."""


def _read_change(where: str, s: "ReuseSettings", count: int | None) -> float:
    shares = [v for v in s.at.values() if _is_share(v)]
    if set(s.at) - {_CHANGE, EXPECTED} or len(shares) < len(s.at):
        raise ConfigError(
            f"{where}.at: {dict(s.at)}: `change` is a share above 0, at most 1, and so is "
            "`expected`, the only other one that may stand beside it: {change: 0.1}"
        )
    if count is None or count == 1:
        raise ConfigError(
            f"{where}.at.{_CHANGE}: the stage has no iterations whose changes could be compared; "
            "leave it out"
        )
    if s.first < 1:
        raise ConfigError(
            f"{where}.first: {s.first}: what is compared is the change of the first blocks; give 1 "
            "or more"
        )
    return float(s.at[_CHANGE])


def _with_slices(stage: Stage, given: Map) -> tuple[Stage, tuple[int, int]]:
    """Each slice of a map decides for itself, by what it saw itself: its input is cut like the
    others. Gives the axis too, and how many there are."""
    where = f"pipeline.stages.{stage.name}"
    cut, *others = given.slices
    if others or cut.axis != cut.output_axis or cut.stride < cut.size:
        raise ConfigError(
            f"{where}.reuse.at.{_CHANGE}: its map has slices that overlap, or lie along two axes, "
            "so what each slice saw cannot be kept; give the iterations instead"
        )
    if cut.count is None:
        raise ConfigError(
            f"{where}.map.count: with {where}.reuse.at.{_CHANGE} say how many slices there are"
        )
    ports = replace(given, ports=(*given.ports, SEEN))
    return replace(stage, map=ports), (cut.axis, cut.count)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def with_tests(
    stages: Iterable[Stage], loops: Iterable[Loop]
) -> tuple[tuple[Stage, ...], tuple[Loop, ...]]:
    """Stages whose blocks rest by a test read, as a state of their loop, what they saw when the
    blocks ran last; it begins as zeros. Raises `ConfigError` where its names are taken."""
    found, by_name = list(stages), {x.name: x for x in loops}
    for i, stage in enumerate(found):
        if stage.reuse is None or not stage.reuse.change:
            continue
        loop = next(x for x in by_name.values() if stage.name in x.stages)
        found[i], added, by_name[loop.name] = _with_test(stage, loop)
        _check_free(stage, {s.name for s in found} & {s.name for s in added})
        found += added
    return tuple(found), tuple(by_name.values())


def _check_free(stage: Stage, taken: Iterable[str]) -> None:
    for name in sorted(taken):
        raise ConfigError(
            f"pipeline.stages.{stage.name}.reuse.at.{_CHANGE}: it adds a stage {name}, and there "
            "is one already; give that another name"
        )


def _with_test(stage: Stage, loop: Loop) -> tuple[Stage, list[Stage], Loop]:
    """The stage, those that it needs beside it, and the loop with its state."""
    if SEEN in dict(stage.inputs):
        raise ConfigError(
            f"pipeline.stages.{stage.name}.reuse.at.{_CHANGE}: it adds an input {SEEN}, and there "
            "is one already; give that another name"
        )
    zeros, state = f"{stage.name}_no_change", f"{stage.name}_{SEEN}"
    shape: Params = (("shape_of", f"{stage.name}.{SEEN}"), ("dtype", stage.precision))
    added, following = list[Stage](), f"{stage.name}.{SEEN_NEXT}"
    if stage.map is not None:
        stage, copies = _with_slices(stage, stage.map)
        shape = (*shape, (COPIES, copies))
        if stage.map is not None and stage.map.rests:
            added, loop = _kept(stage, stage.map, loop, *copies)
            following = f"{added[-1].name}.seen"
    begin = Stage(name=zeros, kind=StageKind.CONSTANT, op="zeros", params=shape)
    loop = replace(loop, state=(*loop.state, (state, f"{zeros}.zeros", following)))
    stage = replace(stage, inputs=(*stage.inputs, (SEEN, f"{loop.name}.{state}")))
    return stage, [begin, *added], loop


def _kept(stage: Stage, given: Map, loop: Loop, axis: int, count: int) -> tuple[list[Stage], Loop]:
    """Where slices rest, what they saw stands, and a stage of the loop puts it beside what the
    others saw; what it makes is the last one's `seen`."""
    table = Stage(
        name=f"{stage.name}_goes_on",
        kind=StageKind.CONSTANT,
        op="seen.goes_on",
        params=(("count", loop.count), ("at", given.at)),
    )
    resting = len(given.rests)
    joined = Stage(
        name=f"{stage.name}_seen",
        kind=StageKind.GRAPH,
        op=JOINED,
        params=(
            ("shape_of", f"{stage.name}.{SEEN}"), ("axis", axis), ("always", count - resting),
            ("resting", resting), ("first", given.rests[0] == 0),
        ),
        inputs=(
            ("always", f"{stage.name}.{SEEN_NEXT}"),
            ("resting", f"{stage.name}.{SEEN_NEXT}{ASIDE}"),
            ("goes_on", f"{loop.name}.{table.name}"),
        ),
        precision=stage.precision,
        compute_unit=stage.compute_unit,
    )  # fmt: skip
    scan = (*loop.scan, Scan(table.name, f"{table.name}.goes_on"))
    stages = (*loop.stages, joined.name)
    return [table, joined], replace(loop, stages=stages, scan=scan)
