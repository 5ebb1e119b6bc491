"""Language models of transformers that encode texts: their mask, made of what a text has."""

from __future__ import annotations

import torch
from torch import Tensor

from entracte.graphs.opensora.denoiser import MASKED


def causal(mask: Tensor) -> dict[str, Tensor]:
    """Masks of ones and zeros (batch, L) -> what is added to scores, (batch, 1, L, L): a token sees
    itself and what comes before it. Texts are shorter than any sliding window."""
    length = mask.shape[1]
    seen = torch.ones(1, length, length).tril() * mask[:, None]
    bias = ((1 - seen) * MASKED)[:, None]
    return {"full_attention": bias, "sliding_attention": bias}
