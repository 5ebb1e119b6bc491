"""`pipeline.folder`: a model folder becomes stages, loops, inputs and outputs by its recipe."""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from entracte.declare.packages import check_package
from entracte.declare.settings import PipelineSettings
from entracte.disk.places import weights_folder
from entracte.errors import ConfigError
from entracte.graphs import GraphFault, recipes

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
    check_package(_WHERE, place, config.allow_packages)
    if place.startswith("random:"):
        raise ConfigError(
            f"{_WHERE}: {place!r} is no folder; for numbers of a seed give the folder with the "
            "configurations here, `pipeline.folder=FOLDER pipeline.weights=random:0`"
        )
    made = _declared(config, weights_folder(place, _WHERE))
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    plain["pipeline"] = _over(made, plain["pipeline"])
    merged = OmegaConf.merge(OmegaConf.create(_structured(config)), plain)
    assert isinstance(merged, DictConfig)
    return merged


def _structured(config: DictConfig) -> Any:
    return OmegaConf.structured(OmegaConf.get_type(config))


def _declared(config: DictConfig, path: Path) -> dict[str, Any]:
    """What the recipe gives, as `pipeline` has it."""
    from entracte.graphs.recipes.hub import model_folder
    from entracte.graphs.recipes.recipe import STAND_IN, Recipe

    options = OmegaConf.to_container(config.pipeline.options, resolve=True)
    assert isinstance(options, dict)
    chosen = {str(name): value for name, value in options.items()}
    try:
        folder = model_folder(path)
        make = recipes.recipe_of(folder.kind)
        tokenizers = str(path.absolute()) if _has_tokenizer(path) else STAND_IN
        recipe = Recipe(folder, chosen, config.sampler.steps, tokenizers)
        make(recipe)
        recipe.check_options()
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


def _has_tokenizer(path: Path) -> bool:
    return (path / "tokenizer").is_dir() or (path / "tokenizer.json").is_file()


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_-").lower() or _UNNAMED


def _over(made: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given over what was made; of groups key by key."""
    result = dict(given) | {"options": made["options"]}
    result["lora_class"] = given["lora_class"] or made["lora_class"]
    if given["name"] == _UNNAMED:
        result |= {"name": made["name"], "title": made["title"]}
    for key in _OVER:
        groups = {name: dict(group) for name, group in made[key].items()}
        kind = {f.name: f.type for f in fields(PipelineSettings)}[key]
        for name, group in (given[key] or {}).items():
            _check_is_there(key, name, group, groups)
            groups[name] = _merged(groups.get(name, {}), _said(group, kind))
        result[key] = groups
    return result


def _check_is_there(key: str, name: str, group: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """A stage that is not the recipe's says itself what it is."""
    says = any(group.get(k) is not None for k in ("graph", "constant", "host"))
    if key == "stages" and name not in made and not says:
        raise ConfigError(
            f"pipeline.stages.{name}: the recipe has no such stage; it has {', '.join(made)}"
        )


def _said(group: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """Without the keys that say nothing: composing filled them in."""
    settings = next(t for t in getattr(kind, "__args__", ()) if is_dataclass(t))
    plain = {f.name: OmegaConf.to_container(OmegaConf.structured(settings))[f.name]  # type: ignore[index,call-overload]
             for f in fields(settings)}  # fmt: skip
    return {k: v for k, v in group.items() if v != plain.get(k)}


def _merged(made: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(made)
    for key, value in given.items():
        inner = result.get(key)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        result[key] = _merged(inner, value) if both and isinstance(inner, Mapping) else value
    return result
