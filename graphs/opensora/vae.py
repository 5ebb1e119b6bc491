"""The Open-Sora v1.2 video VAE: a causal temporal VAE over a per-frame spatial VAE.

Parameter names and shapes are those of `hpcai-tech/OpenSora-VAE-v1.2` (`temporal_vae.*`,
`spatial_vae.module.*`, `scale`, `shift`), written from the description in
`reference/systems.md` section 3.2. The spatial half is diffusers' `AutoencoderKL`.
All shapes are static and no tensor has more than five dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

# Open-Sora multiplies spatial latents by this constant, whatever the 2-D VAE's own config says.
SPATIAL_SCALE = 0.18215


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of the video VAE; the defaults are Open-Sora v1.2's.

    Attributes:
        filters: width of the temporal VAE's first level.
        multipliers: width of every level as a multiple of `filters`.
        res_blocks: residual blocks per level, and in the middle.
        temporal_down: whether time is halved after level i (doubled before it when decoding).
        groups: groups of the temporal VAE's GroupNorms.
        latent_channels: channels of the video latent and of the spatial latent.
        micro_frames: frames decoded at a time; GroupNorm sees them together.
        micro_batch: frames per spatial decode.
        shift, scale: per-channel statistics of the video latent.
        spatial_channels, spatial_layers, spatial_groups: the `AutoencoderKL`.
    """

    filters: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 4)
    res_blocks: int = 4
    temporal_down: tuple[bool, ...] = (False, True, True)
    groups: int = 32
    latent_channels: int = 4
    micro_frames: int = 17
    micro_batch: int = 4
    shift: tuple[float, ...] = (-0.10, 0.34, 0.27, 0.98)
    scale: tuple[float, ...] = (3.85, 2.32, 2.33, 3.06)
    spatial_channels: tuple[int, ...] = (128, 256, 512, 512)
    spatial_layers: int = 2
    spatial_groups: int = 32

    @property
    def time_factor(self) -> int:
        """Video frames per latent frame."""
        return 2 ** sum(self.temporal_down)

    @property
    def space_factor(self) -> int:
        """Pixels per latent row and column."""
        return int(2 ** (len(self.spatial_channels) - 1))

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a clip: whole groups first, then the rounded-up remainder."""
        groups, rest = divmod(frames, self.micro_frames)
        per_group = -(-self.micro_frames // self.time_factor)
        return groups * per_group + -(-rest // self.time_factor)


class CausalConv3d(nn.Module):
    """3-D convolution that never looks at later frames; zeros stand in for the missing past."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, time_stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.past = (kernel - 1) + (1 - time_stride)
        side = kernel // 2
        self.conv = nn.Conv3d(
            inputs, outputs, kernel, (time_stride, 1, 1), (0, side, side), bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, T, H, W] -> [B, outputs, T / time_stride, H, W]."""
        if self.past > 0:
            x = F.pad(x, (0, 0, 0, 0, self.past, 0))
        return self.conv(x)


class GroupNorm(nn.GroupNorm):
    """GroupNorm over (T, H, W), computed on rank 4: Core ML's lowering of rank 5 needs rank 6."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the same."""
        return super().forward(x.flatten(3)).reshape(x.shape)


class ResBlock(nn.Module):
    """GroupNorm, SiLU, conv, twice, plus the (projected) input."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, inputs)
        self.conv1 = CausalConv3d(inputs, outputs, 3, bias=False)
        self.norm2 = GroupNorm(groups, outputs)
        self.conv2 = CausalConv3d(outputs, outputs, 3, bias=False)
        if inputs != outputs:
            self.conv3 = CausalConv3d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, T, H, W] -> [B, outputs, T, H, W]."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.conv3(x) if hasattr(self, "conv3") else x)


def _level(inputs: int, outputs: int, cfg: VAEConfig) -> nn.Sequential:
    """One level's residual blocks; the first of them changes the width."""
    widths = [inputs] + [outputs] * cfg.res_blocks
    return nn.Sequential(*(ResBlock(a, b, cfg.groups) for a, b in pairwise(widths)))


