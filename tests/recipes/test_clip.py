"""CLIP and SigLIP: texts and a picture become embeddings, as transformers makes them."""

import numpy as np
import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    SiglipConfig,
    SiglipModel,
)

from tests.recipes import words
from tests.recipes.harness import check, compiled, run

LENGTH, SIDE = 8, 16
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
         "num_attention_heads": 2}  # fmt: skip
TEXT = {**SMALL, "max_position_embeddings": LENGTH, "projection_dim": 12}
CLIP_TEXT = {**TEXT, "vocab_size": 64, "bos_token_id": 62, "eos_token_id": 63, "pad_token_id": 63}
VISION = {**SMALL, "image_size": SIDE, "patch_size": 4, "projection_dim": 12}
PROMPTS = ("a red cat", "b")
MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.3, 0.25)
PRECISIONS = ["fp32", pytest.param("fp16", marks=pytest.mark.slow)]


def saved(model, tokenizer, folder):
    """As the hub has them: the processor's rule in a file of its own."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p) * 0.3)
    model.eval().save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        f'{{"image_mean": {list(MEAN)}, "image_std": {list(STD)}}}'
    )
    return model


def picture() -> np.ndarray:
    return np.random.default_rng(4).random((1, 3, SIDE, SIDE), np.float32)


def pixels() -> torch.Tensor:
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD))
    return (torch.from_numpy(picture()) - mean) / std


def ids(tokenizer, prompts=PROMPTS) -> torch.Tensor:
    made = tokenizer(list(prompts), padding="max_length", max_length=LENGTH, truncation=True,
                     return_tensors="pt")  # fmt: skip
    return made.input_ids


@torch.no_grad()
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_texts_and_a_picture_are_compared(tmp_path, kind, precision):
    if kind == "clip":
        config = CLIPConfig(text_config=CLIP_TEXT, vision_config=VISION, projection_dim=12)
        model, tokenizer = CLIPModel(config), words.clip(LENGTH)
    else:
        text = {**TEXT, "vocab_size": 32, "projection_size": 16}
        config = SiglipConfig(text_config=text, vision_config=VISION)
        model, tokenizer = SiglipModel(config), words.t5(LENGTH)
    saved(model, tokenizer, tmp_path / "folder")
    want = model(input_ids=ids(tokenizer), pixel_values=pixels())
    built = compiled(
        tmp_path / "folder", tmp_path / "build", "pipeline.options.texts=2", precision=precision
    )
    given = {"prompt": PROMPTS[0], "prompt_2": PROMPTS[1], "image": picture()}
    for output in ("logits_per_image", "text_embeds", "image_embeds"):
        check(run(built, given, output), want[output], precision)


@torch.no_grad()
def test_a_text_alone(tmp_path):
    tokenizer = words.clip(LENGTH)
    model = saved(
        CLIPTextModelWithProjection(CLIPTextConfig(**CLIP_TEXT)), tokenizer, tmp_path / "folder"
    )
    want = model(ids(tokenizer, PROMPTS[:1])).text_embeds
    built = compiled(tmp_path / "folder", tmp_path / "build")
    check(run(built, {"prompt": PROMPTS[0]}, "text_embeds"), want, "fp32")


@torch.no_grad()
def test_a_picture_alone(tmp_path):
    model = saved(
        CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)), None, tmp_path / "folder"
    )
    want = model(pixels()).image_embeds
    built = compiled(tmp_path / "folder", tmp_path / "build")
    check(run(built, {"image": picture()}, "image_embeds"), want, "fp32")
