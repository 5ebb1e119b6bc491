"""`pipeline.folder`: a model folder becomes stages, loops, inputs and outputs by its recipe."""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf, open_dict

from entracte.declare.compose import composing
from entracte.declare.guidance import guidance_of
from entracte.declare.packages import check_package
from entracte.declare.settings import CompileSettings, PipelineSettings
from entracte.declare.strays import check_keys
from entracte.disk.places import weights_folder
from entracte.errors import ConfigError
from entracte.graphs import GraphFault, recipes
from entracte.graphs.checks import similar

_WHERE = "pipeline.folder"
_OVER = ("inputs", "stages", "loops", "outputs")
"""What recipes give, and users may write over."""
_UNNAMED = "folder"
"""`pipeline.name` where nobody gave one: then the folder's own name is taken."""


def expanded(config: DictConfig) -> DictConfig:
    """The configuration with what the recipe of its folder gives; as it is where it names none.

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
    if place.startswith("random:"):
        raise ConfigError(
            f"{_WHERE}: {place!r} is no folder; for numbers of a seed give the folder with the "
            "configurations here, `pipeline.folder=FOLDER pipeline.weights=random:0`"
        )
    made = _declared(config, weights_folder(place, _WHERE))
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


def _declared(config: DictConfig, path: Path) -> dict[str, Any]:
    """What the recipe gives, as `pipeline` has it."""
    from entracte.graphs.recipes.hub import model_folder
    from entracte.graphs.recipes.recipe import Recipe

    options = OmegaConf.to_container(config.pipeline.options, resolve=True)
    assert isinstance(options, dict)
    chosen = {str(name): value for name, value in options.items()}
    try:
        folder = model_folder(path, _changes(config))
        make = recipes.recipe_of(folder.kind)
        random = config.pipeline.weights.startswith("random:")
        steps, evaluations = config.sampler.steps, config.sampler.evaluations
        recipe = Recipe(folder, chosen, steps, random=random, evaluations=evaluations,
                        guidance=guidance_of(config))  # fmt: skip
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
