"""The command that makes a plan: what of its settings differs from what ships, as words to type."""

import re
import shlex
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from entracte.calibrate.records import profile_name
from entracte.codec import parse_json
from entracte.errors import EntracteError
from entracte.ir import Plan

_GROUPS = ("target", "pipeline", "policy", "sampler", "guidance", "compression")
"""Groups of `conf/` whose files have a name; in the order in which they are typed."""
_FALLBACK = {"target": "host", "pipeline": "tiny_t2v", "policy": "optimal", "sampler": "rflow",
             "guidance": "own", "compression": "none"}  # fmt: skip
"""What is composed in the place of a file that does not ship, and what no word need be said of;
but a target is always said."""
_OWN = ("weights", "folder", "lora", "lora_scale", "precision", "compression", "compute_unit",
        "steps", "video", "options", "models")  # fmt: skip
"""What of a pipeline with a folder its user says; the rest its recipe gives."""
_BARE = re.compile(r"[A-Za-z_/][\w./:@%+-]*|\d+(\.\d+)?[A-Za-z]+", re.ASCII)
"""Texts that Hydra reads as texts without quotes; but for its own words:"""
_WORDS = ("true", "false", "null", "inf", "nan")
_KEY = re.compile(r"[A-Za-z_]\w*(\.\w+)*", re.ASCII)
_REFERENCE = re.compile(r"\$\{([\w.]+)\}", re.ASCII)
_MISSING = object()
_MOST = 100
"""Words: a plan may come from anywhere."""

CHOSEN = "chosen"
"""The group in which a compile tells what it tried for settings that were `auto`."""
OF_FOLDER = "a name, a title and keys of single stages, where some were given, are not told"
OF_OTHERS = "files of a folder of one's own (--config-dir) do not stand in a plan"
UNTOLD = "some settings cannot be typed as words"


@dataclass(frozen=True, slots=True)
class Command:
    """One line that makes the plan again. `notes`: what it may lack; none of it: it gives these
    very settings, where they are compiled by the same version."""

    text: str
    notes: tuple[str, ...]


def command_of(plan: Plan) -> Command | None:
    """From the settings alone, which are data: no folder is looked at. None where they are not
    those of a compile."""
    try:
        recorded = parse_json(plan.settings)
        # Plans before there was such a group: its first file.
        groups = {group: {"name": _FALLBACK[group]} for group in _GROUPS} | recorded
        names = {group: str(groups[group]["name"]) for group in _GROUPS}
        if "${" in plan.settings or not all(map(str.isprintable, names.values())):
            return None
        return _command(recorded, names)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, EntracteError):
        return None


def _command(recorded: Mapping[str, Any], names: Mapping[str, str]) -> Command:
    has_folder = bool(recorded["pipeline"].get("folder"))
    # A derived target says its figures over the profile's.
    names = {**names, "target": profile_name(names["target"])}
    files_of = {group: _file(group, names[group], has_folder) for group in _GROUPS}
    own = tuple(group for group in _GROUPS if files_of[group] is None)
    shipped = {group: files_of[group] or _FALLBACK[group] for group in _GROUPS}
    differing, is_whole = _differing(recorded, shipped, own)
    words = ["--config-dir", "DIR"] if own else []
    for group in _GROUPS:
        name = names[group] if group in own else shipped[group]
        if group == "target" or name != _FALLBACK[group]:
            words.append(shlex.quote(f"{group}={name}"))
    notes = [OF_OTHERS] if own else []
    notes += [OF_FOLDER] if has_folder else []
    notes += [] if is_whole else [UNTOLD]
    return Command(" ".join(("compile", *words, *differing)), tuple(notes))


def _file(group: str, name: str, has_folder: bool) -> str | None:
    """The file of that name that ships; None: it is somebody's own."""
    if (
        re.fullmatch(r"\w+", name, re.ASCII)
        and (files("entracte.conf") / group / f"{name}.yaml").is_file()
    ):
        return name
    return "folder" if group == "pipeline" and has_folder else None


# ---------------------------------------------------------------- what differs


