"""Names of targets and of limits -> device profiles, as a compile for each would have them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from entracte.declare.compose import compose
from entracte.declare.overrides import choices
from entracte.declare.read import read_target
from entracte.declare.words import check_allowed
from entracte.errors import ConfigError
from entracte.graphs.checks import similar
from entracte.ir import Target

ALL = "all"
"""In place of names."""
_NATIVE = "reference"
"""The compute unit of the machine that compiles, which is no device to ship to."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A target, and which of its limits in memory holds; empty where `target.memory` was given."""

    target: Target
    limit: str


@dataclass(frozen=True, slots=True)
class Profiles:
    """Those asked for, in the order of their names; and what one of them is composed of."""

    profiles: tuple[Profile, ...]
    config: DictConfig
    """Of the first target: what is compiled is the same for all."""


def profiles(
    targets: str,
    limits: str | None,
    words: Sequence[str] = (),
    config_dir: Path | None = None,
    prepare: Callable[[DictConfig], DictConfig] = lambda config: config,
) -> Profiles:
    """The profiles of several targets.

    Args:
        targets: names with commas between, or `all`: every device, this machine left out.
        limits: names of limits, or `all` that each has; a target that has none of these names has
            its own. Without, each has its own.
        words: of a compile; `target.KEY=VALUE` among them is said of each target.
        config_dir: a folder of yaml files of the user's own.
        prepare: what is done to each composed configuration before its target is read.

    Raises `ConfigError`, also for a name of a limit that no target has.
    """
    asked = _asked(targets, config_dir)
    configs = [prepare(compose([*words, f"target={name}"], config_dir)) for name in asked]
    wanted = _names("--limit", limits) if limits else ()
    found = [p for config in configs for p in _limited(config, wanted, targets == ALL)]
    known = sorted({name for config in configs for name in config.target.limits})
    for name in wanted:
        if name not in (*known, ALL):
            raise ConfigError(
                f"--limit {name}: no target asked for has a limit of that name; they have "
                f"{', '.join((*known, ALL))}{similar(name, known)}"
            )
    return Profiles(tuple(found), configs[0])


def _asked(targets: str, config_dir: Path | None) -> tuple[str, ...]:
    known = choices([] if config_dir is None else [config_dir])["target"]
    if targets == ALL:
        return tuple(known)
    names = _names("--targets", targets)
    for name in names:
        check_allowed("--targets", name, (*known, ALL))
    return names


def _names(option: str, text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ConfigError(f"{option}: no name in {text!r}; give names with commas between, or all")
    if ALL in names and len(names) > 1:
        raise ConfigError(f"{option} {text}: `all` holds the others; leave them or it out")
    return names


def _limited(config: DictConfig, wanted: Sequence[str], devices: bool) -> Iterator[Profile]:
    """One for each limit that is asked for; none of a machine that is no device, if only these
    are."""
    if devices and config.target.compute_unit == _NATIVE:
        return
    has, own = list(config.target.limits), config.target.limit or ""
    if config.target.memory is not None:
        has, own = [], ""
    names = has if wanted == (ALL,) else [n for n in has if n in wanted]
    for name in names or [own]:
        changed = config.copy()
        if name:
            OmegaConf.update(changed, "target.limit", name)
        yield Profile(read_target(changed), name)
