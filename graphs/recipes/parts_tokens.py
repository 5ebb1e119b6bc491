"""What models that write token by token share: caches with a place for each, and the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

HIDDEN = 1e4
"""Taken from the score of a place that is not seen: more than fp16's softmax can tell from all."""


class Places:
    """A cache as transformers' layers use one: keys and values by layer, each token in its place.

    Args:
        kept: keys and values, (1, heads, places, width) each, layer by layer; none: only what is
            given now is attended to.
        at: (1, places), 1 where the token that is given now belongs.
    """

    def __init__(self, kept: Sequence[Tensor] = (), at: Tensor | None = None) -> None:
        self.kept = list(kept)
        self._at = None if at is None else at[:, None, :, None]
        self._first = not kept

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any) -> tuple[Tensor, Tensor]:
        """What the layer attends to."""
        if self._first:
            self.kept += [keys, values]
            return keys, values
        assert self._at is not None
        for k, new in ((2 * layer, keys), (2 * layer + 1, values)):
            self.kept[k] = self.kept[k] * (1 - self._at) + new * self._at
        return self.kept[2 * layer], self.kept[2 * layer + 1]

    def get_seq_length(self, *_: Any) -> int:
        """Asked by layers that would make a mask of their own; theirs is given."""
        return 0


def next_places(at: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """(1, places) each: one place further, and all that the token there sees, itself included."""
    at = functional.pad(at[:, :-1], (1, 0))
    return at, seen + at


def unseen(seen: Tensor) -> Tensor:
    """What is added to scores, (1, 1, 1, places)."""
    return ((seen - 1) * HIDDEN)[:, None, None]


def causal(length: int) -> Tensor:
    """The same of a whole text, (1, 1, length, length)."""
    return torch.full((length, length), -HIDDEN).triu(1)[None, None]


def ends(token: Tensor, end_ids: Sequence[int]) -> Tensor:
    """(1,), not 0 where the token is one that ends a text."""
    found = (token < 0).float()
    for k in end_ids:
        found = found + (token == k).float()
    return found.reshape(1)


def end_ids(config: Mapping[str, Any], generation: Mapping[str, Any]) -> list[int]:
    """Tokens that end a text, by the rule of generation before the model's."""
    said = generation.get("eos_token_id", config.get("eos_token_id"))
    return [] if said is None else [said] if isinstance(said, int) else list(said)
