"""Speech to tokens: Whisper, whose cache a loop carries and whose first call shares its weights."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from entracte.graphs.spec import Constants, Graph, Input

RATE = 16_000
TOKENS = 12
"""Places of the cache."""
START = (1, 2, 3)
END = 0


def extractor() -> WhisperFeatureExtractor:
    """One second of sound."""
    return WhisperFeatureExtractor(feature_size=16, sampling_rate=RATE, chunk_length=1)


def config() -> WhisperConfig:
    return WhisperConfig(
        vocab_size=64, num_mel_bins=16, encoder_layers=2, encoder_attention_heads=2,
        decoder_layers=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        d_model=16, max_source_positions=50, max_target_positions=TOKENS, pad_token_id=END,
        bos_token_id=END, eos_token_id=END, decoder_start_token_id=START[0], dropout=0.0,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip


def model() -> WhisperForConditionalGeneration:
    return WhisperForConditionalGeneration(config()).eval()


class LogMel(nn.Module):
    """Samples (1, n) -> log-mel features (1, mels, frames), as Whisper's extractor makes them."""

    def __init__(self) -> None:
        super().__init__()
        made = extractor()
        self.hop, n = made.hop_length, made.n_fft
        window = torch.hann_window(n, dtype=torch.float64)
        angle = 2 * torch.pi * torch.outer(torch.arange(n // 2 + 1), torch.arange(n)) / n
        basis = torch.cat([torch.cos(angle) * window, -torch.sin(angle) * window])
        self.register_buffer("basis", basis.float()[:, None], persistent=False)
        filters = torch.tensor(np.asarray(made.mel_filters).T, dtype=torch.float32)
        self.register_buffer("filters", filters.contiguous(), persistent=False)
        self.pad = n // 2

    def forward(self, samples: Tensor) -> Tensor:
        padded = functional.pad(samples[:, None], (self.pad, self.pad), mode="reflect")
        real, imaginary = functional.conv1d(padded, self.basis, stride=self.hop).chunk(2, dim=1)
        power = (real * real + imaginary * imaginary)[:, :, :-1]
        log = torch.log(torch.clamp(self.filters @ power, min=1e-10)) / np.log(10.0)
        largest = log.amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(log, largest - 8.0) + 4.0) / 4.0


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = model().model.encoder

    def forward(self, features: Tensor) -> Tensor:
        return self.encoder(features).last_hidden_state


class Decoder(nn.Module):
    """Some tokens at a place, with what earlier calls left in the cache."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = model().model.decoder

    def forward(
        self, tokens: Tensor, place: Tensor, cache: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        decoder, count = self.decoder, tokens.shape[1]
        places = place + torch.arange(count, dtype=torch.int32)
        at = (torch.arange(TOKENS)[None] == places[:, None]).float()
        seen = (torch.arange(TOKENS)[None] <= places[:, None]).float()
        x = decoder.embed_tokens(tokens) + decoder.embed_positions.weight[places]
        kept = []
        for i, layer in enumerate(decoder.layers):
            y = layer.self_attn_layer_norm(x)
            pair = []
            for j, linear in enumerate((layer.self_attn.k_proj, layer.self_attn.v_proj)):
                new = _heads(linear(y), layer.self_attn)
                old = cache[2 * i + j][None] * (1 - at.sum(0))[:, None]
                pair.append(old + at.transpose(0, 1) @ new)
            kept += pair
            x = x + _attended(layer.self_attn, y, *pair, (seen - 1) * 1e4)
            y = layer.encoder_attn_layer_norm(x)
            own = layer.encoder_attn
            given = (_heads(own.k_proj(states), own), _heads(own.v_proj(states), own))
            x = x + _attended(own, y, *given, None)
            y = layer.final_layer_norm(x)
            x = x + layer.fc2(functional.gelu(layer.fc1(y)))
        last = decoder.layer_norm(x)[:, -1]
        token = (last @ decoder.embed_tokens.weight.T).argmax(-1, keepdim=True).int()
        done = (token[0] == END).float()
        return token, torch.cat(kept), place + count, done


def _heads(x: Tensor, attention: nn.Module) -> Tensor:
    return x.view(1, x.shape[1], attention.num_heads, attention.head_dim).transpose(1, 2)


def _attended(
    attention: nn.Module, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
) -> Tensor:
    queries = _heads(attention.q_proj(x), attention) * attention.head_dim**-0.5
    scores = queries @ keys.transpose(-1, -2)
    mixed = torch.softmax(scores if mask is None else scores + mask, -1) @ values
    return attention.out_proj(mixed.transpose(1, 2).reshape(1, x.shape[1], -1))


# ---------------------------------------------------------------- factories


def log_mel() -> Graph:
    return Graph(LogMel().eval(), (Input("samples", (1, RATE)),), ("features",))


def encoder() -> Graph:
    return Graph(
        Encoder().eval(), (Input("features", (1, 16, 100)),), ("states",),
        checkpoint="model", key_map=(("encoder.", "model.encoder."),), owns=("model.encoder.",),
    )  # fmt: skip


def decoder(count: int) -> Graph:
    cfg = config()
    heads, width = cfg.decoder_attention_heads, cfg.d_model
    cache = (2 * cfg.decoder_layers, heads, TOKENS, width // heads)
    return Graph(
        Decoder().eval(),
        (
            Input("tokens", (1, count), "int"), Input("place", (1,), "int"),
            Input("cache", cache), Input("states", (1, 50, width)),
        ),
        ("token", "cache_next", "place_next", "done"),
        checkpoint="model",
        key_map=(("decoder.", "model.decoder."),),
        owns=("model.decoder.",),
    )  # fmt: skip


def start() -> Constants:
    """What is decided before a sound is heard."""
    cfg = config()
    heads = cfg.decoder_attention_heads
    cache = (2 * cfg.decoder_layers, heads, TOKENS, cfg.d_model // heads)
    return Constants(
        {
            "tokens": np.array([START], np.int32),
            "place": np.zeros(1, np.int32),
            "cache": np.zeros(cache, np.float32),
        }
    )