def _differing(
    recorded: Mapping[str, Any], shipped: Mapping[str, str], own: tuple[str, ...]
) -> tuple[list[str], bool]:
    """Words for what differs from the files that ship, and whether they say all of it."""
    from omegaconf import OmegaConf

    from entracte.declare.compose import compose
    from entracte.declare.guidance import written_over

    config = written_over(compose([f"{g}={name}" for g, name in shipped.items()]))
    raw = dict(_leaves(OmegaConf.to_container(config, resolve=False)))
    ends = {key for key, value in raw.items() if value != {}}
    wanted = {k: v for k, v in _leaves(recorded, ends) if _is_said(k, recorded, own)}
    words: dict[str, str] = {}
    if raw["pipeline.weights"] == "???":
        # Nothing can be resolved before these are given, and they always are.
        weights = wanted["pipeline.weights"]
        words["pipeline.weights"] = _word("pipeline.weights", weights, is_new=False) or ""
        config.pipeline.weights = weights
    _add_words(words, config, raw, wanted, ends)
    said = {k: v for k, v in _resolved(config, ends).items() if _is_said(k, recorded, own)}
    # Options that its recipe does not know are null, and a plan with a folder leaves them out.
    rest = {k for k in said.keys() - wanted.keys() if k.startswith("pipeline.options.")}
    is_whole = all(said.pop(k) is None for k in rest) and said == wanted
    return [w for w in words.values() if w], is_whole


def _add_words(
    words: dict[str, str],
    config: Any,
    raw: Mapping[str, Any],
    wanted: Mapping[str, Any],
    ends: Set[str],
) -> None:
    """Set in `config` what differs, word by word: first what stands there, then what refers to it,
    so that a size that ten stages read is one word."""
    from omegaconf import OmegaConf

    there = _resolved(config, ends)
    for key in sorted(wanted, key=lambda k: _hops(raw, k)):
        if there.get(key, _MISSING) == wanted[key] or len(words) >= _MOST:
            continue
        word = _word(key, wanted[key], is_new=key not in raw)
        if word is not None:
            words[key] = word
            OmegaConf.update(config, key, wanted[key], force_add=True)
            there = _resolved(config, ends)


def _hops(raw: Mapping[str, Any], key: str, most: int = 8) -> int:
    """How many references lead to what a value is."""
    found = _REFERENCE.findall(raw[key]) if isinstance(raw.get(key), str) and most else []
    return 1 + max(_hops(raw, k, most - 1) for k in found) if found else 0


def _resolved(config: Any, ends: Set[str]) -> dict[str, Any]:
    from omegaconf import OmegaConf

    from entracte.declare.sealed import sealed
    from entracte.declare.settings import LOCAL

    with sealed():
        plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return dict(_leaves({k: v for k, v in plain.items() if k not in LOCAL}, ends))


def _is_said(key: str, recorded: Mapping[str, Any], own: tuple[str, ...]) -> bool:
    """Whether a user's words can be the reason of a value."""
    group, _, rest = key.partition(".")
    if key == "target.name" and group not in own:
        name = str(recorded["target"]["name"])
        return profile_name(name) != name
    if group in own or group == CHOSEN or rest == "name":
        return False
    if group == "guidance" and rest.partition(".")[0] in ("over", "chosen"):
        return False  # written into the pipeline, and by the compiler
    if key in recorded.get(CHOSEN, {}):
        return True
    if group == "pipeline" and recorded["pipeline"].get("folder"):
        return rest.partition(".")[0] in _OWN
    return True


def _leaves(
    value: object, ends: Set[str] = frozenset(), path: str = ""
) -> Iterator[tuple[str, Any]]:
    """(`a.b.c`, value); what stands at one of `ends` is taken whole."""
    if isinstance(value, Mapping) and value and path not in ends:
        for key, item in value.items():
            yield from _leaves(item, ends, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


# ---------------------------------------------------------------- words


def _word(key: str, value: object, *, is_new: bool) -> str | None:
    """As a shell and then Hydra read it; None where that cannot be."""
    text = spelled(value)
    if text is None or not _KEY.fullmatch(key):
        return None
    return _quoted(f"{'+' if is_new else ''}{key}={text}")


def _quoted(word: str) -> str:
    """For a shell; in double quotes where single ones would be many."""
    is_plain = not set(word) & set('"$`\\!')
    return f'"{word}"' if "'" in word and is_plain else shlex.quote(word)


def spelled(value: object) -> str | None:
    """A value in Hydra's words; None for one that has none."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        items = [spelled(v) for v in value]
        return None if None in items else f"[{','.join(map(str, items))}]"
    if isinstance(value, Mapping):
        pairs = [(str(k), spelled(v)) for k, v in value.items()]
        if any(v is None or not _KEY.fullmatch(k) for k, v in pairs):
            return None
        return "{" + ",".join(f"{k}:{v}" for k, v in pairs) + "}"
    return None


def _text(value: str) -> str | None:
    if not value.isprintable():
        return None
    if _BARE.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if "\\" in value:
        return None
    return "'" + value.replace("'", "\\'") + "'"
