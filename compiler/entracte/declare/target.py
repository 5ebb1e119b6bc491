"""TargetSettings -> Target: a device profile, every fault named."""

from collections.abc import Mapping
from dataclasses import fields

from entracte.cost import CLASSES
from entracte.declare.settings import TargetSettings
from entracte.declare.values import not_negative, positive
from entracte.declare.words import check_allowed, check_file_name
from entracte.errors import ConfigError
from entracte.ir import COMPUTE_UNITS, MIN_PAGE_BYTES, Target
from entracte.units import parse_bytes

_MOST_CONTENTION = 1000


def target_of(s: TargetSettings) -> Target:
    """The device that a configuration describes. Raises `ConfigError`."""
    if s.from_run is not None:
        raise ConfigError(
            f"target.from: {str(s.from_run)[:60]} is read by `compile` and `plan fits` alone; "
            "leave it out"
        )
    check_file_name("target.name", s.name)
    check_allowed("target.compute_unit", s.compute_unit, (*COMPUTE_UNITS, "reference"))
    sources, estimated = _sources(s), _estimated(s)
    memory = _memory(s)
    target = Target(
        name=s.name,
        title=s.title,
        memory_bytes=parse_bytes(memory, "target.memory"),
        base_footprint_bytes=parse_bytes(s.base_footprint, "target.base_footprint"),
        settle_fraction=s.settle_fraction,
        chunk_limit_bytes=int(_rate("target.chunk_limit", s.chunk_limit)),
        deployment=s.deployment,
        compute_unit=s.compute_unit,
        load_bandwidth=_rate("target.load_bandwidth", s.load_bandwidth) * _storage(s),
        load_overhead_s=not_negative("target.load_overhead_s", s.load_overhead_s),
        compute_flops=positive("target.compute_gflops", s.compute_gflops) * 1e9,
        memory_bandwidth=_rate("target.memory_bandwidth", s.memory_bandwidth),
        call_overhead_s=not_negative("target.call_overhead_s", s.call_overhead_s),
        sources=sources,
        estimated=estimated,
        efficiency=_efficiency(s.efficiency),
        cold_bandwidth=(
            None
            if s.cold_bandwidth is None
            else _rate("target.cold_bandwidth", s.cold_bandwidth) * _storage(s)
        ),
        contention=s.contention,
        page_bytes=parse_bytes(s.page_bytes, "target.page_bytes"),
        reload_on_switch=s.reload_on_switch,
    )
    _check(s, target, memory)
    return target


def _check(s: TargetSettings, target: Target, memory: str) -> None:
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
            f"target.memory: {memory} leaves nothing beside the app's own "
            f"{s.base_footprint}; give more, or lower target.base_footprint"
        )


# ---------------------------------------------------------------- what there are several of


def chosen_limit(target: Mapping[str, object]) -> object:
    """The limit in memory of a target's settings, as it is written there: `memory` where that is
    given, else the one of `limits` that `limit` names. None where there is none."""
    limits = target.get("limits")
    if target.get("memory") is not None or not isinstance(limits, Mapping):
        return target.get("memory")
    return limits.get(target.get("limit"))


def _memory(s: TargetSettings) -> str:
    if s.limit is not None:
        check_allowed("target.limit", s.limit, tuple(s.limits))
    found = chosen_limit({"memory": s.memory, "limits": s.limits, "limit": s.limit})
    if found is None:
        named = f", or target.limit={next(iter(s.limits))}" if s.limits else ""
        raise ConfigError(f"target.memory: not given; give the app's limit, as 3.3GB{named}")
    return str(found)


def _storage(s: TargetSettings) -> float:
    """The share of the bandwidths of loads that the chosen size of storage has."""
    if s.storage is None:
        return 1.0
    check_allowed("target.storage", s.storage, tuple(s.storages))
    share = s.storages[s.storage]
    if not 0 < share <= 1:
        raise ConfigError(
            f"target.storages.{s.storage}: {share} is not above 0 and at most 1; give the share of "
            "target.load_bandwidth that it reaches"
        )
    return share


def _sources(s: TargetSettings) -> tuple[str, ...]:
    """Those of what was chosen, with the figure's name for a limit's own."""
    found = []
    for source in s.sources:
        key, colon, text = source.partition(":")
        figure = _figure(s, key)
        found += [f"{figure}{colon}{text}"] if figure else []
    return tuple(found)


def _estimated(s: TargetSettings) -> tuple[str, ...]:
    known = {f.name for f in fields(TargetSettings)} - {"name", "title", "sources", "estimated"}
    known |= {f"limits.{name}" for name in s.limits} | {f"storages.{name}" for name in s.storages}
    stray = sorted(set(s.estimated) - known)
    if stray:
        raise ConfigError(
            f"target.estimated: {stray[0]!r} is no figure of a target: {sorted(known)}"
        )
    found = [figure for key in s.estimated if (figure := _figure(s, key))]
    return tuple(dict.fromkeys(found))


def _figure(s: TargetSettings, key: str) -> str:
    """`memory` for `limits.NAME` where that limit holds, `load_bandwidth` for `storages.NAME`;
    empty for those that were not chosen, and for a limit's where memory was given otherwise."""
    group, dot, name = key.partition(".")
    if not dot:
        return key
    if group == "limits":
        return "memory" if s.memory is None and name == s.limit else ""
    return "load_bandwidth" if name == s.storage else ""


# ---------------------------------------------------------------- figures


def _efficiency(given: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    for name, share in given.items():
        check_allowed("target.efficiency", name, CLASSES)
        if not 0 < share <= 1:
            raise ConfigError(f"target.efficiency.{name}: {share} is not above 0 and at most 1")
    return tuple((name, given[name]) for name in CLASSES if name in given)


def _rate(where: str, text: str) -> float:
    """A size of which there must be some."""
    return positive(where, float(parse_bytes(text, where)))
