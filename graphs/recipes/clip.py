"""CLIPModel and its halves: embeddings of texts and of a picture, and how near they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from entracte.graphs.recipes.hub import ROOT
from entracte.graphs.recipes.recipe import Recipe, Value, stage

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@stage
def text_embeddings(model: Any, *ids: Tensor) -> Tensor:
    """(texts, width), as projected. What follows the end mark is never seen."""
    given = torch.cat(ids)
    if hasattr(model, "get_text_features"):
        found: Tensor = model.get_text_features(given).pooler_output
        return found
    made: Tensor = model(given).text_embeds
    return made


@stage
def image_embedding(
    model: Any, image: Tensor, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """Of a picture from 0 to 1: (1, width), as projected."""
    middle, spread = (torch.tensor(x).reshape(1, 3, 1, 1) for x in (mean, std))
    pixels = (image - middle) / spread
    if hasattr(model, "get_image_features"):
        found: Tensor = model.get_image_features(pixels).pooler_output
        return found
    made: Tensor = model(pixels).image_embeds
    return made


@stage
def similarity(model: Any, texts: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both of length 1, and (1, texts): their products, scaled as the model learned."""
    texts, image = (x / torch.sqrt((x * x).sum(-1, keepdim=True)) for x in (texts, image))
    logits = image @ texts.T * model.logit_scale.exp()
    return texts, image, logits + getattr(model, "logit_bias", 0)


def texts_of(r: Recipe, config: dict[str, Any], width: int, **rule: Any) -> Value:
    """Embeddings of as many texts as `pipeline.options.texts` says: `prompt`, `prompt_2`, ..."""
    names = ["prompt", *(f"prompt_{k}" for k in range(2, r.size("texts", 1) + 1))]
    length = config["max_position_embeddings"]
    texts = [r.text(name, "a photo of a cat") for name in names]
    ids: dict[str, Any] = {
        f"ids{k}": r.tokenize(ROOT, text, length, **rule).ids for k, text in enumerate(texts)
    }
    made: Value = r.stage(text_embeddings, ROOT, **ids, embeddings=(len(ids), width))
    return made


def image_of(r: Recipe, side: int, width: int, fit: str, mean: Any = MEAN, std: Any = STD) -> Value:
    """Embedding of the picture that the user gives, (1, width), normalised as the folder says."""
    said = r.folder.json("preprocessor_config.json", "processor_config.json")
    said = said.get("image_processor", said)
    settings = {"mean": said.get("image_mean", mean), "std": said.get("image_std", std)}
    image = r.image("image", side, side, range=[0.0, 1.0], fit=fit)
    made: Value = r.stage(image_embedding, ROOT, image=image, settings=settings,
                          embedding=(1, width))  # fmt: skip
    return made


def compared(r: Recipe, texts: Value, image: Value) -> None:
    """Outputs of a model of both."""
    made = r.stage(
        similarity, ROOT, texts=texts, image=image, text_embeds=texts, image_embeds=image,
        logits_per_image=(1, texts.shape[0]), options={"precision": "fp32"},
    )  # fmt: skip
    for value in made:
        r.output(value.name.partition(".")[2], "tensor", value)


def clip(r: Recipe) -> None:
    """Texts and a picture."""
    c = r.config(ROOT)
    texts = texts_of(r, c["text_config"], c["projection_dim"])
    side = c["vision_config"]["image_size"]
    compared(r, texts, image_of(r, side, c["projection_dim"], "crop"))


def clip_text(r: Recipe) -> None:
    """The texts alone."""
    c = r.config(ROOT)
    r.output("text_embeds", "tensor", texts_of(r, c, c["projection_dim"]))


def clip_vision(r: Recipe) -> None:
    """The picture alone."""
    c = r.config(ROOT)
    r.output("image_embeds", "tensor", image_of(r, c["image_size"], c["projection_dim"], "crop"))
