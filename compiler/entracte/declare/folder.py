"""`pipeline.folder`: a model folder becomes stages, loops, inputs and outputs by its recipe."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf, open_dict

from entracte.declare.compose import composing
from entracte.declare.guidance import guidance_of
from entracte.declare.packages import check_package
from entracte.declare.settings import CompileSettings, PipelineSettings
from entracte.declare.strays import check_keys
from entracte.disk.places import is_random, weights_folder
from entracte.errors import ConfigError
from entracte.graphs import GraphFault, recipes
from entracte.graphs.checks import similar
from entracte.graphs.recipes.guidance import Guidance

_WHERE = "pipeline.folder"
_OVER = ("inputs", "stages", "loops", "outputs")
"""What recipes give, and users may write over."""
_UNNAMED = "folder"
"""`pipeline.name` where nobody gave one: then the folder's own name is taken."""


Keep = Callable[[str, Any, Callable[[], dict[str, Any]]], dict[str, Any]]
"""Class, what a declaration follows from beside the code, and what makes it -> the declaration."""


def _always_made(_: str, __: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return make()


def expanded(config: DictConfig, keep: Keep = _always_made) -> DictConfig:
    """The configuration with what the recipe of its folder gives; as it is where it names none.

    Args:
        keep: gives what a recipe declared before, if it knows it.

    Raises `ConfigError`. Of the folder only JSON is read.
    """
    place = config.pipeline.folder
    if place is None:
        return config
    if not place:
        raise ConfigError(
            f"{_WHERE}: it is not said which; give the folder that holds model_index.json, "
            "`pipeline.weights=FOLDER`"
        )
    check_package(_WHERE, place, config.allow_packages)
    if is_random(place):
        raise ConfigError(
            f"{_WHERE}: {place!r} is no folder; for numbers of a seed give the folder with the "
            "configurations here, `pipeline.folder=FOLDER pipeline.weights=random:0`"
        )
    path = weights_folder(place, _WHERE)
    chosen = _chosen(config)
    made = keep(_kind(path), _follows_from(chosen, path), lambda: _declared(chosen, path))
    plain = OmegaConf.to_container(without_groups(config), resolve=True)
    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict) and isinstance(raw, dict)
    # What is put over a recipe's may refer to what the recipe gives.
    own = {key: raw["pipeline"][key] for key in _OVER}
    plain["pipeline"] = _over(made, plain["pipeline"] | own)
    check_keys(plain)
    with composing():
        merged = OmegaConf.merge(OmegaConf.structured(CompileSettings), _own(plain))
    assert isinstance(merged, DictConfig)
    return merged


def without_groups(config: DictConfig) -> DictConfig:
    """Without what is put over a recipe's stages and the like, which may refer to the recipe's and
    need not be whole."""
    changed = config.copy()
    with open_dict(changed):
        for key in _OVER:
            changed.pipeline[key] = {}
    return changed


def _own(plain: Mapping[Any, Any]) -> dict[Any, Any]:
    """Without Hydra's."""
    return {k: v for k, v in plain.items() if k in {f.name for f in fields(CompileSettings)}}


def _kind(path: Path) -> str:
    """The class that a folder names; empty where that is not so easy to say."""
    try:
        index = json.loads((path / "model_index.json").read_text())
    except (OSError, ValueError):
        return ""
    kind = index.get("_class_name") if isinstance(index, dict) else None
    return kind if isinstance(kind, str) else ""


@dataclass(frozen=True)
class _Chosen:
    """All of a configuration that a recipe may look at."""

    options: dict[str, Any]
    changes: dict[str, dict[str, Any]]
    """Of the components' configurations."""
    random: bool
    """Whether weights are of a seed."""
    steps: int
    evaluations: int | None
    guidance: Guidance


def _chosen(config: DictConfig) -> _Chosen:
    """Raises `ConfigError`."""
    options = OmegaConf.to_container(config.pipeline.options, resolve=True)
    assert isinstance(options, dict)
    return _Chosen(
        {str(name): value for name, value in options.items()},
        _changes(config),
        is_random(config.pipeline.weights),
        config.sampler.steps,
        config.sampler.evaluations,
        guidance_of(config),
    )


