"""LlamaForCausalLM and Qwen2ForCausalLM: a prompt at once, then token by token with a cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from entracte.graphs.recipes.hub import ROOT
from entracte.graphs.recipes.parts_rows import token_rows
from entracte.graphs.recipes.parts_tokens import Places, causal, end_ids, ends, next_places, unseen
from entracte.graphs.recipes.recipe import Recipe, Tokens, Value, stage

_TABLE = "model.embed_tokens.weight"
"""The rows of tokens in the checkpoint."""


def _through(
    model: Any, x: Tensor, turns: tuple[Tensor, ...], mask: Tensor, cache: Places
) -> Tensor:
    """All layers; `turns` are the cosines and sines of the tokens' places."""
    for layer in model.model.layers:
        x = layer(x, attention_mask=mask, position_embeddings=turns, past_key_values=cache)
    return x


def _token(model: Any, x: Tensor) -> Tensor:
    """(1, 1): the likeliest."""
    logits: Tensor = model.lm_head(model.model.norm(x))
    return logits.argmax(-1).int()


def _turns(model: Any, count: int) -> tuple[Tensor, ...]:
    """Cosines and sines of the first places, (1, count, width) each."""
    made: tuple[Tensor, ...] = model.model.rotary_emb(torch.zeros(1), torch.arange(count)[None])
    return made


@stage
def prefill(model: Any, rows: Tensor, mask: Tensor, places: int) -> tuple[Tensor, ...]:
    """The first token, its place, what it sees, and the caches: the prompt is filled up on its
    right, where no token of it looks; the tokens that follow take those places."""
    length, cache = rows.shape[1], Places()
    x = _through(model, rows, _turns(model, length), causal(length), cache)
    last = mask - functional.pad(mask[:, 1:], (0, 1))
    more = places - length
    at = functional.pad(last, (1, more - 1))
    kept = [functional.pad(x, (0, 0, 0, more)) for x in cache.kept]
    return _token(model, last[:, None] @ x), at, functional.pad(mask, (0, more)) + at, *kept


@stage
def step(
    model: Any, rows: Tensor, at: Tensor, seen: Tensor, *kept: Tensor, end: list[int]
) -> tuple[Tensor, ...]:
    """The token after this one, whether it ends the text, its place, what it sees, the caches."""
    cache = Places(kept, at)
    turns = tuple(at[:, None] @ table for table in _turns(model, at.shape[1]))
    token = _token(model, _through(model, rows, turns, unseen(seen), cache))
    return token, ends(token, end), *next_places(at, seen), *cache.kept


def _check_places(c: Mapping[str, Any], places: int) -> None:
    """Some layers of some models see a window only: that is the same as long as nothing leaves."""
    window = c.get("sliding_window") or places
    most = min(window, c["max_position_embeddings"])
    if places > most:
        raise ValueError(
            f"pipeline.options.length and tokens: together {places}, and the model attends to the "
            f"last {most} tokens; give less"
        )


@dataclass(frozen=True, slots=True)
class Writer:
    """A model that writes, and how much.

    Attributes:
        component: of the folder.
        count: tokens that it writes after the first, at most.
        end: tokens that end a text.
        prefix: of its stages' names, where a pipeline has others.
        options: further keys of both stages, `compression` for instance.
    """

    component: str
    count: int
    end: list[int]
    prefix: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def written(r: Recipe, writer: Writer, prompt: Tokens) -> list[Value]:
    """The likeliest token each time, up to one that ends the text: the first, and all others, to
    be joined. Nothing is drawn, and nothing is the less likely for having been written."""
    c = r.config(writer.component)
    length = prompt.ids.shape[1]
    width, places, layers = c["hidden_size"], length + writer.count, c["num_hidden_layers"]
    _check_places(c, places)
    head = c.get("head_dim") or width // c["num_attention_heads"]
    names = [f"kept{k}" for k in range(2 * layers)]
    carried = ["at", "seen", *names]
    made: dict[str, Any] = {"at_next": (1, places), "seen_next": (1, places)}
    made |= {f"{name}_next": (1, c["num_key_value_heads"], places, head) for name in names}
    begins = f"{writer.prefix}prefill"
    rows = token_rows(r, writer.component, _TABLE, width, prompt)
    first, *begin = r.stage(
        prefill, writer.component, name=begins, rows=rows, mask=prompt.mask,
        settings={"places": places}, token=(1, 1), **made, options=dict(writer.options),
    )  # fmt: skip
    with r.loop(f"{writer.prefix}decode", writer.count) as loop:
        token = loop.state("token", first)
        rows = token_rows(r, writer.component, _TABLE, width, Tokens(token, token))
        states: dict[str, Any] = {
            name: loop.state(name, v) for name, v in zip(carried, begin, strict=True)
        }
        following, done, *after = r.stage(
            step, writer.component, name=f"{writer.prefix}step", rows=rows, **states,
            settings={"end": writer.end}, token_next=(1, 1), done=(1,), **made,
            options={**writer.options, "weights_of": begins},
        )  # fmt: skip
        for name, value in zip(["token", *carried], [following, *after], strict=True):
            loop.next(name, value)
        loop.until(done)
    return [first, loop.collect("tokens", following, 1)]


def causal_lm(r: Recipe) -> None:
    """Of the folder's rules of generation only the ends are read: no sampling and no penalty."""
    end = end_ids(r.config(ROOT), r.folder.json("generation_config.json"))
    length, count = r.size("length", 128), r.size("tokens", 64)
    prompt = r.tokenize(ROOT, r.text("prompt", "The sun"), length, pad_id=0, pad_side="right")
    tokens = written(r, Writer(ROOT, count, end), prompt)
    r.output("text", "text", tokens, tokenizer=prompt.tokenizer, end=end)
