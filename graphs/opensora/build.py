"""Factories of the Open-Sora family: a preset, or upstream's configurations, say the models' sizes,
numbers the clip's.

Modules are built on the meta device, whatever their size: their weights are read from files when
a package is made. Every factory takes the same parameters, so that a pipeline can give them to
all of its stages alike: `preset`, or `models` (`presets.described`), and the clip's four numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from entracte.graphs.opensora import sampler
from entracte.graphs.opensora.denoiser import CaptionRows, GuidedDenoiser, RowDenoiser
from entracte.graphs.opensora.embed import STDiT3Config
from entracte.graphs.opensora.leap import GuidedEulerLeap, check_leap
from entracte.graphs.opensora.mask import frame_tables
from entracte.graphs.opensora.presets import models_of
from entracte.graphs.opensora.sampler import GuidedEuler, rflow_timesteps
from entracte.graphs.opensora.text import RowsEncoder
from entracte.graphs.opensora.vae import SpatialDecoder, TemporalDecoder
from entracte.graphs.opensora.video import Video, check_batch
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
    discrete: bool = False,
    ratios: Sequence[float] = (),
) -> Constants:
    """`timestep` and `dt`, each [evaluations]; an iteration reads one row, [1]. With the edit
    ratios of latent frames also what `mask.frame_tables` says of each."""
    timesteps, dt = rflow_timesteps(steps, frames, height, width, shift, evaluations, discrete)
    made = {"timestep": timesteps.astype(np.float32), "dt": dt.astype(np.float32)}
    return Constants(made | (frame_tables(timesteps, dt, ratios) if ratios else {}))


def guided_euler(
    frames: int,
    height: int,
    width: int,
    fps: float,
    preset: str = "",
    models: str = "",
    of_frames: bool = False,
    interval: bool = False,
) -> Graph:
    """Guidance and one Euler step on latents [1, C, T, H, W]; with `of_frames` each latent frame
    has a step length of its own, with `interval` guidance is in an interval of steps only."""
    cfg = models_of(preset, models).denoiser_for(Video(frames, height, width, fps))
    lengths = (1, cfg.latent[0], 1, 1) if of_frames else (1,)
    return Graph(
        module=GuidedEuler(cfg.in_channels).eval(),
        inputs=(
            *_step_inputs(cfg, lengths, interval),
            Input("guidance", (1,)),
            *_interval_inputs(cfg, interval),
        ),
        outputs=("z_next",),
    )


def _step_inputs(
    cfg: STDiT3Config, lengths: tuple[int, ...] = (1,), interval: bool = False
) -> tuple[Input, ...]:
    return (
        Input("z", (1, cfg.in_channels, *cfg.latent)),
        Input("velocity", (1 if interval else 2, cfg.out_channels, *cfg.latent)),
        Input("dt", lengths),
    )


def _interval_inputs(cfg: STDiT3Config, interval: bool) -> tuple[Input, ...]:
    if not interval:
        return ()
    shape = (1, cfg.out_channels, *cfg.latent)
    return Input("unconditional", shape), Input("within", (1,))


def guidance_interval(count: int, begin: int = 0, end: int | None = None) -> Constants:
    """`within`, [count]: 1 in the iterations from `begin` up to `end` (all that follow by
    default), else 0."""
    return Constants({"within": sampler.guidance_interval(count, begin, end)})


def caption_rows(
    frames: int, height: int, width: int, fps: float, preset: str = "", models: str = ""
) -> Graph:
    """The prompt's features and the denoiser's null caption, one row each: [2, L, D]."""
    cfg = models_of(preset, models).denoiser_for(Video(frames, height, width, fps))
    return Graph(
        module=_on_meta(lambda: CaptionRows(cfg)),
        inputs=(Input("text", (1, cfg.text_tokens, cfg.caption_channels)),),
        outputs=("rows",),
        checkpoint="denoiser",
    )


def guided_euler_leap(
    frames: int,
    height: int,
    width: int,
    fps: float,
    preset: str = "",
    models: str = "",
    of_frames: bool = False,
    interval: bool = False,
    *,
    over: str,
    tolerance: float,
    patience: int,
    minimum: int,
) -> Graph:
    """Guidance, an Euler step and the adaptive leap; `done` is 1 when it has leapt. Raises
    `ValueError` where latent frames have steps of their own."""
    if of_frames:
        raise ValueError(
            "sampler: lpl_adaptive leaps with all frames at once, and with a mask strategy some "
            "are given; use sampler=lpl_static, whose last step is long too, or the plain sampler"
        )
    cfg = models_of(preset, models).denoiser_for(Video(frames, height, width, fps))
    check_leap(over, tolerance, patience, minimum)
    return Graph(
        module=GuidedEulerLeap(cfg.in_channels, over, tolerance, patience, minimum).eval(),
        inputs=(
            *_step_inputs(cfg, interval=interval),
            Input("timestep", (1,)),
            Input("guidance", (1,)),
            Input("direction", _direction(cfg, over)),
            Input("record", (3,)),
            *_interval_inputs(cfg, interval),
        ),
        outputs=("z_next", "direction_next", "record_next", "done"),
    )


def _direction(cfg: STDiT3Config, over: str) -> tuple[int, int]:
    """Rows of the velocity that are compared: all of it as one, or the first channel's frame."""
    return (1, cfg.in_channels * prod(cfg.latent)) if over == "all" else cfg.latent[1:]


