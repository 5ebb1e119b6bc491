"""Factories of the Open-Sora family, by preset: the same modules at several sizes.

`tiny` is the embedded demo; other presets are rows of the table below.
"""

import numpy as np

from graphs.opensora.sampler import GuidedEuler, rflow_timesteps
from graphs.spec import Constants, Graph, Input

PRESETS = ("tiny",)


def rflow_schedule(
    steps: int, frames: int, height: int, width: int, shift: float | None = None
) -> Constants:
    """`timestep` and `dt`, each [steps]; an iteration reads one row, [1]."""
    timesteps, dt = rflow_timesteps(steps, frames, height, width, shift)
    return Constants({"timestep": timesteps.astype(np.float32), "dt": dt.astype(np.float32)})


def guided_euler(preset: str) -> Graph:
    """Guidance and one Euler step on latents [1, C, T, H, W]."""
    cfg = _denoiser(preset)
    latent = (cfg.in_channels, *cfg.latent)
    return Graph(
        module=GuidedEuler(cfg.in_channels).eval(),
        inputs=(
            Input("z", (1, *latent)),
            Input("velocity", (2, cfg.out_channels, *cfg.latent)),
            Input("dt", (1,)),
            Input("guidance", (1,)),
        ),
        outputs=("z_next",),
    )


def text_encoder(preset: str) -> Graph:
    """T5 encoder: token ids and mask -> features [1, L, D]."""
    _check(preset)
    from graphs.opensora import tiny

    length = tiny.TEXT_TOKENS
    return Graph(
        module=tiny.tiny_text_encoder().eval(),
        inputs=(Input("input_ids", (1, length), "int"), Input("mask", (1, length))),
        outputs=("features",),
        checkpoint="text_encoder.safetensors",
        key_map=(
            # The embedding has two names in the module and one in the file.
            ("model.encoder.embed_tokens.", "shared."),
            ("model.", ""),
        ),
    )


def denoiser(preset: str) -> Graph:
    """STDiT3 on both halves of guidance: latents, timestep, text -> velocity [2, 2C, T, H, W]."""
    from graphs.opensora.denoiser import GuidedDenoiser

    cfg = _denoiser(preset)
    return Graph(
        module=GuidedDenoiser(cfg).eval(),
        inputs=(
            Input("z", (1, cfg.in_channels, *cfg.latent)),
            Input("timestep", (1,)),
            Input("text", (1, cfg.text_tokens, cfg.caption_channels)),
            Input("mask", (1, cfg.text_tokens)),
        ),
        outputs=("velocity",),
        checkpoint="denoiser.safetensors",
        key_map=(("model.", ""),),
    )


def temporal_decoder(preset: str) -> Graph:
    """One group of video latents -> the spatial latents of its frames."""
    _check(preset)
    from graphs.opensora.tiny import TINY_DENOISER, TINY_VAE
    from graphs.opensora.vae import TemporalDecoder

    _, rows, columns = TINY_DENOISER.latent
    group = TINY_VAE.latent_frames(TINY_VAE.micro_frames)
    return Graph(
        module=TemporalDecoder(TINY_VAE).eval(),
        inputs=(Input("z", (1, TINY_VAE.latent_channels, group, rows, columns)),),
        outputs=("frames",),
        checkpoint="vae.safetensors",
    )


def spatial_decoder(preset: str, batch: int = 4) -> Graph:
    """Spatial latents of `batch` frames -> pixels [1, 3, batch, H, W] in [0, 1]."""
    _check(preset)
    from graphs.opensora.tiny import TINY_DENOISER, TINY_VAE
    from graphs.opensora.vae import SpatialDecoder

    _, rows, columns = TINY_DENOISER.latent
    return Graph(
        module=SpatialDecoder(TINY_VAE).eval(),
        inputs=(Input("x", (1, TINY_VAE.latent_channels, batch, rows, columns)),),
        outputs=("pixels",),
        checkpoint="vae.safetensors",
    )


def _denoiser(preset: str):
    _check(preset)
    from graphs.opensora.tiny import TINY_DENOISER

    return TINY_DENOISER


def _check(preset: str) -> None:
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r} is not one of {', '.join(PRESETS)}")
