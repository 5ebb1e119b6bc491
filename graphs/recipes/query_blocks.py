"""Attention whose scores would not fit, a block of queries after the other: the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

MOST_SCORES = 2**28
"""Of one block. In fp16 half a GiB, which is there twice while it computes; a block is still
millions of products, so that nothing is gained by larger ones."""


class QueryBlocks(TorchFunctionMode):
    """Inside, torch's attention with more scores than `most` is cut along its queries. Each query's
    result depends on that query alone; what is causal is left as it is."""

    def __init__(self, most: int = MOST_SCORES) -> None:
        super().__init__()
        self._most = most

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],  # noqa: ARG002 # torch's signature
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called in place of each function of torch."""
        given = dict(kwargs or {})
        if func is not scaled_dot_product_attention:
            return func(*args, **given)
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        given |= dict(zip(names, args, strict=False))
        query, key = given.pop("query"), given["key"]
        per_query = prod(query.shape[:-2]) * key.shape[-2]
        size = max(1, self._most // per_query)
        if query.shape[-2] <= size or given.get("is_causal"):
            return func(query, **given)
        return self._blocks(func, query, size, given)

    @staticmethod
    def _blocks(
        func: Callable[..., Any], query: Tensor, size: int, given: dict[str, Any]
    ) -> Tensor:
        blocks = query.split(size, -2)
        mask, count = given.pop("attn_mask", None), len(blocks)
        is_each = mask is not None and mask.shape[-2] > 1
        masks = mask.split(size, -2) if is_each else [mask] * count
        made = [func(q, attn_mask=m, **given) for q, m in zip(blocks, masks, strict=True)]
        return torch.cat(made, -2)
