"""Features of umT5, whose table of tokens is read by rows: it is as large as many a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.opensora.denoiser import mask_to_bias
from entracte.graphs.recipes.parts_rows import token_rows
from entracte.graphs.recipes.parts_t5 import LARGE, divided
from entracte.graphs.recipes.recipe import Recipe, Value, stage


@stage
def text(
    encoder: nn.Module, prompt: Tensor, prompt_mask: Tensor,
    negative: Tensor | None = None, negative_mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Rows of the table (1, length, width) and masks (1, length) -> features [without, with];
    behind a text's end they are zero, as diffusers has them."""
    rows, mask = prompt, prompt_mask
    if negative is not None and negative_mask is not None:
        rows, mask = torch.cat([negative, prompt]), torch.cat([negative_mask, prompt_mask])
    bias = mask_to_bias(mask)
    made: Tensor = encoder(inputs_embeds=rows / LARGE, attention_mask=bias).last_hidden_state
    return made * mask[:, :, None]


def text_features(r: Recipe) -> Value:
    """Of the inputs `prompt` and, where guidance is on, `negative`: (2 or 1, length, width)."""
    config = r.config("text_encoder")
    length, width = r.size("length", 512), config["d_model"]
    texts = {"prompt": "a red cat walks"} | ({"negative": ""} if r.option("guided", True) else {})
    ports: dict[str, Any] = {}
    for name, default in texts.items():
        tokens = r.tokenize("tokenizer", r.text(name, default), length, clean="prompt")
        ports[name] = token_rows(r, "text_encoder", "shared.weight", width, tokens)
        ports[f"{name}_mask"] = tokens.mask
    found: Value = r.stage(text, "text_encoder", options=divided(config, LARGE), **ports,
                           states=(len(texts), length, width))  # fmt: skip
    return found
