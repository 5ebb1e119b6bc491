"""Model sizes by name. The size of the clip is not part of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from entracte.graphs.checks import similar
from entracte.graphs.opensora import tiny
from entracte.graphs.opensora.embed import STDiT3Config
from entracte.graphs.opensora.text import TextEncoder, t5_v1_1_config
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
    """

    text_encoder: Callable[[float], TextEncoder]
    residual_scale: float
    denoiser: STDiT3Config
    vae: VAEConfig

    def denoiser_for(self, video: Video) -> STDiT3Config:
        """The denoiser of a clip. Raises `ValueError` for a clip that cannot be."""
        return replace(
            self.denoiser,
            latent=latent_size(video, self.vae),
            pixels=(video.height, video.width),
            fps=float(video.fps),
        )


def t5_xxl(residual_scale: float) -> TextEncoder:
    """The encoder of T5-v1.1-XXL, 4,762,310,656 parameters."""
    config = t5_v1_1_config(
        hidden=4096, layers=24, heads=64, head=64, inner=10240, vocabulary=32128
    )
    return TextEncoder(config, residual_scale)


PRESETS = {
    # The shipped file's residual stream is divided by 16 already (tools/train_tiny/ship.py).
    "tiny": Preset(tiny.tiny_text_encoder, 4.0, tiny.TINY_DENOISER, tiny.TINY_VAE),
    # Open-Sora 1.2: T5-v1.1-XXL, STDiT3-XL/2 and its VAE.
    "xl": Preset(t5_xxl, 64.0, STDiT3Config(), VAEConfig()),
}


def preset(name: str) -> Preset:
    """The models called `name`; raises `ValueError` listing the names."""
    if name not in PRESETS:
        raise ValueError(
            f"params.preset: {name!r} is not one of {', '.join(PRESETS)}{similar(name, PRESETS)}"
        )
    return PRESETS[name]
