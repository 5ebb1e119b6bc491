"""Open-Sora's VAE encoder: pixels to spatial latents a few frames at a time, these to video latents
in the groups of frames in which it decodes too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from entracte.graphs.opensora.vae import SPATIAL_SCALE, VAEConfig
from entracte.graphs.recipes.parts_latents import sampled
from entracte.graphs.recipes.recipe import Recipe, Value, stage

_MOST_PIXELS = 2**19
"""At most so many at once in the spatial VAE, which takes some 2 KiB for each in fp16."""
SALTS = (101, 102)
"""Tell the noise of spatial latents and of video latents from the sampler's; of the next reference
they are 2 more."""


@stage
def encode_space(vae: Any, frames: Tensor, noise: Tensor | None = None) -> Tensor:
    """Pixels from -1 to 1, (1, 3, n, H, W) or of a picture (1, 3, H, W) -> (1, C, n, h, w)."""
    module = vae.spatial_vae["module"]
    rows = frames[0].transpose(0, 1) if frames.dim() == 5 else frames
    moments = module.quant_conv(module.encoder(rows))
    return sampled(moments.transpose(0, 1)[None], noise) * SPATIAL_SCALE


@stage
def encode_time(vae: Any, x: Tensor) -> Tensor:
    """Spatial latents of a group of frames -> moments of its video latents, (1, 2C, t, h, w)."""
    moments: Tensor = vae.temporal_vae.encode(x)
    return moments


@stage
def reference_latents(
    vae: Any, moments: Tensor, rest: Tensor | None = None, noise: Tensor | None = None, *,
    first: int = 0,
) -> Tensor:  # fmt: skip
    """Of whole groups and of what is left -> latents as the denoiser reads them, (1, C, t, h, w).
    `first`: where they begin in the noise."""
    whole = moments if rest is None else torch.cat([moments, rest], 2)
    own = None if noise is None else noise[:, :, first : first + whole.shape[2]]
    z: Tensor = (sampled(whole, own) - vae.shift) / vae.scale
    return z


def frames_at_once(cfg: VAEConfig, count: int, sides: Sequence[int]) -> int:
    """How many of `count` frames the spatial VAE gets in a call: any number of them gives the same,
    so a divisor that is not too many pixels."""
    most = max(1, min(cfg.micro_batch, _MOST_PIXELS // (sides[0] * sides[1])))
    return max(n for n in range(1, most + 1) if count % n == 0)


@dataclass(frozen=True, slots=True)
class Reference:
    """A picture or a clip that is given, and which of its latent frames are read.

    Attributes:
        number: from 0.
        pixels: (1, 3, frames, H, W), or of a picture (1, 3, H, W); from -1 to 1.
        used: latent frames; the groups in which they lie are encoded, and no others.
        is_sampled: whether latents are drawn, as upstream does; else they are the means.
    """

    number: int
    pixels: Value
    used: range
    is_sampled: bool

    @property
    def frames(self) -> int:
        """Of the clip; a picture is one."""
        return self.pixels.shape[2] if len(self.pixels.shape) == 5 else 1

    def named(self, stage_name: str) -> str:
        """The stages of each reference have names of their own."""
        return f"{stage_name}_{self.number + 1}" if self.number else stage_name

    def shares(self, stage_name: str) -> dict[str, Any]:
        """Options of a stage that reads the weights of the first reference's."""
        return {"weights_of": stage_name} if self.number else {}


@dataclass(frozen=True, slots=True)
class Latents:
    """Of a reference; `first` is the latent frame with which they begin."""

    value: Value
    first: int


def encode_reference(r: Recipe, cfg: VAEConfig, of: Reference) -> Latents:
    """Latents of the groups that are read. The encoders run once, before the sampler."""
    group, per_group = cfg.micro_frames, cfg.latent_frames(cfg.micro_frames)
    first, last = of.used.start // per_group, (of.used.stop - 1) // per_group
    begin, stop = first * group, min(of.frames, (last + 1) * group)
    x = _spatial(r, cfg, of, range(begin, stop))
    whole = (stop - begin) // group
    moments = [
        _moments(r, cfg, of, x, range(start, start + length))
        for start, length in ((0, whole * group), (whole * group, (stop - begin) % group))
        if length
    ]
    parts: dict[str, Value] = dict(zip(("moments", "rest"), moments, strict=False))
    parts |= _noise(r, cfg, of, "noise_time", cfg.latent_frames(of.frames), SALTS[1])
    shape = (1, cfg.latent_channels, cfg.latent_frames(stop - begin), *x.shape[3:])
    value: Value = r.stage(
        reference_latents, "vae", name=of.named("reference_latents"), **parts,
        settings={"first": first * per_group}, latents=shape, options={"precision": "fp32"},
    )  # fmt: skip
    return Latents(value, first * per_group)


def _noise(
    r: Recipe, cfg: VAEConfig, of: Reference, name: str, frames: int, salt: int
) -> dict[str, Value]:
    """Of all frames, whichever are encoded; nothing where means are taken."""
    if not of.is_sampled:
        return {}
    shape = (1, cfg.latent_channels, frames, *_latent_sides(cfg, of))
    return {"noise": r.noise(shape, of.named(name), salt=salt + len(SALTS) * of.number)}


def _latent_sides(cfg: VAEConfig, of: Reference) -> tuple[int, int]:
    factor = 2 ** (len(cfg.spatial_channels) - 1)
    return of.pixels.shape[-2] // factor, of.pixels.shape[-1] // factor


def _spatial(r: Recipe, cfg: VAEConfig, of: Reference, frames: range) -> Value:
    """Spatial latents of those frames, in equal batches: each frame is encoded by itself."""
    count = len(frames)
    batch = frames_at_once(cfg, count, of.pixels.shape[-2:])
    ports = {"frames": of.pixels}
    ports |= _noise(r, cfg, of, "noise_space", of.frames, SALTS[0])
    options = of.shares("encode_space")
    if count > batch or frames.start:
        options["map"] = {"port": list(ports), "axis": 2, "size": batch, "start": frames.start,
                          "count": count // batch}  # fmt: skip
        ports = {n: v.of(*v.shape[:2], batch, *v.shape[3:]) for n, v in ports.items()}
    sides = _latent_sides(cfg, of)
    x: Value = r.stage(
        encode_space, "vae", name=of.named("encode_space"), **ports, options=options,
        x=(1, cfg.latent_channels, batch, *sides),
    )  # fmt: skip
    return x.of(1, cfg.latent_channels, count, *sides)


def _moments(r: Recipe, cfg: VAEConfig, of: Reference, x: Value, frames: range) -> Value:
    """Moments of whole groups, or of what is left: `frames` of x."""
    _, channels, count, *sides = x.shape
    size = min(cfg.micro_frames, len(frames))
    name = of.named("encode_time" if size == cfg.micro_frames else "encode_time_rest")
    first = next((n for n in r.stages if n.startswith("encode_time")), "")
    options: dict[str, Any] = {"weights_of": first} if first else {}
    if size < count:
        options["map"] = {"port": "x", "axis": 2, "size": size, "start": frames.start,
                          "count": len(frames) // size}  # fmt: skip
    made: Value = r.stage(
        encode_time, "vae", name=name, options=options, x=x.of(1, channels, size, *sides),
        moments=(1, 2 * channels, cfg.latent_frames(size), *sides),
    )  # fmt: skip
    return made.of(1, 2 * channels, cfg.latent_frames(len(frames)), *sides)
