"""Model sizes, by name or by upstream's configurations; without the size of the clip."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from entracte.graphs.checks import similar
from entracte.graphs.opensora import tiny
from entracte.graphs.opensora.embed import STDiT3Config
from entracte.graphs.opensora.text import TextEncoder, t5_config
from entracte.graphs.opensora.upstream import denoiser_config, vae_config
from entracte.graphs.opensora.vae import VAEConfig
from entracte.graphs.opensora.video import Video, latent_size


@dataclass(frozen=True)
class Preset:
    """The models of one size.

    Attributes:
        text_encoder: makes it; takes `residual_scale` (see `TextEncoder`).
        residual_scale: what T5's residual stream is divided by when compiled.
        denoiser: for any clip; `denoiser_for` puts the sizes in.
        vae: both decoders.
        whole_groups: whether a clip must be a whole number of the VAE's groups.
    """

    text_encoder: Callable[[float], TextEncoder]
    residual_scale: float
    denoiser: STDiT3Config
    vae: VAEConfig
    whole_groups: bool = True

    def latent_size(self, video: Video) -> tuple[int, int, int]:
        """Of a clip. Raises `ValueError` for one that cannot be."""
        return latent_size(video, self.vae, self.whole_groups)

    def denoiser_for(self, video: Video) -> STDiT3Config:
        """The denoiser of a clip. Raises `ValueError` for a clip that cannot be."""
        return replace(
            self.denoiser,
            latent=self.latent_size(video),
            pixels=(video.height, video.width),
            fps=float(video.fps),
        )


T5_XXL = {
    "d_model": 4096, "num_layers": 24, "num_heads": 64, "d_kv": 64, "d_ff": 10240,
    "vocab_size": 32128, "feed_forward_proj": "gated-gelu",
}  # fmt: skip


def t5_xxl(residual_scale: float) -> TextEncoder:
    """The encoder of T5-v1.1-XXL, 4,762,310,656 parameters."""
    return TextEncoder(t5_config(T5_XXL), residual_scale)


PRESETS = {
    # The shipped file's residual stream is divided by 16 already (tools/train_tiny/ship.py).
    "tiny": Preset(tiny.tiny_text_encoder, 4.0, tiny.TINY_DENOISER, tiny.TINY_VAE),
    # Open-Sora 1.2: T5-v1.1-XXL, STDiT3-XL/2 and its VAE.
    "xl": Preset(t5_xxl, 64.0, STDiT3Config(), VAEConfig()),
}


def described(models: str) -> Preset:
    """Models by upstream's configurations, `{"text_encoder": ..., "denoiser": ..., "vae": ...}` as
    JSON; of one that is left out the published sizes. Raises `GraphFault`, `ValueError`."""
    given = json.loads(models)
    text = given.get("text_encoder", {})
    width = text.get("d_model", T5_XXL["d_model"])
    return Preset(
        text_encoder=lambda scale: TextEncoder(t5_config({**T5_XXL, **text}), scale),
        residual_scale=float(1 << max((width // 64).bit_length() - 1, 0)),
        denoiser=denoiser_config(given.get("denoiser", {})),
        vae=vae_config(given.get("vae", {})),
        whole_groups=False,
    )


def models_of(preset_name: str, models: str) -> Preset:
    """Of a graph's parameters `preset` and `models`, of which one is given."""
    if bool(preset_name) == bool(models):
        raise ValueError("params: give one of preset and models")
    return described(models) if models else preset(preset_name)


def preset(name: str) -> Preset:
    """The models called `name`; raises `ValueError` listing the names."""
    if name not in PRESETS:
        raise ValueError(
            f"params.preset: {name!r} is not one of {', '.join(PRESETS)}{similar(name, PRESETS)}"
        )
    return PRESETS[name]
