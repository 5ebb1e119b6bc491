"""Recipes: what a pipeline class of diffusers, or a model of transformers, is made of.

A recipe is a function that declares stages, loops and outputs from the folder's configurations
(`recipe.py`); it is found by the class that the folder names. What its stages compute are functions
marked with `stage` in the same module. Other packages add recipes through the entry point group
`entracte.recipes`:

    [project.entry-points."entracte.recipes"]
    "MyPipeline" = "mypackage.recipe:my_pipeline"
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from entracte.graphs.checks import GraphFault, similar
from entracte.graphs.contributions import contributed, contributed_names

_HERE = "entracte.graphs.recipes."
_BUILT_IN = {
    "AllegroPipeline": "allegro:allegro",
    "AnimateDiffPipeline": "animatediff:animatediff",
    "CLIPModel": "clip:clip",
    "CLIPTextModelWithProjection": "clip:clip_text",
    "CLIPVisionModelWithProjection": "clip:clip_vision",
    "CogVideoXImageToVideoPipeline": "cogvideox:cogvideox_image_to_video",
    "CogVideoXPipeline": "cogvideox:cogvideox",
    "DiTPipeline": "dit:dit",
    "Flux2KleinPipeline": "flux2_klein:flux2_klein",
    "FluxPipeline": "flux:flux",
    "HunyuanVideoPipeline": "hunyuan_video:hunyuan_video",
    "LTXImageToVideoPipeline": "ltx:ltx_image_to_video",
    "LTXPipeline": "ltx:ltx",
    "LatteClassPipeline": "latte_class:latte_class",
    "LattePipeline": "latte:latte",
    "LlamaForCausalLM": "causal_lm:causal_lm",
    "MiniSoraDiTPipeline": "minisora:minisora_dit",
    "MiniSoraSiTPipeline": "minisora:minisora_sit",
    "MiniSoraVideoPipeline": "minisora_video:minisora_video",
    "MochiPipeline": "mochi:mochi",
    "OpenSoraPipeline": "open_sora:open_sora",
    "OpenSoraPlanInpaintPipeline": "open_sora_plan_i2v:open_sora_plan_i2v",
    "OpenSoraPlanPipeline": "open_sora_plan:open_sora_plan",
    "PixArtAlphaPipeline": "pixart:pixart_alpha",
    "PixArtSigmaPipeline": "pixart:pixart_sigma",
    "Qwen2ForCausalLM": "causal_lm:causal_lm",
    "SanaPipeline": "sana:sana",
    "SiglipModel": "siglip:siglip",
    "StableCascadeCombinedPipeline": "stable_cascade_decoder:stable_cascade_combined",
    "StableCascadeDecoderPipeline": "stable_cascade_decoder:stable_cascade_decoder",
    "StableCascadeOriginalPipeline": "cascade:cascade",
    "StableCascadePriorPipeline": "stable_cascade:stable_cascade_prior",
    "StableDiffusion3Pipeline": "stable_diffusion_3:stable_diffusion_3",
    "StableDiffusionPipeline": "stable_diffusion:stable_diffusion",
    "StableDiffusionXLPipeline": "stable_diffusion_xl:stable_diffusion_xl",
    "StableVideoDiffusionPipeline": "stable_video_diffusion:stable_video_diffusion",
    "WanImageToVideoPipeline": "wan_image:wan_image",
    "WanPipeline": "wan:wan",
    "WhisperForConditionalGeneration": "whisper:whisper",
}
"""Class -> module in this folder, and the recipe in it."""
GROUP = "entracte.recipes"
OWN = "recipes."
"""How names of our recipes' graphs begin: `recipes.MODULE.FUNCTION`."""


def classes() -> list[str]:
    """Every class that has a recipe, built in and contributed."""
    return sorted({*_BUILT_IN, *contributed_names(GROUP)})


def is_own(name: str) -> bool:
    """Whether the recipe of a class is one of these, and no other package's."""
    return name in _BUILT_IN


def recipe_of(name: str) -> Callable[..., None]:
    """The recipe of a class. Raises `GraphFault` for one that has none."""
    place = _place(name)
    if not place:
        raise GraphFault(
            f"there is no recipe for the class {name!r}{similar(name, classes())}; there are some "
            f"for {', '.join(classes())}. CONTRIBUTING says how to add one, and "
            "docs/your-own-pipeline.md how to describe any pipeline in a file of your own"
        )
    module, _, attribute = place.partition(":")
    found: Callable[..., None] = getattr(import_module(module), attribute)
    return found


def graph_name(owner: str, function: Callable[..., Any]) -> str:
    """What a stage of the class `owner` that calls this function has as its `graph`."""
    if function.__module__.startswith(_HERE):
        return f"{OWN}{function.__module__.removeprefix(_HERE)}.{function.__name__}"
    return f"{owner}.{function.__name__}"


def function_of(graph: str) -> Callable[..., Any] | None:
    """The function marked as a stage that a `graph` of a recipe names; None where it names none."""
    owner, _, name = graph.rpartition(".")
    if graph.startswith(OWN):
        module = _HERE + owner.removeprefix(OWN)
        known = all(part.isidentifier() for part in module.split(".")) and owner != OWN[:-1]
        place = module if known else ""
    else:
        place = _place(owner).partition(":")[0]
    if not place:
        return None
    try:
        found = getattr(import_module(place), name, None)
    except ModuleNotFoundError:
        return None
    return found if getattr(found, "is_stage", False) else None


def package_of(graph: str) -> str:
    """The top-level package that a contributed recipe's graph is of; empty for no such graph."""
    return "" if graph.startswith(OWN) else _place(graph.rpartition(".")[0]).partition(".")[0]


def _place(name: str) -> str:
    """`MODULE:ATTRIBUTE`; empty where there is none."""
    if name in _BUILT_IN:
        return _HERE + _BUILT_IN[name]
    return contributed(GROUP, name, f"have different recipes for {name}")
