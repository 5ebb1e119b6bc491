"""`target.from`: a composed configuration whose target has the rates that recorded runs show.

The figures stand in the configuration from then on, so a plan's settings say them in full and the
records are not needed again. The same records give the same bytes.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from entracte.calibrate.fit import Figure, Fitted, fit
from entracte.calibrate.observed import Observation
from entracte.calibrate.records import (
    DIGITS,
    Recorded,
    check_of,
    profile_name,
    recorded,
)
from entracte.codec import encode, parse_json
from entracte.declare.read import read_target
from entracte.declare.settings import TargetSettings
from entracte.errors import ConfigError
from entracte.ir import Target

WHERE = "target.from"
_MEMORY = "settle_fraction"
_RATE = "compute_gflops"


@dataclass(frozen=True, slots=True)
class Calibration:
    """A target derived from a profile and runs.

    Attributes:
        profile: what it was derived from.
        target: under a name of its own, with its figures' digest; its `sources` name the runs.
        figures: each figure that runs can tell, and what became of it.
        seen: all that was observed.
    """

    profile: Target
    target: Target
    figures: tuple[Figure, ...]
    records: tuple[Recorded, ...]
    seen: tuple[Observation, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the derived figures: all that a plan follows from."""
        return _digest(self.target)


def calibrated(config: DictConfig) -> DictConfig:
    """The configuration with a derived target where `target.from` names runs; else as it is.

    Raises `ConfigError`.
    """
    named = config.target.get("from_run") if "target" in config else None
    if named is None:
        return config
    plain = config.copy()
    OmegaConf.update(plain, "target.from_run", None)
    made = calibration(read_target(plain), recorded(_paths(named), WHERE))
    for key, value in _settings(made).items():
        OmegaConf.update(plain, f"target.{key}", value, merge=False)
    return plain


def calibration(profile: Target, records: Sequence[Recorded], where: str = WHERE) -> Calibration:
    """Fit a profile to runs. Raises `ConfigError` for runs that are not of it."""
    check_of(records, profile, where)
    seen = tuple(o for r in records for o in r.seen)
    made = fit(profile, seen)
    kept_free = _kept_free(profile, records)
    figures = made.figures
    if kept_free is not None:
        figures += (kept_free,)
    return Calibration(
        profile, _told(profile, made, figures, records), figures, tuple(records), seen
    )


def _paths(named: object) -> list[str]:
    items = list(named) if isinstance(named, ListConfig) else [named]
    paths = [x for x in items if isinstance(x, str) and x]
    if not paths or len(paths) < len(items):
        raise ConfigError(
            f"{WHERE}: {str(named)[:60]!r} is no path; give a record, a build folder, or a list of "
            "these"
        )
    return paths


# ---------------------------------------------------------------- memory that comes back late


def _kept_free(profile: Target, records: Sequence[Recorded]) -> Figure | None:
    """`settle_fraction`: the most that was still missing when a wait for freed memory ended. It
    only grows: that once less was missing makes nothing safe. None where no record says."""
    missing = [
        max(0, s.expected_bytes - s.returned_bytes)
        / (r.plan.target.memory_bytes - r.plan.target.base_footprint_bytes)
        for r in records
        for s in r.run.settled
        if s.expected_bytes
    ]
    if not missing:
        return None
    # Rounded up: less would be too little for the record itself.
    seen = -(-max(missing) * 1e4 // 1) / 1e4
    given = profile.settle_fraction
    if seen <= given:
        return Figure(_MEMORY, given, given, 0, f"at most {seen:g} was missing")
    return Figure(_MEMORY, given, min(seen, 0.99), len(missing))


# ---------------------------------------------------------------- the derived target


def _told(
    profile: Target, made: Fitted, figures: Sequence[Figure], records: Sequence[Recorded]
) -> Target:
    """With sources, and a name by its figures."""
    keys = _fitted_keys(figures)
    runs = ", ".join(f"{r.digest[:12]} of {r.plan.pipeline}" for r in records)
    device = records[0].run.device[:60]
    sources = [s for s in profile.sources if s.partition(":")[0] not in keys]
    sources += [
        f"{key}: fitted to {n} observations of run {runs} on {device}" for key, n in keys.items()
    ]
    free = next((f.value for f in figures if f.name == _MEMORY and f.observations), None)
    target = replace(
        made.target,
        # As the settings spell it, so that a plan's target is this one to the last bit.
        compute_flops=_gflops(made.target) * 1e9,
        settle_fraction=profile.settle_fraction if free is None else free,
        sources=tuple(sources),
        estimated=tuple(e for e in profile.estimated if e not in keys),
    )
    stem = profile_name(profile.name)
    return replace(
        target,
        name=f"{stem}-{_digest(target)[:DIGITS]}",
        title=f"{_plain(profile.title)}, calibrated",
    )


def _plain(title: str) -> str:
    return title.removesuffix(", calibrated")


def _fitted_keys(figures: Sequence[Figure]) -> dict[str, int]:
    """Settings that hold fitted figures -> observations. Rates of classes are two settings."""
    keys: dict[str, int] = {}
    for f in figures:
        if f.observations:
            names = (_RATE, "efficiency") if f.name.startswith("rate.") else (f.name,)
            keys |= {name: max(keys.get(name, 0), f.observations) for name in names}
    return keys


def _digest(target: Target) -> str:
    figures = encode(replace(target, name="", title="", sources=(), estimated=()))
    return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()


def _settings(made: Calibration) -> dict[str, object]:
    """The target as a file of `conf/target` would say it; limits in memory stay as they are."""
    t = made.target
    return {
        "name": t.name,
        "title": t.title,
        "settle_fraction": t.settle_fraction,
        "load_overhead_s": t.load_overhead_s,
        "load_bandwidth": _bytes(t.load_bandwidth),
        "cold_bandwidth": None if t.cold_bandwidth is None else _bytes(t.cold_bandwidth),
        # What was observed is of the storage that there is.
        "storage": None,
        "call_overhead_s": t.call_overhead_s,
        _RATE: _gflops(t),
        "efficiency": dict(t.efficiency),
        "memory_bandwidth": _bytes(t.memory_bandwidth),
        "sources": list(t.sources),
        "estimated": list(t.estimated),
    }


def _gflops(target: Target) -> float:
    return float(f"{target.compute_flops / 1e9:.10g}")


def _bytes(rate: float) -> str:
    return f"{max(1, round(rate))}B"


def yaml_of(made: Calibration, place: Path) -> str:
    """The derived target as a file of `conf/target`, called by the file's name."""
    try:
        said = dict(parse_json(made.records[0].plan.settings)["target"])
    except (ValueError, LookupError, TypeError):
        raise ConfigError(
            f"{made.records[0].path}: the plan of it does not say its target's settings; give a "
            "record of a plan that `compile` made"
        ) from None
    known = {f.name for f in fields(TargetSettings)}
    whole = {k: v for k, v in said.items() if k in known} | _settings(made) | {"name": place.stem}
    whole.pop("from_run", None)
    return OmegaConf.to_yaml(OmegaConf.create(whole))
