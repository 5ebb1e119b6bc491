"""T5's encoder of texts: its table by rows, its sums within fp16, no mask inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts_rows import token_rows
from entracte.graphs.recipes.recipe import Recipe, Tokens, Value, stage

_WRITERS = ("SelfAttention.o.weight", "DenseReluDense.wo.weight")
"""Ends of the names of what is added up in T5's residual stream, beside the embedding."""
LARGE = 64.0
"""What the residual stream of T5-XXL and umT5-XXL is divided by."""


def divided(config: Mapping[str, Any], by: float) -> dict[str, Any]:
    """Options of a stage of T5, whose residual stream is divided by a number: what is written to it
    is, beside the embedding, which the stage divides itself.

    That of T5-XXL leaves the range of fp16. All that reads it normalises it first, so with the
    norms' epsilon divided by the square the features are the same (`opensora/text.py`).
    """
    epsilon = config["layer_norm_epsilon"] / by**2
    scaled = {**config, "layer_norm_epsilon": epsilon}
    return {"config": scaled, "scales": dict.fromkeys(_WRITERS, 1 / by)}


@stage
def t5_states(t5: nn.Module, *rows: Tensor, scale: float) -> Tensor:
    """Embeddings of each text's tokens, (1, length, width), to features (texts, length, width)."""
    made: Tensor = t5(inputs_embeds=torch.cat(rows) / scale, return_dict=False)[0]
    return made


def t5_text(
    r: Recipe, texts: Sequence[Value], length: int, number: str = ""
) -> tuple[Value, list[Tokens]]:
    """Features of texts and their tokens; `number` ends the names of encoder and tokenizer.

    The residual stream is divided by 64 where it is 4096 wide.
    """
    encoder = f"text_encoder{number}"
    config = r.config(encoder)
    width, tokens, rows = config["d_model"], [], {}
    scale = float(1 << max((width // 64).bit_length() - 1, 0))
    for k, text in enumerate(texts):
        tokens.append(r.tokenize(f"tokenizer{number}", text, length))
        rows[f"rows{k}"] = token_rows(r, encoder, "shared.weight", width, tokens[-1])
    states: Value = r.stage(
        t5_states, encoder, name=f"text{number}", settings={"scale": scale}, **rows,
        states=(len(texts), length, width), options=divided(config, scale),
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
