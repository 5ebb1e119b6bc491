"""Settings that are left to the planner: `partition.score_bytes=auto`, and a map's `size: auto`.

What is tried for each is known before anything is traced, so that what cannot be meant is refused
in the first second; which is fastest is known when all were traced (`entracte.decide.auto`).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from entracte.declare.settings import CompileSettings
from entracte.errors import ConfigError

__all__ = ["AUTO", "SCORES", "Undecided", "undecided_of", "with_values"]

AUTO = "auto"
SCORES = "partition.score_bytes"
SCORE_BYTES = ("0", *(f"{2**n}MiB" for n in range(10, 2, -1)))
"""Tried for it: whole scores, then blocks of queries, each half of the ones before."""

Setting = tuple[str, tuple[Any, ...]]
"""(key, the values to try in order: of equally fast ones the first is taken)"""


@dataclass(frozen=True, slots=True)
class Undecided:
    """What the planner is to choose.

    Attributes:
        settings: in the order in which they are chosen.
        config: the whole configuration as JSON; its values may refer to each other.
    """

    settings: tuple[Setting, ...]
    config: str

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the settings."""
        return tuple(key for key, _ in self.settings)


def undecided_of(config: DictConfig) -> Undecided | None:
    """Of a configuration whose recipe is written out; None where nothing is `auto`.

    Raises `ConfigError` where it is not said what to try, or where no other value could be meant.
    """
    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    settings = [(SCORES, SCORE_BYTES)] if config.partition.score_bytes == AUTO else []
    for name, stage in config.pipeline.stages.items():
        given = stage.get("map")
        if given is not None and given.get("size") == AUTO:
            where = f"pipeline.stages.{name}.map"
            settings.append((f"{where}.size", _sizes(where, given)))
    if not settings:
        return None
    own = {f.name for f in fields(CompileSettings)}
    return Undecided(tuple(settings), json.dumps({k: v for k, v in raw.items() if k in own}))


def with_values(
    undecided: Undecided, values: Mapping[str, Any], chosen: Mapping[str, Any]
) -> DictConfig:
    """The configuration with values in the place of `auto`.

    Args:
        values: key -> one of those to try; a key that is not there stands at its first one.
        chosen: what the plan is to tell of the choice, `CompileSettings.chosen`.
    """
    merged = OmegaConf.merge(OmegaConf.structured(CompileSettings), json.loads(undecided.config))
    assert isinstance(merged, DictConfig)
    for key, tried in undecided.settings:
        OmegaConf.update(merged, key, values.get(key, tried[0]))
    merged.chosen = dict(chosen)
    return merged


def _sizes(where: str, given: DictConfig) -> tuple[Any, ...]:
    listed = given.get("sizes")
    if not listed:
        raise ConfigError(
            f"{where}.size: auto: nobody says with which sizes its result is the same; list them, "
            f"`{where}.sizes=[4,2,1]`, or give one size"
        )
    strays = [key for key in ("stride", "start", "count") if given.get(key) is not None]
    if strays:
        raise ConfigError(
            f"{where}.size: auto: with `{strays[0]}` given the slices lie elsewhere for each size; "
            f"give one size, or leave out {', '.join(strays)}"
        )
    found = tuple(_plain(listed))
    if AUTO in found:
        raise ConfigError(f"{where}.sizes: {list(found)}: give whole numbers")
    return found


def _plain(listed: Any) -> Iterator[Any]:
    if not OmegaConf.is_list(listed):
        yield listed
        return
    for item in listed:
        yield list(item) if OmegaConf.is_list(item) else item
