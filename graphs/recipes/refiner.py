"""A language model that writes a prompt out before it is encoded, as Open-Sora Plan 1.3 has one:
LLaMA-3.1-8B-Instruct with LoRA merged into it (`opensora/sample/caption_refiner.py`).

Upstream draws tokens by the folder's generation_config (temperature 0.6, top-p 0.9); here the
likeliest is taken each time. Upstream's instruction is a text between three quotes with quotes and
line ends inside, which are part of it: the model was asked so.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from entracte.graphs.recipes.causal_lm import Writer, written
from entracte.graphs.recipes.parts_tokens import end_ids
from entracte.graphs.recipes.recipe import Recipe, Tokens, Value, stage

COMPONENT = "prompt_refiner"
_ASKED = (
    'Refine the sentence: "',
    '" to contain subject description, action, scene description. " "(Optional: camera language, '
    "light and shadow, atmosphere) and conceive some additional actions to make the sentence more "
    'dynamic. " "Make sure it is a fluent sentence, not nonsense.',
)
"""Before the prompt and behind it. The chat template takes white space away on both sides."""
_TURN = "<|start_header_id|>{}<|end_header_id|>\n\n"
_BEGIN = (
    "<|begin_of_text|>" + _TURN.format("system")
    + "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    + "You are a caption refiner.<|eot_id|>" + _TURN.format("user") + _ASKED[0]
)  # fmt: skip
"""LLaMA 3.1's chat template, written out. Its tokenizer puts another mark of the beginning in
front, as it does upstream."""
_END = _ASKED[1] + "<|eot_id|>" + _TURN.format("assistant")
_LENGTH, _COUNT = 256, 512


@stage
def joined(first: Tensor, rest: Tensor) -> Tensor:
    """(1, 1) and (1, n) -> (1, 1 + n)."""
    return torch.cat([first, rest], 1)


def refined(r: Recipe, tokenizer: str, text: Value, length: int, **rule: Any) -> Tokens:
    """The prompt written out, as ids of the text encoder's tokenizer.

    Args:
        tokenizer, text, length, rule: of the text encoder, as `Recipe.tokenize` takes them.
    """
    end = end_ids(r.config(COMPONENT), r.folder.json(f"{COMPONENT}/generation_config.json"))
    size, count = r.size("refiner_length", _LENGTH), r.size("refiner_tokens", _COUNT)
    asked = r.tokenize(COMPONENT, text, size, name="tokens_refiner", pad_id=0, pad_side="right",
                       prefix=_BEGIN, suffix=_END)  # fmt: skip
    writer = Writer(COMPONENT, count - 1, end, "refiner_", {"compression": "int4_block32"})
    first, rest = (Value(v.name, shape, True)
                   for v, shape in zip(written(r, writer, asked), ((1, 1), (1, count - 1)),
                                       strict=True))  # fmt: skip
    ids = r.stage(joined, name="refiner_text", first=first, rest=rest, tokens=(1, count))
    ids = Value(ids.name, ids.shape, True)
    return r.retokenize(COMPONENT, tokenizer, ids, length, end=end, **rule)
