"""What the recipe of a model folder declared, kept: making it imports the libraries of the models,
which takes longer than all else of a compile that finds everything in the cache."""

import json
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from entracte.declare.folder import Keep
from entracte.declare.read import Job, read
from entracte.graphs.recipes import is_own
from entracte.store.cache import Cache, cache_folder, digest
from entracte.store.origin import graph_digest

__all__ = ["kept_recipes", "read_job"]

_GRAPHS = "entracte.graphs"


def read_job(config: DictConfig) -> Job:
    """`read`, with recipes' declarations kept where the configuration says that the cache is."""
    return read(config, keep=lambda *given: kept_recipes(config.cache)(*given))


def kept_recipes(setting: str) -> Keep:
    """What gives the declaration of a class from what it follows from, made at most once.

    Args:
        setting: where the cache is, as `cache` says it.
    """
    cache = Cache(cache_folder(setting))

    def declared(kind: str, given: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if not is_own(kind):  # the code of another package, which may do anything
            return make()
        key = digest(kind, given, graph_digest(_GRAPHS))
        text = cache.record("recipes", key, str)
        if text is not None:
            found: dict[str, Any] = json.loads(text)
            return found
        made = make()
        text = _text(made)
        if text:
            cache.keep("recipes", key, text)
        return made

    return declared


def _text(made: dict[str, Any]) -> str:
    """As JSON; empty where it would come back as something else."""
    try:
        text = json.dumps(made)
    except (TypeError, ValueError):
        return ""
    return text if repr(json.loads(text)) == repr(made) else ""