class TemporalEncoder3d(nn.Module):
    """Spatial latents -> moments of the video latent (used for training and conditioning)."""

    def __init__(self, cfg: VAEConfig) -> None:
        super().__init__()
        widths = [cfg.filters * m for m in cfg.multipliers]
        self.conv_in = CausalConv3d(cfg.latent_channels, cfg.filters, 3, bias=False)
        entries = [cfg.filters, *widths[:-1]]
        self.block_res_blocks = nn.ModuleList(
            _level(a, b, cfg) for a, b in zip(entries, widths, strict=True)
        )
        self.conv_blocks = nn.ModuleList(
            CausalConv3d(w, w, 3, time_stride=2) if down else nn.Identity()
            for w, down in zip(widths[:-1], cfg.temporal_down, strict=True)
        )
        self.res_blocks = _level(widths[-1], widths[-1], cfg)
        self.norm1 = GroupNorm(cfg.groups, widths[-1])
        self.conv2 = CausalConv3d(widths[-1], 2 * cfg.latent_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, n, H, W] -> [B, 2C, n / time_factor, H, W]; n a multiple of the time factor."""
        x = self.conv_in(x)
        for index, blocks in enumerate(self.block_res_blocks):
            x = blocks(x)
            if index < len(self.conv_blocks):
                x = self.conv_blocks[index](x)
        return self.conv2(F.silu(self.norm1(self.res_blocks(x))))


def _interleave_time(x: Tensor) -> Tensor:
    """[B, 2C, T, H, W] -> [B, C, 2T, H, W]; of two neighbouring channels the second comes later."""
    b, c, t, h, w = x.shape
    pairs = x.reshape(b * c // 2, 2, t, h * w).permute(0, 2, 1, 3)
    return pairs.reshape(b, c // 2, 2 * t, h, w)


class TemporalDecoder3d(nn.Module):
    """Video latent -> spatial latents, one group of frames."""

    def __init__(self, cfg: VAEConfig) -> None:
        super().__init__()
        widths = [cfg.filters * m for m in cfg.multipliers]
        self.conv1 = CausalConv3d(cfg.latent_channels, widths[-1], 3)
        self.res_blocks = _level(widths[-1], widths[-1], cfg)
        entries = [*widths[1:], widths[-1]]
        self.block_res_blocks = nn.ModuleList(
            _level(a, b, cfg) for a, b in zip(entries, widths, strict=True)
        )
        self.conv_blocks = nn.ModuleList(
            CausalConv3d(w, 2 * w, 3) if up else nn.Identity()
            for w, up in zip(widths[1:], cfg.temporal_down, strict=True)
        )
        self.norm1 = GroupNorm(cfg.groups, widths[0])
        self.conv_out = CausalConv3d(widths[0], cfg.latent_channels, 3)
        self.doubles = cfg.temporal_down

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, t, H, W] -> [B, C, t * time_factor, H, W]."""
        x = self.res_blocks(self.conv1(x))
        for level in reversed(range(len(self.block_res_blocks))):
            x = self.block_res_blocks[level](x)
            if level > 0 and self.doubles[level - 1]:
                x = _interleave_time(self.conv_blocks[level - 1](x))
        return self.conv_out(F.silu(self.norm1(x)))


class VAETemporal(nn.Module):
    """The temporal VAE; `encoder=False` leaves out what only encoding needs."""

    def __init__(self, cfg: VAEConfig, encoder: bool = True) -> None:
        super().__init__()
        channels = cfg.latent_channels
        if encoder:
            self.encoder = TemporalEncoder3d(cfg)
            self.quant_conv = CausalConv3d(2 * channels, 2 * channels, 1)
        self.post_quant_conv = CausalConv3d(channels, channels, 1)
        self.decoder = TemporalDecoder3d(cfg)
        self.factor = cfg.time_factor

    def encode(self, x: Tensor) -> Tensor:
        """Moments [B, 2C, ceil(n / 4), H, W] of x [B, C, n, H, W], left-padded with zeros."""
        missing = -x.shape[2] % self.factor
        if missing:
            x = F.pad(x, (0, 0, 0, 0, missing, 0))
        return self.quant_conv(self.encoder(x))

    def decode(self, z: Tensor, frames: int) -> Tensor:
        """[B, C, t, H, W] -> [B, C, frames, H, W]; the encoder's padding frames are dropped."""
        return self.decoder(self.post_quant_conv(z))[:, :, -frames % self.factor :]


class TemporalDecoder(nn.Module):
    """Normalised video latents of one group -> spatial latents of its frames."""

    scale: Tensor
    shift: Tensor

    def __init__(self, cfg: VAEConfig, frames: int | None = None) -> None:
        super().__init__()
        self.frames = frames or cfg.micro_frames
        self.temporal_vae = VAETemporal(cfg, encoder=False)
        # As the published file has them.
        shape = (1, cfg.latent_channels, 1, 1, 1)
        self.register_buffer("scale", torch.tensor(cfg.scale).reshape(shape))
        self.register_buffer("shift", torch.tensor(cfg.shift).reshape(shape))

    def forward(self, z: Tensor) -> Tensor:
        """z [1, C, t, h, w] -> [1, C, frames, h, w]."""
        return self.temporal_vae.decode(z * self.scale + self.shift, self.frames)


def spatial_vae(cfg: VAEConfig, encoder: bool = True) -> nn.Module:
    """The per-frame VAE; `encoder=False` leaves out what only encoding needs."""
    levels = len(cfg.spatial_channels)
    # diffusers annotates neither its parts nor what they return.
    module: Any = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=cfg.spatial_channels,
        layers_per_block=cfg.spatial_layers,
        latent_channels=cfg.latent_channels,
        norm_num_groups=cfg.spatial_groups,
    )
    if not encoder:
        del module.encoder, module.quant_conv
    return module


class SpatialDecoder(nn.Module):
    """Spatial latents of a few frames -> pixels; of a `picture` without the axis of frames."""

    def __init__(self, cfg: VAEConfig, picture: bool = False) -> None:
        super().__init__()
        # The published file has the 2-D VAE one level down, under the name `module`.
        self.spatial_vae = nn.ModuleDict({"module": spatial_vae(cfg, encoder=False)})
        self.picture = picture

    def forward(self, x: Tensor) -> Tensor:
        """x [1, C, n, h, w] -> pixels in [0, 1], [1, 3, n, 8h, 8w], or [n, 3, 8h, 8w]."""
        module: Any = self.spatial_vae["module"]
        frames = x[0].permute(1, 0, 2, 3) / SPATIAL_SCALE
        pixels = module.decoder(module.post_quant_conv(frames))
        pixels = (pixels * 0.5 + 0.5).clamp(0.0, 1.0)
        return pixels if self.picture else pixels.permute(1, 0, 2, 3).unsqueeze(0)
