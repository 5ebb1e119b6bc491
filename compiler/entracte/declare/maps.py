"""Maps as declared: which inputs are sliced, along which axes, and what slices hand on."""

from collections.abc import Mapping, Sequence
from typing import Any

from entracte.declare.rests import read_at
from entracte.declare.settings import MapSettings
from entracte.declare.words import check_allowed, is_whole
from entracte.errors import ConfigError
from entracte.ir import Map, Slices

ORDERS = ("auto", "chunk", "slice")
_MOST_AXES = 2


def read_map(where: str, s: MapSettings, inputs: Sequence[str], count: int | None) -> Map:
    """Raises `ConfigError`, but for what depends on shapes. `count`: iterations of the stage's
    loop; None where it is in none."""
    ports = tuple(s.port) if isinstance(s.port, list | tuple) else (s.port,)
    for port in ports:
        if port not in inputs:
            raise ConfigError(f"{where}.port: {port!r} is none of {sorted(inputs)}")
    if not ports or len(set(ports)) != len(ports):
        raise ConfigError(f"{where}.port: {list(ports)}: give an input, or a list of them")
    check_allowed(f"{where}.order", s.order, ORDERS)
    slices = _slices(where, s)
    rests, at = _rests(f"{where}.rests", s.rests, slices, count)
    made = Map(
        ports=ports,
        slices=slices,
        carry=_carry(where, s, inputs),
        rests=rests,
        at=at,
        order=s.order,
    )
    if made.carry and (len(slices) > 1 or slices[0].stride < slices[0].size):
        raise ConfigError(
            f"{where}.carry: slices that hand something on lie along one axis, one behind another; "
            "leave `carry` out, or give one axis and no `stride`"
        )
    return made


def _rests(
    where: str, given: Any, slices: Sequence[Slices], count: int | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which slices rest, and the iterations in which they run."""
    if given is None:
        return (), ()
    if not isinstance(given, Mapping) or set(given) != {"slices", "at"}:
        raise ConfigError(f"{where}: {given!r}: give {{slices: LIST, at: ITERATIONS}}")
    listed = given["slices"]
    if not isinstance(listed, list | tuple) or not listed or not all(map(is_whole, listed)):
        raise ConfigError(f"{where}.slices: {listed!r}: give a list of slices, counted from 0")
    chosen = tuple(sorted(set(listed)))
    if len(slices) > 1 or slices[0].stride < slices[0].size:
        raise ConfigError(
            f"{where}: slices that rest lie along one axis, side by side; leave it out, or give "
            "one axis and no `stride`"
        )
    if chosen[0] < 0 or chosen != tuple(range(chosen[0], chosen[-1] + 1)):
        raise ConfigError(f"{where}.slices: {list(chosen)}: give neighbours, the first or the last")
    return chosen, read_at(f"{where}.at", given["at"], count)


def _slices(where: str, s: MapSettings) -> tuple[Slices, ...]:
    axes = _listed(where, "axis", s.axis, None)
    many = len(axes)
    if not 1 <= many <= _MOST_AXES or len(set(axes)) != many:
        raise ConfigError(f"{where}.axis: {s.axis!r}: give one axis, or two different ones")
    sizes = _listed(where, "size", s.size, many)
    strides = _listed(where, "stride", s.stride, many, sizes)
    starts = _listed(where, "start", s.start, many, (0,) * many)
    counts = _listed(where, "count", s.count, many, (None,) * many)
    outputs = _listed(where, "output_axis", s.output_axis, many, axes)
    for size, stride, start, count in zip(sizes, strides, starts, counts, strict=True):
        _check(where, size, stride, start, count)
    return tuple(
        Slices(axis, size, out, stride, start, count)
        for axis, size, out, stride, start, count in zip(
            axes, sizes, outputs, strides, starts, counts, strict=True
        )
    )


def _listed(where: str, key: str, given: Any, many: int | None, default: Any = None) -> Any:
    """One whole number for each axis."""
    if given is None and default is not None:
        return tuple(default)
    values = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not all(map(is_whole, values)):
        raise ConfigError(f"{where}.{key}: {given!r}: give a whole number, or a list of them")
    if many is not None and len(values) != many:
        raise ConfigError(f"{where}.{key}: {given!r}: give {many}, one for each axis")
    return values


def _check(where: str, size: int, stride: int, start: int, count: int | None) -> None:
    if size < 1:
        raise ConfigError(f"{where}.size: {size} is not positive")
    if stride < 1 or start < 0 or (count is not None and count < 1):
        raise ConfigError(
            f"{where}: stride {stride}, start {start}, count {count}: a stride and a count are at "
            "least 1, a start at least 0"
        )


def _carry(where: str, s: MapSettings, inputs: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    for name, pair in s.carry.items():
        if len(pair) != 2:
            raise ConfigError(f"{where}.carry.{name}: give [first value, output that follows it]")
        if name in inputs:
            raise ConfigError(
                f"{where}.carry.{name}: is among the stage's `inputs` too; leave it out there"
            )
        if "." in pair[1]:
            raise ConfigError(
                f"{where}.carry.{name}: {pair[1]!r}: name one of its own outputs, without the stage"
            )
    return tuple((name, pair[0], pair[1]) for name, pair in s.carry.items())
