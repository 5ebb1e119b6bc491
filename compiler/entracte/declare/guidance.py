"""`guidance=NAME`: how both halves of classifier-free guidance come."""

from importlib.resources import files
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from entracte.declare.compose import composing
from entracte.declare.settings import GuidanceSettings
from entracte.declare.words import check_allowed
from entracte.graphs.recipes.guidance import APART, INTERVAL, OWN, TOGETHER, Guidance

AUTO = "auto"
"""Together or apart, by the compiler."""
WAYS = (OWN, TOGETHER, APART, INTERVAL, AUTO)
_GROUPS = ("inputs", "stages", "loops", "outputs")


def guidance_of(config: DictConfig) -> Guidance:
    """What a recipe is told. Raises `ConfigError`."""
    name = str(config.guidance.name)
    check_allowed("guidance.name", name, WAYS)
    way = OWN if name == AUTO else name
    return Guidance(way, config.guidance.begin, config.guidance.end)


def written_over(config: DictConfig) -> DictConfig:
    """A pipeline that no recipe makes, with what the guidance's file puts over it. Recipes are told
    the way instead. Raises `ConfigError`."""
    raw: Any = OmegaConf.to_container(config.guidance.over, resolve=False)
    if not raw:
        return config
    changed = config.copy()
    changed.guidance.over = {}
    if config.pipeline.folder is not None:
        return changed
    for key in raw:
        check_allowed("guidance.over", str(key), _GROUPS)
    with open_dict(changed), composing():
        changed.pipeline = OmegaConf.merge(changed.pipeline, raw)
    return changed


def with_guidance(config: DictConfig, name: str) -> DictConfig:
    """The configuration with the file of that name in the place of its own."""
    made = OmegaConf.create((files("entracte.conf") / "guidance" / f"{name}.yaml").read_text())
    changed = config.copy()
    changed.guidance = OmegaConf.merge(OmegaConf.structured(GuidanceSettings), made)
    return changed
