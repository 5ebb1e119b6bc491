"""Whisper's stages: log-mel features of 16 kHz as `WhisperFeatureExtractor` makes them, the
encoder, a step of the decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from entracte.graphs.recipes.parts_tokens import HIDDEN, Places, ends, unseen
from entracte.graphs.recipes.recipe import stage
from entracte.graphs.spec import Constants

RATE = 16_000


@stage
def log_mel(sound: Tensor, mels: int, window: int, hop: int) -> Tensor:
    """Samples (1, n) to (1, mels, n / hop): powers of a windowed Fourier transform, in bands.

    Args:
        window: samples that a transform reads (`n_fft`).
        hop: from one to the next.
    """
    from transformers.audio_utils import mel_filter_bank

    bands = mel_filter_bank(1 + window // 2, mels, 0.0, 8000.0, RATE, "slaney", "slaney")
    padded = functional.pad(sound[:, None], (window // 2, window // 2), mode="reflect")
    real, imaginary = functional.conv1d(padded, _waves(window), stride=hop).chunk(2, dim=1)
    power = (real * real + imaginary * imaginary)[:, :, :-1]
    filters = torch.tensor(bands.T.tolist())
    log = torch.log(torch.clamp(filters @ power, min=1e-10)) / math.log(10.0)
    largest = log.amax(dim=(1, 2), keepdim=True)
    return (torch.maximum(log, largest - 8.0) + 4.0) / 4.0


def _waves(window: int) -> Tensor:
    """Cosines and sines under Hann's window, (2 (window / 2 + 1), 1, window)."""
    n = np.arange(window)
    angle = 2 * np.pi * np.outer(np.arange(window // 2 + 1), n) / window
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / window)
    waves = np.concatenate([np.cos(angle), -np.sin(angle)]) * hann
    return torch.tensor(waves[:, None].tolist())


@stage
def encode(model: Any, features: Tensor) -> tuple[Tensor, ...]:
    """Keys and values of each decoder layer's attention to the sound, (1, heads, frames, width)."""
    states = model.model.encoder(features).last_hidden_state
    layers = [layer.encoder_attn for layer in model.model.decoder.layers]
    both = [(own, linear(states)) for own in layers for linear in (own.k_proj, own.v_proj)]
    return tuple(x.view(1, -1, own.num_heads, own.head_dim).transpose(1, 2) for own, x in both)


@stage
def step(
    model: Any, rows: Tensor, forced: Tensor, rule: Tensor, at: Tensor, seen: Tensor,
    *kept: Tensor, rules: list[list[int]], end: list[int],
) -> tuple[Tensor, ...]:  # fmt: skip
    """The token after this one, whether it ends the text, and the caches.

    Args:
        forced: (1, 1), the token that follows in any case; below 0 where none does.
        rule: (1, 3), which of the `rules` hold: tokens never written, not written first, and the
            only ones written (languages).
        kept: the decoder's own keys and values, then those of the sound.
    """
    decoder = model.model.decoder
    many = len(kept) // 2
    cache, heard = Places(kept[:many], at), zip(kept[many::2], kept[many + 1 :: 2], strict=True)
    x = rows + at[:, None] @ decoder.embed_positions.weight[: at.shape[1]]
    for layer, (keys, values) in zip(decoder.layers, heard, strict=True):
        x = x + layer.self_attn(layer.self_attn_layer_norm(x), past_key_values=cache,
                                attention_mask=unseen(seen))[0]  # fmt: skip
        own, y = layer.encoder_attn, layer.encoder_attn_layer_norm(x)
        q = own.q_proj(y).view(1, -1, own.num_heads, own.head_dim).transpose(1, 2)
        y = functional.scaled_dot_product_attention(q, keys, values, scale=own.scaling)
        x = x + own.out_proj(y.transpose(1, 2).flatten(2))
        x = x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
    logits = model.proj_out(decoder.layer_norm(x))[0]
    free = (logits + rule @ _taken(logits.shape[-1], *rules)).argmax(-1, keepdim=True).int()
    token = torch.where(forced >= 0, forced, free)
    return token, ends(token, end), *cache.kept


def _taken(size: int, never: list[int], first: list[int], only: list[int]) -> Tensor:
    """(3, size): what each rule takes from the logits."""
    rules = [set(never), set(first), set(range(size)) - set(only)]
    return torch.tensor([[-HIDDEN * (k in rule) for k in range(size)] for rule in rules])


def whisper_rows(count: int, prefix: Sequence[int | None]) -> Constants:
    """Of each iteration: the token that must follow, the rules that hold (`step`), and
    where in the cache it is; and the token to begin with.

    Args:
        prefix: tokens that are not the model's to choose; None: it chooses a language.
    """
    forced = np.full((count, 1), -1, np.int32)
    rule = np.zeros((count, 3), np.float32)
    for k, token in enumerate(prefix[1:]):
        forced[k], rule[k, 2] = (-1, 1) if token is None else (token, 0)
    rule[len(prefix) - 1 :, 0] = 1
    rule[len(prefix) - 1, 1] = 1
    at = np.eye(count, dtype=np.float32)
    start = np.array([[prefix[0]]], np.int32)
    return Constants({"start": start, "forced": forced, "rule": rule, "at": at,
                      "seen": np.tri(count, dtype=np.float32)})  # fmt: skip
