"""The words of a search: what stays, what is tried, and how long."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from entracte.cli.words import options_of
from entracte.declare.compose import compose, composing
from entracte.declare.overrides import choices
from entracte.declare.scheme import SCHEMES, UNCOMPRESSED
from entracte.declare.settings import LOCAL, SEARCH_METHODS
from entracte.declare.words import check_allowed
from entracte.errors import ConfigError
from entracte.report.objectives import OBJECTIVES
from entracte.search.points import Knob, Point, Search
from entracte.store.declared import read_job
from entracte.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

_DB = "db"
_FOLDERS = ("--config-dir", "-cd")
_SWEEPS = ("-m", "--multirun")
_POLICIES = ("optimal", "double_buffer", "sequential")
"""Of the usual knobs: each holds less in memory than the one before."""
_MEMORIES = (1.0, 0.75, 0.5)
"""Shares of the target's memory that are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A search as it was typed."""

    search: Search
    objectives: tuple[str, ...]
    slots: tuple[Knob, ...]
    """All words in the order typed, each with what it may be: jobs are known by their words, and
    so an earlier sweep's are."""
    config_dir: Path | None
    usual: bool
    """No knob was named: they are the usual ones."""

    def words(self, point: Point) -> list[str]:
        """Of a job: the fixed words, and those of a point."""
        chosen = iter(point)
        return [slot[0] if len(slot) == 1 else next(chosen) for slot in self.slots]


def asked_search(words: Sequence[str]) -> Asked:
    """What the words of `compile` say. Raises `ConfigError`."""
    from entracte.calibrate.derived import calibrated

    folder, settings = _parted(words)
    with composing():
        slots = _slots(settings, folder)
    config = calibrated(compose([s[0] for s in slots], folder))
    usual = all(len(s) == 1 for s in slots)
    if usual:
        slots += tuple(_usual(config, [s[0] for s in slots]))
    knobs = tuple(s for s in slots if len(s) > 1)
    if not knobs:
        raise ConfigError(
            "search: there is nothing to choose; name values with commas between them, e.g. "
            "compression=none,int8"
        )
    objectives = _objectives(config)
    if _DB in objectives:
        slots += (("sweep.verify=true",),)
    search = Search(
        knobs=knobs,
        maximized=tuple(OBJECTIVES[o].maximized for o in objectives),
        trials=_trials(config),
        seed=int(config.search.seed),
        method=_method(config),
    )
    return Asked(
        search=search,
        objectives=objectives,
        slots=tuple(s for s in slots if not s[0].lstrip("+").startswith("search.")),
        config_dir=folder,
        usual=usual,
    )


def _parted(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The folder of the user's own yaml files; the settings. `-m` is said by the search itself."""
    options, settings = options_of(words)
    folder = None
    given = iter(options)
    for option in given:
        name, equals, value = option.partition("=")
        if name in _FOLDERS:
            folder = Path(value if equals else next(given)).expanduser()
        elif name not in _SWEEPS:
            raise ConfigError(f"search: {option} is no option of a search; leave one of both out")
    return folder, settings


def _slots(settings: Sequence[str], folder: Path | None) -> tuple[Knob, ...]:
    """Each word, as the words that it stands for: one, or several."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    slots: list[Knob] = []
    for o in OverridesParser.create().parse_overrides(list(settings)):
        key = o.get_key_element()
        if not o.is_sweep_override():
            line = f"{key}={o.get_value_element_as_str()}"
            slots.append((str(o.input_line) if o.is_delete() else line,))
            continue
        _check_knob(key.lstrip("+~"))
        slots.append(tuple(f"{key}={v}" for v in dict.fromkeys(_values(o, folder))))
    return tuple(slots)


def _values(o: "Override", folder: Path | None) -> Iterator[str]:
    """Of one word, as Hydra's sweeps have them."""
    from hydra.core.override_parser.types import Glob, IntervalSweep

    value: Any = o.value()
    if isinstance(value, IntervalSweep):
        raise ConfigError(
            f"{o.input_line}: a search chooses among values: name them, "
            f"{o.key_or_group}=VALUE,VALUE"
        )
    if isinstance(value, Glob):
        names = choices([folder] if folder else []).get(o.key_or_group, [])
        found = value.filter(names)
        if not found:
            raise ConfigError(f"{o.input_line}: none of {o.key_or_group} is like this")
        yield from found
        return
    yield from map(str, o.sweep_string_iterator())


def _check_knob(key: str) -> None:
    group = key.partition(".")[0]
    if key == "target":
        raise ConfigError(
            "search: target has several values; a search is for one device, since a faster one is "
            "no choice of settings; `compile -m` compares devices"
        )
    if group in LOCAL:
        raise ConfigError(f"search: {key} has several values, but says nothing of what is made")


def _usual(config: DictConfig, fixed: Sequence[str]) -> Iterator[Knob]:
    """What may be chosen without another result than compression's: what was fixed is no choice."""
    from entracte.lower.targets import can_read

    said = {w.lstrip("+").partition("=")[0] for w in fixed}
    target = read_job(config).target
    if not said & {"compression", "compression.name", "pipeline.compression"}:
        schemes = [s for s in SCHEMES.values() if can_read(target.deployment, s.since[0])]
        yield tuple(f"compression={name}" for name in (UNCOMPRESSED, *(s.name for s in schemes)))
    if "target.memory" not in said:
        sizes = [int(target.memory_bytes * share) for share in _MEMORIES]
        yield tuple(f"target.memory={_spelled(size)}" for size in sizes)
    if not any(key.partition(".")[0] == "policy" for key in said):
        yield tuple(f"policy={name}" for name in _POLICIES)


def _spelled(size_bytes: int) -> str:
    """As people write it, where that is exact."""
    text = format_bytes(size_bytes).replace(" ", "")
    return text if parse_bytes(text, "target.memory") == size_bytes else f"{size_bytes}B"


def _objectives(config: DictConfig) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(map(str, config.search.objectives)))
    for name in names:
        check_allowed("search.objectives", name, tuple(OBJECTIVES))
    if not names:
        raise ConfigError(f"search.objectives: name some of {', '.join(OBJECTIVES)}")
    if _DB in names and config.dry_run:
        raise ConfigError(
            "search.objectives=db: a dry run makes no packages that could run, so it has no dB; "
            "leave out `db`, or dry_run=true"
        )
    return names


def _trials(config: DictConfig) -> int:
    trials: int = config.search.trials
    if trials < 1:
        raise ConfigError(f"search.trials={trials}: not a whole number from 1; e.g. search=30")
    return trials


def _method(config: DictConfig) -> str:
    check_allowed("search.method", config.search.method, SEARCH_METHODS)
    return str(config.search.method)
