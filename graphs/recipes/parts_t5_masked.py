"""T5 as the encoder of texts of several lengths: what fills them up is masked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entracte.graphs.opensora.denoiser import mask_to_bias
from entracte.graphs.recipes.parts_rows import token_rows
from entracte.graphs.recipes.parts_t5 import LARGE, divided
from entracte.graphs.recipes.recipe import Recipe, Tokens, Value, stage


@stage
def t5_both(
    t5: nn.Module, negative: Tensor, prompt: Tensor, negative_mask: Tensor, prompt_mask: Tensor
) -> Tensor:
    """Rows of the table, (1, L, width), masks of ones and zeros (1, L) -> (2, L, width)."""
    mask = mask_to_bias(torch.cat([negative_mask, prompt_mask]))
    rows = torch.cat([negative, prompt]) / LARGE
    made: Tensor = t5(inputs_embeds=rows, attention_mask=mask, return_dict=False)[0]
    return made


def t5_states(r: Recipe, prompt: Tokens, negative: Tokens) -> Value:
    """Features of both texts, (2, L, width), [without, with]."""
    config = r.config("text_encoder")
    width = config["d_model"]
    rows = [token_rows(r, "text_encoder", "shared.weight", width, t) for t in (negative, prompt)]
    made: Value = r.stage(
        t5_both, "text_encoder", name="text", options=divided(config, LARGE),
        negative=rows[0], prompt=rows[1], negative_mask=negative.mask, prompt_mask=prompt.mask,
        states=(2, prompt.ids.shape[-1], width),
    )  # fmt: skip
    return made
