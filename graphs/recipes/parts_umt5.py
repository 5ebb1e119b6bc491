"""Features of umT5, whose table of tokens is read by rows: it is as large as many a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.recipe import Recipe, Value, stage

_MASKED = -30000.0
"""Added to scores of what is no token: fp16 holds it."""
_SCALE = 64.0
"""The residual stream leaves the range of fp16. All that reads it normalises it first, so it is
divided by this where it is written, and the norms' epsilon by its square: the same features."""
_WRITERS = ("SelfAttention.o.weight", "DenseReluDense.wo.weight")


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
    bias = ((1.0 - mask) * _MASKED)[:, None, None, :]
    made: Tensor = encoder(inputs_embeds=rows / _SCALE, attention_mask=bias).last_hidden_state
    return made * mask[:, :, None]


def text_features(r: Recipe) -> Value:
    """Of the inputs `prompt` and, where guidance is on, `negative`: (2 or 1, length, width)."""
    config = r.config("text_encoder")
    length, width = r.size("length", 512), config["d_model"]
    texts = {"prompt": "a red cat walks"} | ({"negative": ""} if r.option("guided", True) else {})
    ports: dict[str, Any] = {}
    for name, default in texts.items():
        tokens = r.tokenize("tokenizer", r.text(name, default), length)
        table = {"table": "text_encoder", "key": "shared.weight", "rows": config["vocab_size"],
                 "width": width, "dtype": "${pipeline.precision}"}  # fmt: skip
        made = r.host("gather_rows", f"rows_{name}", table, ids=tokens.ids)
        ports[name] = Value(f"{made}.rows", (1, length, width))
        ports[f"{name}_mask"] = tokens.mask
    scaled = {**config, "layer_norm_epsilon": config["layer_norm_epsilon"] / _SCALE**2}
    options = {"config": scaled, "scales": dict.fromkeys(_WRITERS, 1 / _SCALE)}
    found: Value = r.stage(text, "text_encoder", options=options, **ports,
                           states=(len(texts), length, width))  # fmt: skip
    return found
