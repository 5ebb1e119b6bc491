"""What Hydra and OmegaConf refuse, in our words: the place, what was given, what there is, and what
to write."""

import re
from collections.abc import Iterator

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException, ValidationError
from yaml import MarkedYAMLError

from entracte.declare.overrides import choices, unreadable
from entracte.graphs.checks import similar

_FILE = re.compile(r"In '([^']+)'")
_SEVERAL = re.compile(r"(?:Ambiguous value for argument|Sweep parameters) '(.*?)'(?: requires|\n)")
_TWICE = re.compile(r"Multiple values for ([\w/@.]+)\.")
_UNUSED = re.compile(r"Could not override '([^']+)'\. No match in the defaults list")
_APPENDED = re.compile(r"An item is already at '([^']+)'")
_NOT_THERE = re.compile(r"Could not delete (?:from config\. )?'([^']+)'")
_OVERRIDDEN = re.compile(r"Could not override '([^']+)'")
_FOLDER = re.compile(r"Additional config directory '(.*)' not found")
_NO_GROUP = re.compile(r"but config group '([^']+)' does not")
_REFERS = re.compile(r"Interpolation key '([^']*)' not found")
_SHOWN = 20
"""Names of a mapping that a message lists at most."""


def refusal(error: BaseException) -> str | None:
    """Our message of a library's fault; None for one that has no words here."""
    if isinstance(error, MissingConfigException):
        return _no_file(error)
    if isinstance(error, OverrideParseException):
        return unreadable(error.override)
    if isinstance(error, MarkedYAMLError):
        return _no_yaml(error)
    if (said := _of_a_word(str(error))) is not None:
        return said
    for one in _causes(error):
        if isinstance(one, OmegaConfBaseException) and (said := _of_a_key(one, error)) is not None:
            return said
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _file_of(text: str) -> str:
    """`in FILE: ` where a message names one; a word is told as one of the primary file."""
    found = _FILE.match(text)
    return f"in {found[1]}.yaml: " if found and found[1] != "compile" else ""


# ---------------------------------------------------------------- files


def _no_file(error: MissingConfigException) -> str:
    path, text = error.missing_cfg_file or "", str(error)
    if "primary config" in text:
        return (
            f"--config-name {path}: there is no file {path}.yaml; name the folder that has it with "
            "--config-dir"
        )
    group, _, name = path.rpartition("/")
    family = choices()
    if group not in family:
        known = _family_of(path, family)
        group, name = (known, path[len(known) + 1 :]) if known else (group, name)
    options = list(error.options) if error.options else family.get(group, [])
    if not options:
        return f"{_file_of(text)}there is no file {path}.yaml"
    own = ""
    if "/" in name or name.endswith((".yaml", ".yml")):
        bare = name.rstrip("/").rpartition("/")[2].partition(".")[0]
        own = (
            f"; a file of your own is DIR/{group}/{bare}.yaml: write --config-dir DIR "
            f"{group}={bare}"
        )
    return (
        f"{_file_of(text)}{group}={name}: there is no such {group}{similar(name, options)}; there "
        f"are {', '.join(options)}{own}"
    )


def _family_of(path: str, family: dict[str, list[str]]) -> str:
    first = path.partition("/")[0]
    return first if first in family else ""


def _no_yaml(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    what = " ".join(w for w in (error.problem, error.context) if w)
    place = f"{mark.name}:{mark.line + 1}:{mark.column + 1}: " if mark else ""
    return f"{place}no yaml: {what}; indent with spaces, and quote what has `: ` or `#` in it"


# ---------------------------------------------------------------- words


def _of_a_word(text: str) -> str | None:
    """Of a message that quotes a word of the command."""
    if found := _SEVERAL.search(text):
        return _several(found[1])
    if found := _TWICE.search(text):
        return f"{_file_of(text)}{found[1]} is chosen twice; give one {found[1]}=NAME"
    if found := _UNUSED.search(text):
        return f"{found[1]}: nothing is chosen from this group yet; write +{found[1]}=NAME"
    if found := _APPENDED.search(text):
        return f"+{found[1]}: is there already; write {found[1]}=VALUE, without the plus"
    if found := _NOT_THERE.search(text):
        return f"~{found[1]}: there is no {found[1]} that could be removed"
    if found := _FOLDER.search(text):
        return f"--config-dir: there is no folder {found[1]}"
    if found := _NO_GROUP.search(text):
        groups = list(choices())
        return (
            f"{found[1]}: there is no such group{similar(found[1], groups)}; there are "
            f"{', '.join(groups)}"
        )
    return None


def _several(word: str) -> str:
    key, _, value = word.partition("=")
    if "(" in value:
        return f"{word}: several values make a sweep; add -m (--multirun)"
    return (
        f"{word}: several values make a sweep, with -m (--multirun); one list is {key}=[{value}], "
        f"one text '{key}=\"{value}\"'"
    )


# ---------------------------------------------------------------- keys


def _of_a_key(error: OmegaConfBaseException, outer: BaseException) -> str | None:
    """Of OmegaConf's own fault, which knows its place and value."""
    if isinstance(error, InterpolationKeyError):
        found = _REFERS.search(str(error))
        place = f"{error.full_key}: " if error.full_key else ""
        return f"{place}${{{found[1]}}} refers to nothing that there is" if found else None
    if isinstance(error, ValidationError) and error.full_key:
        return _wrong_type(error, _file_of(str(outer)))
    if (found := _OVERRIDDEN.search(str(outer))) and isinstance(error.parent_node, DictConfig):
        return _no_name(found[1], error.parent_node, error)
    return None


def _wrong_type(error: ValidationError, where: str) -> str | None:
    """A value of another type than the schema's."""
    from entracte.declare.keys import key_at

    key = key_at(str(error.full_key))
    if key is None or not str(error).startswith(("Value", "Cannot convert", "Invalid type")):
        return None
    given = error.value if error.value is not None else _quoted(str(error))
    told = f"{where}{error.full_key}: {given!r} is no {key.type}"
    return f"{told}; e.g. {error.full_key}={key.example}"


def _quoted(text: str) -> str:
    found = re.search(r"'([^']*)'", text)
    return found[1] if found else ""


def _no_name(place: str, parent: DictConfig, error: OmegaConfBaseException) -> str | None:
    """A name that a mapping has not; stray keys of groups are `strays`'."""
    names = [str(name) for name in parent]
    given = str(error.key)
    if error.object_type is not dict or given in names:
        return None
    listed = ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
    return (
        f"{place}: there is no {given!r}{similar(given, names)}; there are {listed or 'none'}; a "
        f"new one takes a plus: +{place}=VALUE"
    )
