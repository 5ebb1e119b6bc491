"""Attention as one operator (opset 23), as torch's exporter writes it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from entracte.graphs.onnx.node import Compute, Node, Rule

__all__ = ["ROWS"]


def _attention(node: Node) -> Compute:
    """Queries, keys and values of [batch, heads, length, width], or with the heads in the width."""
    node.one_output()
    node.only("softcap", 0.0)
    node.only("qk_matmul_output_mode", 0)
    node.attribute("softmax_precision")  # as the stage's precision and its repairs say
    for index in (4, 5, 6):
        if node.has(index):
            node.fail("keys and values of the past are not carried out; join them before it")
    scale, causal = node.attribute("scale"), bool(node.attribute("is_causal"))
    heads = node.attribute("q_num_heads"), node.attribute("kv_num_heads")
    flat = node.rank() == 3
    if flat and not all(heads):
        node.fail("has three axes and no number of heads")
    if causal and node.shape()[-2] != node.shape(1)[-2]:
        node.fail("is causal with more keys than queries, or fewer")

    def compute(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *_: None) -> Tensor:
        if flat:
            q, k, v = _split(q, heads[0]), _split(k, heads[1]), _split(v, heads[1])
        groups = q.shape[1] // k.shape[1]
        if groups > 1:
            k, v = (t.repeat_interleave(groups, 1) for t in (k, v))
        if causal and mask is not None:
            low = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
            mask = mask & low if mask.dtype is torch.bool else mask.masked_fill(~low, -3e4)
        is_plain = causal and mask is None
        made = F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_plain, scale=scale)
        return made.transpose(1, 2).flatten(2) if flat else made

    return compute


def _split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


ROWS: dict[str, Rule] = {"Attention": _attention}
