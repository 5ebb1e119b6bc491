"""SiglipModel: CLIP with all places of a text read, and a logit for each pair by itself."""

from __future__ import annotations

from entracte.graphs.recipes.clip import compared, image_of, texts_of
from entracte.graphs.recipes.hub import ROOT
from entracte.graphs.recipes.recipe import Recipe

_HALF = (0.5, 0.5, 0.5)


def siglip(r: Recipe) -> None:
    """Texts, padded to the model's length as it was trained, and a picture."""
    c = r.config(ROOT)
    texts = texts_of(r, c["text_config"], c["text_config"]["projection_size"])
    vision = c["vision_config"]
    side, width = vision["image_size"], vision["hidden_size"]
    compared(r, texts, image_of(r, side, width, "stretch", _HALF, _HALF))