def _follows_from(chosen: _Chosen, path: Path) -> Any:
    """Of a declaration, beside the code: the folder's JSON, the names of its files, and what was
    chosen."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return [
        str(path.absolute()),
        [(str(p.relative_to(path)), _sha256(p) if p.suffix == ".json" else "") for p in files],
        # As it is written, since 1 and true are equal.
        repr(chosen),
    ]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _declared(chosen: _Chosen, path: Path) -> dict[str, Any]:
    """What the recipe gives, as `pipeline` has it."""
    from entracte.graphs.recipes.hub import model_folder
    from entracte.graphs.recipes.recipe import Recipe

    try:
        folder = model_folder(path, chosen.changes)
        make = recipes.recipe_of(folder.kind)
        recipe = Recipe(folder, chosen.options, chosen.steps, random=chosen.random,
                        evaluations=chosen.evaluations, guidance=chosen.guidance)  # fmt: skip
        make(recipe)
        recipe.check_guidance()
        recipe.check_options()
        recipe.check_sampler()
    except GraphFault as error:
        raise ConfigError(f"{_WHERE}: {error}") from None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"{_WHERE}: {path}: its configurations are not those of a {folder.kind} "
            f"({type(error).__name__}: {error}); download the folder again"
        ) from error
    name = _file_name(path.absolute().name)
    return {
        "name": name,
        "title": f"{folder.kind} of {name}",
        "options": recipe.options_read,
        "lora_class": folder.kind,
        **{key: getattr(recipe, key) for key in _OVER},
    }


def _changes(config: DictConfig) -> dict[str, dict[str, Any]]:
    """Of the components' configurations. Raises `ConfigError`."""
    given = OmegaConf.to_container(config.pipeline.models, resolve=True)
    assert isinstance(given, dict)
    for name, keys in given.items():
        if not isinstance(keys, Mapping):
            raise ConfigError(
                f"pipeline.models.{name!s}: {keys!r}: give keys of its configuration and their "
                "values, for instance {num_layers: 4}"
            )
    return {str(name): dict(keys) for name, keys in given.items()}


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_-").lower() or _UNNAMED


def _over(made: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given over what was made; of groups key by key."""
    over = given["over"]
    stray = sorted(set(over) - set(_OVER))
    if stray:
        raise ConfigError(
            f"pipeline.over.{stray[0]}: it has {', '.join(_OVER)}; other keys stand beside it"
        )
    for key, groups in over.items():
        if not isinstance(groups, Mapping):
            raise ConfigError(f"pipeline.over.{key}: {groups!r}: give names, and keys of each")
    result = dict(given) | {"options": made["options"], "over": {}}
    result["lora_class"] = given["lora_class"] or made["lora_class"]
    if given["name"] == _UNNAMED:
        result |= {"name": made["name"], "title": made["title"]}
    for key in _OVER:
        kind = _kind_of(key)
        result[key] = {name: _plain(group, kind) for name, group in (given[key] or {}).items()}
        result[key] = _merged(made[key], _merged(result[key], over.get(key) or {}))
        for name in over.get(key) or {}:
            _check_is_there(key, name, result[key][name], made[key])
    return result


def _check_is_there(key: str, name: str, group: Any, made: Mapping[str, Any]) -> None:
    """A stage that is not the recipe's says itself what it is."""
    says = isinstance(group, Mapping) and {"graph", "constant", "host"} & group.keys()
    if key == "stages" and name not in made and not says:
        raise ConfigError(
            f"pipeline.over.stages.{name}: the recipe has no such stage{similar(name, made)}; it "
            f"has {', '.join(made)}"
        )


def _kind_of(key: str) -> Any:
    """The settings that are the values of a group."""
    return get_args(get_type_hints(PipelineSettings)[key])[1]


def _plain(group: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """Without the keys that say nothing: composing filled them in, also those of groups inside."""
    filled = OmegaConf.to_container(OmegaConf.structured(kind))
    assert isinstance(filled, dict)
    said = {k: v for k, v in group.items() if v != filled.get(k)}
    for key, inner in _groups_of(kind).items():
        if isinstance(said.get(key), Mapping):
            said[key] = _plain(said[key], inner)
    return {k: v for k, v in said.items() if v != {} or k not in _groups_of(kind)}


def _groups_of(kind: Any) -> dict[str, Any]:
    """Of settings the keys that are groups, or none, and their settings."""
    found = {}
    for key, hint in get_type_hints(kind).items():
        inner = [t for t in (hint, *get_args(hint)) if is_dataclass(t)]
        if inner and get_origin(hint) is not dict:
            found[key] = inner[0]
    return found


def _merged(made: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(made)
    for key, value in given.items():
        inner = result.get(key)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        result[key] = _merged(inner, value) if both and isinstance(inner, Mapping) else value
    return result