def text_encoder(preset: str = "", models: str = "", rows: bool = False) -> Graph:
    """T5 encoder: token ids, or `rows` of its table of tokens [1, L, D], and mask -> features
    [1, L, D]."""
    sizes = models_of(preset, models)
    length, width = sizes.denoiser.text_tokens, sizes.denoiser.caption_channels
    encoder = _on_meta(lambda: sizes.text_encoder(sizes.residual_scale))
    module = RowsEncoder(encoder).eval() if rows else encoder
    tokens = Input("rows", (1, length, width)) if rows else Input("input_ids", (1, length), "int")
    return Graph(
        module=module,
        inputs=(tokens, Input("mask", (1, length))),
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


def denoiser(
    frames: int,
    height: int,
    width: int,
    fps: float,
    preset: str = "",
    models: str = "",
    x_mask: bool = False,
    apart: bool = False,
) -> Graph:
    """STDiT3 on both halves of guidance: latents, timestep, text -> velocity [2, 2C, T, H, W].

    With `x_mask` it has an input of that name: which latent frames are denoised. `apart`: of one
    half, whose row of `caption_rows` is its text, [1, 2C, T, H, W].
    """
    cfg = models_of(preset, models).denoiser_for(Video(frames, height, width, fps))
    kind = RowDenoiser if apart else GuidedDenoiser
    given = (Input("x_mask", (1, cfg.grid[0])),) if x_mask else ()
    return Graph(
        module=_on_meta(lambda: kind(cfg)),
        inputs=(
            Input("z", (1, cfg.in_channels, *cfg.latent)),
            Input("timestep", (1,)),
            Input("text", (1, cfg.text_tokens, cfg.caption_channels)),
            Input("mask", (1, cfg.text_tokens)),
            *given,
        ),
        outputs=("velocity",),
        checkpoint="denoiser",
        key_map=(("model.", ""),),
        owns=("",),
        variants={"merged": _on_meta(lambda: kind(cfg, merged=True))},
    )


def temporal_decoder(
    frames: int,
    height: int,
    width: int,
    fps: float,
    preset: str = "",
    models: str = "",
    group: int | None = None,
) -> Graph:
    """One group of video latents -> the spatial latents of its `group` frames, by default a whole
    group of the VAE."""
    sizes = models_of(preset, models)
    vae = sizes.vae
    group = group or vae.micro_frames
    _, rows, columns = sizes.latent_size(Video(frames, height, width, fps))
    return Graph(
        module=_on_meta(lambda: TemporalDecoder(vae, group)),
        inputs=(Input("z", (1, vae.latent_channels, vae.latent_frames(group), rows, columns)),),
        outputs=("frames",),
        checkpoint="vae",
        owns=("temporal_vae.decoder.", "temporal_vae.post_quant_conv.", "scale", "shift"),
    )


def spatial_decoder(
    frames: int,
    height: int,
    width: int,
    fps: float,
    preset: str = "",
    models: str = "",
    batch: int = 4,
    picture: bool = False,
) -> Graph:
    """Spatial latents of `batch` frames -> pixels in [0, 1], [1, 3, batch, H, W], or, of one
    `picture`, [1, 3, H, W]."""
    sizes = models_of(preset, models)
    vae = sizes.vae
    _, rows, columns = sizes.latent_size(Video(frames, height, width, fps))
    check_batch(batch, frames)
    return Graph(
        module=_on_meta(lambda: SpatialDecoder(vae, picture)),
        inputs=(Input("x", (1, vae.latent_channels, batch, rows, columns)),),
        outputs=("pixels",),
        checkpoint="vae",
        owns=("spatial_vae.module.decoder.", "spatial_vae.module.post_quant_conv."),
    )
