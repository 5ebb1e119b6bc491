"""What was chosen -> the words of `compile`, none of which leads out of the UI's folder."""

import os
import re
import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from entracte.declare.compose import compose
from entracte.declare.sealed import sealed
from entracte.declare.settings import LOCAL, CompileSettings
from entracte.disk.places import is_random
from entracte.errors import ConfigError
from entracte.inspect.command import spelled
from entracte.ui.controls import FIRST, Control, Group, others
from entracte.ui.places import Root

_WORD = re.compile(r"(?P<sign>\+{0,2}|~)(?P<key>[A-Za-z_]\w*(\.\w+)*)(=(?P<value>.*))?", re.ASCII)
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?", re.ASCII | re.IGNORECASE)
_KEYS = tuple(f.name for f in fields(CompileSettings) if f.name not in LOCAL)
_OURS = "package:entracte."
_MOST = 200
"""Words."""
_composing = threading.Lock()
"""Hydra keeps its state in one place for the whole process."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What stands in the controls."""

    files: Mapping[str, str]
    """Group -> the name of a file."""
    values: Mapping[str, str]
    """Key -> what was typed; empty for nothing."""
    more: str = ""
    """Further words, as in a shell."""


class Words:
    """Makes the words of `compile`, checked. `config_dir`: as the command's `--config-dir`."""

    def __init__(self, root: Root, groups: Sequence[Group], config_dir: Path | None = None) -> None:
        self._root, self._groups, self._config_dir = root, groups, config_dir
        self._shipped: dict[tuple[str, ...], dict[str, str]] = {}
        """Words of files -> all texts that they bring."""
        controls = (*(c for g in groups for c in g.controls), *others())
        self.controls = {c.place: c for c in controls}
        """By place; those that stand open first."""
        order = [*FIRST, *(p for p in self.controls if p not in FIRST)]
        self.controls = {p: self.controls[p] for p in order}

    def of(self, chosen: Chosen) -> tuple[str, ...]:
        """The words, without what says how to work (`out`, `dry_run`). Raises `ConfigError`."""
        files = tuple(self._files(chosen.files))
        typed = (*self._values(chosen.values), *self._more(chosen.more))
        if len(typed) > _MOST:
            raise ConfigError(f"{len(typed)} words: at most {_MOST} are taken")
        self._check_paths(files, typed)
        before = () if self._config_dir is None else ("--config-dir", str(self._config_dir))
        return (*before, *files, *typed)

    def _files(self, files: Mapping[str, str]) -> Iterator[str]:
        for group in self._groups:
            name = files.get(group.name) or group.chosen
            if not name:
                raise ConfigError(f"{group.name}: choose one of {', '.join(group.choices)}")
            if name not in group.choices:
                told = ", ".join(group.choices)
                raise ConfigError(f"{group.name}={name[:100]}: there is no such file; of {told}")
            if name != group.chosen:
                yield f"{group.name}={name}"

    def _values(self, values: Mapping[str, str]) -> Iterator[str]:
        for place, text in values.items():
            if place not in self.controls:
                raise ConfigError(f"{place[:100]}: is no key of the page")
            if typed := str(text or "").strip():
                yield f"{place}={_value(self.controls[place], typed)}"

    def _more(self, text: str) -> Iterator[str]:
        try:
            words = shlex.split(text or "")
        except ValueError as error:
            raise ConfigError(f"further words: {error}; close the quote") from None
        offered = {g.name: g.choices for g in self._groups}
        for word in words:
            found = _WORD.fullmatch(word)
            if found is None:
                raise ConfigError(f"further words: {word[:200]!r} is no KEY=VALUE")
            key, value = found["key"], found["value"] or ""
            if key.partition(".")[0] not in _KEYS:
                raise ConfigError(
                    f"further words: {key} says how to work and not what to make: it is for the "
                    f"terminal; here: {', '.join(_KEYS)}"
                )
            if key in offered and not value.startswith("{") and value not in offered[key]:
                raise ConfigError(f"further words: {word[:200]}: of {', '.join(offered[key])}")
            yield word

    # ------------------------------------------------------------ paths

    def _check_paths(self, files: tuple[str, ...], typed: Sequence[str]) -> None:
        """Raises `ConfigError` where a value that was typed names a place outside the root."""
        if not typed:
            return
        given = self._composed((*files, *typed))
        if files not in self._shipped:
            self._shipped[files] = dict(_leaves(self._composed(files)))
        for key, value in _leaves(given):
            if self._shipped[files].get(key) != value:
                self._check_path(key, value)

    def _composed(self, words: Sequence[str]) -> Any:
        """As it is written; nothing in it is looked up."""
        from omegaconf import OmegaConf

        with _composing, sealed():
            config = compose(words, self._config_dir)
            return OmegaConf.to_container(config, resolve=False)

    def _check_path(self, key: str, value: str) -> None:
        if is_random(value) or value.startswith(_OURS):
            return
        if value.startswith("package:") or "${" in value or "\0" in value:
            raise ConfigError(f"{key}: {value[:200]!r}: is for the terminal; give a folder here")
        path = self._root.folder / value
        if not (os.path.lexists(path) or "/" in value or value.startswith(("~", ".."))):
            return  # no path, as far as anybody can tell
        real = Path(os.path.realpath(path))
        if value.startswith("~") or not real.is_relative_to(self._root.folder):
            raise ConfigError(
                f"{key}: {value[:200]!r} is outside {self._root.folder}, the folder that the UI "
                "was started with; copy it there, start with another --root, or use the terminal"
            )
        if real.is_dir():
            self._root.check_whole(real)

    def held(self, chosen: Chosen) -> dict[str, str]:
        """Key of a control -> what holds with these files; empty where nothing does. Raises
        `ConfigError`."""
        from omegaconf import OmegaConf

        with _composing, sealed():
            config = compose(tuple(self._files(chosen.files)), self._config_dir)
            return {place: _told(OmegaConf, config, place) for place in self.controls}


def line(words: Sequence[str]) -> str:
    """Words as they are typed in a terminal, in the root."""
    return shlex.join(words)


def _value(control: Control, text: str) -> str:
    """As Hydra reads it. Raises `ConfigError`."""
    if control.kind in ("choice", "flag"):
        if text not in control.choices:
            raise ConfigError(f"{control.place}: one of {', '.join(control.choices[1:])}")
        return text
    if text == "null":
        return text
    if control.kind == "number":
        if not _NUMBER.fullmatch(text):
            raise ConfigError(f"{control.place}: {text[:60]!r} is no number; e.g. "
                              f"{control.example}")  # fmt: skip
        return text
    made = spelled(text)
    if made is None:
        raise ConfigError(f"{control.place}: {text[:60]!r} cannot be typed as a word")
    return made


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """(`a.b.0`, text) of all texts, and keys of maps too."""
    items: Any = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    elif isinstance(value, str):
        yield path, value
    for key, item in items:
        yield from _leaves(item, f"{path}.{key}" if path else str(key))


def _told(library: Any, config: Any, place: str) -> str:
    try:
        value = library.select(config, place)
    except Exception:  # noqa: BLE001 - of a key that must be given, or refers to one
        return ""
    return "" if value is None or value == "???" else str(value)
