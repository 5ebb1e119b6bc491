"""The text encoder: transformers' T5 encoder, fed a finite additive mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel

from entracte.graphs.opensora.denoiser import mask_to_bias

RESIDUAL_WRITERS = ("shared.weight", "embed_tokens.weight", "SelfAttention.o.weight",
                    "DenseReluDense.wo.weight")  # fmt: skip
"""Ends of the names of the weights whose results are added up in T5's residual stream."""


def t5_v1_1_config(
    hidden: int, layers: int, heads: int, head: int, inner: int, vocabulary: int
) -> T5Config:
    """A T5 v1.1 encoder (gated GELU) of the given sizes."""
    return t5_config(
        {
            "vocab_size": vocabulary,
            "d_model": hidden,
            "d_kv": head,
            "d_ff": inner,
            "num_layers": layers,
            "num_heads": heads,
            "feed_forward_proj": "gated-gelu",
        }
    )


def t5_config(sizes: Mapping[str, Any]) -> T5Config:
    """A T5 encoder by the keys of a `config.json`."""
    fixed = {
        "dropout_rate": 0.0,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "is_encoder_decoder": False,
        "use_cache": False,
    }
    config: T5Config = T5Config.from_dict({**sizes, **fixed})
    # Plain matmul and softmax: T5 does not scale its scores, so the fused op does not fit.
    config._attn_implementation = "eager"
    return config


class TextEncoder(nn.Module):
    """Token ids -> features. `model` has the published T5 parameter names.

    T5-XXL's residual stream leaves the range of fp16. All that reads the stream normalises it
    first, so with `residual_scale` s the module expects everything that is written to it (the
    embedding, the outputs of attention and feed-forward: `residual_scales`) divided by s, and
    its norms' epsilon is divided by s^2. With s a power of two the features are the same to the
    last bits of fp32 (`reference/conversion.md` section 1.5).
    """

    def __init__(self, config: T5Config, residual_scale: float = 1.0) -> None:
        super().__init__()
        config.layer_norm_epsilon /= residual_scale**2
        self.residual_scale = residual_scale
        self.model = T5EncoderModel(config)

    @property
    def residual_scales(self) -> tuple[tuple[str, float], ...]:
        """(end of a weight's name, factor for the published value)."""
        return tuple((name, 1.0 / self.residual_scale) for name in RESIDUAL_WRITERS)

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """input_ids [1, L] int32, mask [1, L] of zeros and ones (float) -> [1, L, D]."""
        # A 4-D mask is passed through by transformers; its own would hold -inf-like constants.
        features = self.model(
            input_ids=input_ids, attention_mask=mask_to_bias(mask), return_dict=False
        )
        return features[0]


class RowsEncoder(nn.Module):
    """An encoder that reads rows of the table of tokens, as the checkpoint has them: the table
    itself, of which a prompt needs a few hundred rows, is not loaded."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.residual_scale = encoder.residual_scale
        self.residual_scales = encoder.residual_scales
        self.model = encoder.model

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """rows [1, L, D], mask [1, L] of zeros and ones (float) -> [1, L, D]."""
        features = self.model(
            inputs_embeds=rows / self.residual_scale,
            attention_mask=mask_to_bias(mask),
            return_dict=False,
        )
        return features[0]
