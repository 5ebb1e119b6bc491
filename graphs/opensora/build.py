"""Factories of the Open-Sora family: a preset names the models' sizes, numbers the clip's.

Modules are built on the meta device, whatever their size: their weights are read from files when
a package is made. Every factory takes the same five numbers, so that a pipeline can give them to
all of its stages alike.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from entracte.graphs.opensora.denoiser import GuidedDenoiser
from entracte.graphs.opensora.embed import STDiT3Config
from entracte.graphs.opensora.leap import GuidedEulerLeap, check_leap
from entracte.graphs.opensora.presets import preset as models
from entracte.graphs.opensora.sampler import GuidedEuler, rflow_timesteps
from entracte.graphs.opensora.vae import SpatialDecoder, TemporalDecoder
from entracte.graphs.opensora.video import Video, check_batch, latent_size
from entracte.graphs.spec import Constants, Graph, Input

_Module = TypeVar("_Module", bound=nn.Module)


def _on_meta(make: Callable[[], _Module]) -> _Module:
    """A module without its numbers. Tables that no checkpoint holds stay real (from numpy)."""
    with torch.device("meta"):
        return make().eval()


def rflow_schedule(
    steps: int,
    frames: int,
    height: int,
    width: int,
    shift: float | None = None,
    evaluations: int | None = None,
) -> Constants:
    """`timestep` and `dt`, each [evaluations]; an iteration reads one row, [1]."""
    timesteps, dt = rflow_timesteps(steps, frames, height, width, shift, evaluations)
    return Constants({"timestep": timesteps.astype(np.float32), "dt": dt.astype(np.float32)})


def guided_euler(preset: str, frames: int, height: int, width: int, fps: float) -> Graph:
    """Guidance and one Euler step on latents [1, C, T, H, W]."""
    cfg = models(preset).denoiser_for(Video(frames, height, width, fps))
    return Graph(
        module=GuidedEuler(cfg.in_channels).eval(),
        inputs=(*_step_inputs(cfg), Input("guidance", (1,))),
        outputs=("z_next",),
    )


def _step_inputs(cfg: STDiT3Config) -> tuple[Input, ...]:
    return (
        Input("z", (1, cfg.in_channels, *cfg.latent)),
        Input("velocity", (2, cfg.out_channels, *cfg.latent)),
        Input("dt", (1,)),
    )


def guided_euler_leap(
    preset: str,
    frames: int,
    height: int,
    width: int,
    fps: float,
    *,
    over: str,
    tolerance: float,
    patience: int,
    minimum: int,
) -> Graph:
    """Guidance, an Euler step and the adaptive leap; `done` is 1 when it has leapt."""
    cfg = models(preset).denoiser_for(Video(frames, height, width, fps))
    check_leap(over, tolerance, patience, minimum)
    return Graph(
        module=GuidedEulerLeap(cfg.in_channels, over, tolerance, patience, minimum).eval(),
        inputs=(
            *_step_inputs(cfg),
            Input("timestep", (1,)),
            Input("guidance", (1,)),
            Input("direction", _direction(cfg, over)),
            Input("record", (3,)),
        ),
        outputs=("z_next", "direction_next", "record_next", "done"),
    )


def leap_start(
    preset: str, frames: int, height: int, width: int, fps: float, over: str
) -> Constants:
    """What an adaptive leap remembers before the first step: `direction` and `record`, zeros."""
    cfg = models(preset).denoiser_for(Video(frames, height, width, fps))
    zeros = np.zeros(_direction(cfg, over), np.float32)
    return Constants({"direction": zeros, "record": np.zeros(3, np.float32)})


def _direction(cfg: STDiT3Config, over: str) -> tuple[int, int]:
    """Rows of the velocity that are compared: all of it as one, or the first channel's frame."""
    return (1, cfg.in_channels * prod(cfg.latent)) if over == "all" else cfg.latent[1:]


def text_encoder(preset: str) -> Graph:
    """T5 encoder: token ids and mask -> features [1, L, D]."""
    sizes = models(preset)
    length = sizes.denoiser.text_tokens
    module = _on_meta(lambda: sizes.text_encoder(sizes.residual_scale))
    return Graph(
        module=module,
        inputs=(Input("input_ids", (1, length), "int"), Input("mask", (1, length))),
        outputs=("features",),
        checkpoint="text_encoder",
        key_map=(
            # The embedding has two names in the module and one in the file.
            ("model.encoder.embed_tokens.", "shared."),
            ("model.", ""),
        ),
        scales=module.residual_scales,
        # A published T5 may have a decoder too, and its embedding a second time.
        owns=("encoder.block.", "encoder.final_layer_norm.", "shared."),
    )


def denoiser(preset: str, frames: int, height: int, width: int, fps: float) -> Graph:
    """STDiT3 on both halves of guidance: latents, timestep, text -> velocity [2, 2C, T, H, W]."""
    cfg = models(preset).denoiser_for(Video(frames, height, width, fps))
    return Graph(
        module=_on_meta(lambda: GuidedDenoiser(cfg)),
        inputs=(
            Input("z", (1, cfg.in_channels, *cfg.latent)),
            Input("timestep", (1,)),
            Input("text", (1, cfg.text_tokens, cfg.caption_channels)),
            Input("mask", (1, cfg.text_tokens)),
        ),
        outputs=("velocity",),
        checkpoint="denoiser",
        key_map=(("model.", ""),),
        owns=("",),
        variants={"merged": _on_meta(lambda: GuidedDenoiser(cfg, merged=True))},
    )


def temporal_decoder(preset: str, frames: int, height: int, width: int, fps: float) -> Graph:
    """One group of video latents -> the spatial latents of its frames."""
    vae = models(preset).vae
    _, rows, columns = latent_size(Video(frames, height, width, fps), vae)
    group = vae.latent_frames(vae.micro_frames)
    return Graph(
        module=_on_meta(lambda: TemporalDecoder(vae)),
        inputs=(Input("z", (1, vae.latent_channels, group, rows, columns)),),
        outputs=("frames",),
        checkpoint="vae",
        owns=("temporal_vae.decoder.", "temporal_vae.post_quant_conv.", "scale", "shift"),
    )


def spatial_decoder(
    preset: str, frames: int, height: int, width: int, fps: float, batch: int = 4
) -> Graph:
    """Spatial latents of `batch` frames -> pixels [1, 3, batch, H, W] in [0, 1]."""
    vae = models(preset).vae
    _, rows, columns = latent_size(Video(frames, height, width, fps), vae)
    check_batch(batch, frames)
    return Graph(
        module=_on_meta(lambda: SpatialDecoder(vae)),
        inputs=(Input("x", (1, vae.latent_channels, batch, rows, columns)),),
        outputs=("pixels",),
        checkpoint="vae",
        owns=("spatial_vae.module.decoder.", "spatial_vae.module.post_quant_conv."),
    )
