"""T5's encoder of texts: its table by rows, its sums within fp16, no mask inside."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.recipe import Recipe, Tokens, Value, stage

_WRITERS = ("SelfAttention.o.weight", "DenseReluDense.wo.weight")
"""Ends of the names of what is added up in T5's residual stream, beside the embedding."""


@stage
def t5_states(t5: nn.Module, *rows: Tensor, scale: float) -> Tensor:
    """Embeddings of each text's tokens, (1, length, width), to features (texts, length, width)."""
    made: Tensor = t5(inputs_embeds=torch.cat(rows) / scale, return_dict=False)[0]
    return made


def t5_text(
    r: Recipe, texts: Sequence[Value], length: int, number: str = ""
) -> tuple[Value, list[Tokens]]:
    """Features of texts and their tokens; `number` ends the names of encoder and tokenizer.

    The residual stream of T5-XXL leaves the range of fp16. All that reads it normalises it first,
    so it may be divided (`opensora/text.py`): by 64 where it is 4096 wide.
    """
    encoder = f"text_encoder{number}"
    config = r.config(encoder)
    width, tokens, rows = config["d_model"], [], {}
    scale = float(1 << max((width // 64).bit_length() - 1, 0))
    for k, text in enumerate(texts):
        tokens.append(r.tokenize(f"tokenizer{number}", text, length))
        params = {"table": encoder, "key": "shared.weight", "rows": config["vocab_size"],
                  "width": width, "dtype": "${pipeline.precision}"}  # fmt: skip
        made = r.host("gather_rows", f"rows_{text.name}", params, ids=tokens[-1].ids)
        rows[f"rows{k}"] = Value(f"{made}.rows", (1, length, width))
    epsilon = config.get("layer_norm_epsilon", 1e-6) / scale**2
    states: Value = r.stage(
        t5_states, encoder, name=f"text{number}", settings={"scale": scale}, **rows,
        states=(len(texts), length, width),
        options={"config": {**config, "layer_norm_epsilon": epsilon},
                 "scales": [[name, 1 / scale] for name in _WRITERS]},
    )  # fmt: skip
    return states, tokens


def t5_masks(r: Recipe, tokens: Sequence[Tokens]) -> Value:
    """Which tokens there are, (texts, length), to be sliced like the features."""
    masks = {f"masks{k}": one.mask for k, one in enumerate(tokens)}
    made: Value = r.stage(stacked, None, name="masks", **masks,
                          mask=(len(tokens), *tokens[0].mask.shape[1:]))  # fmt: skip
    return made


@stage
def stacked(*masks: Tensor) -> Tensor:
    """One behind the other."""
    return torch.cat(masks)
