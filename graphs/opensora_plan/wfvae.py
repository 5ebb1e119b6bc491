"""WFVAE, the video VAE of Open-Sora Plan 1.3: 4 x 8 x 8, causal, its pixels and two of its levels
as Haar wavelets. Parameters have upstream's names (`WFVAEModel`, tag v1.3.1, modeling_wfvae.py);
written from the description in `reference/systems.md`, section 3.3.

**A clip in pieces.** All layers but one see no later frame, so pieces of a clip give what the whole
gives, if each convolution of three frames has the two frames before its piece (the encoder's of
stride 2: one). Only the doubling of time in the decoder looks ahead. With x_0 .. x_{t-1} before it,
one for each latent, and `trilinear`, the frames after it are

    u_0 = x_0,  u_1 = x_1,
    u_2k = 3/4 x_k + 1/4 x_{k+1},  u_{2k+1} = 1/4 x_k + 3/4 x_{k+1}    for k = 1 .. t-2,
    u_{2t-2} = x_{t-1}

(frame 0 stays single; the others are doubled without it, clamped at both ends). With `nearest`
u_{2k-1} = u_2k = x_k. So when the piece up to x_k is there, all up to u_{2k-1} is known, and u_2k
waits for the next piece: the decoder runs **one frame late** behind the doubling, and makes
u_{2t-2} at the end from what it kept. Latents a .. b-1 (a > 1) give u_{2a-2} .. u_{2b-3}, which are
4 (b - a) frames; latents 0 .. b-1 (b > 1) give 4b - 5 frames, and the end two more: 4t - 3. No
latent is decoded twice; upstream decodes the latent after each piece with it, and drops what came
of it.
The low colours of `connect_l2`, two frames for each latent, are held back by one frame likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from entracte.graphs.checks import GraphFault
from entracte.graphs.opensora_plan.wavelets import Haar, InverseHaar
from entracte.graphs.opensora_plan.wfvae_doubling import Spatial2xTime2x3DUpsample, late
from entracte.graphs.opensora_plan.wfvae_layers import (
    CausalConv3d,
    Chain,
    Downsample,
    Frames,
    Norm,
    Plain,
    ResnetBlock2D,
    ResnetBlock3D,
    Spatial2xTime2x3DDownsample,
    Upsample,
    middle,
)

COLOURS = 3
_ONLY = {
    "norm_type": "layernorm",
    "l1_dowmsample_block": "Downsample",
    "l1_downsample_wavelet": "HaarWaveletTransform2D",
    "l2_dowmsample_block": "Spatial2xTime2x3DDownsample",
    "l2_downsample_wavelet": "HaarWaveletTransform3D",
    "l1_upsample_block": "Upsample",
    "l1_upsample_wavelet": "InverseHaarWaveletTransform2D",
    "l2_upsample_block": "Spatial2xTime2x3DUpsample",
    "l2_upsample_wavelet": "InverseHaarWaveletTransform3D",
}
"""Keys of upstream's configuration, spelled as there, of which one value is built."""


class Encoder(nn.Module):
    """Pixels to the moments of latents."""

    def __init__(self, base: int, blocks: int, flow: int, latent: int, use_attention: bool) -> None:
        super().__init__()
        self.wavelet, self.inner, self.outer = Haar(3), Haar(2), Haar(3)
        self.down1 = Chain([
            Plain(8 * COLOURS, base), *(ResnetBlock2D(base) for _ in range(blocks)),
            Downsample(base),
        ])  # fmt: skip
        self.down2 = Chain([
            Plain(base + flow, 2 * base),
            *(ResnetBlock3D(2 * base, 2 * base) for _ in range(blocks)),
            Spatial2xTime2x3DDownsample(2 * base),
        ])  # fmt: skip
        self.connect_l1, self.connect_l2 = Plain(4 * COLOURS, flow), Plain(8 * COLOURS, flow)
        self.mid = middle(2 * base + flow, 4 * base, 4 * base, use_attention)
        self.norm_out = Norm(4 * base)
        self.conv_out = CausalConv3d(4 * base, 2 * latent)

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """(batch, 3, 1 + 4n, 8h, 8w), or of a later piece 4n frames, to the moments of 1 + n, or n,
        latents: their means, and logarithms of variances below."""
        bands = self.wavelet(_even(x, frames))
        h = self.down1(bands, frames)
        low = self.inner(bands[:, :COLOURS])
        h = self.down2(torch.cat([h, self.connect_l1(low, frames)], 1), frames)
        low = self.outer(_even(low[:, :COLOURS], frames))
        h = self.mid(torch.cat([h, self.connect_l2(low, frames)], 1), frames)
        y: Tensor = self.conv_out(F.silu(self.norm_out(h)), frames)
        return y


def _even(x: Tensor, frames: Frames) -> Tensor:
    """A clip's first frame counts twice: then its frames are pairs."""
    return torch.cat([x[:, :, :1], x], 2) if frames.is_first else x


class Decoder(nn.Module):
    """Latents to the wavelets of pixels, and these to pixels."""

    def __init__(
        self, base: int, blocks: int, latent: int, use_attention: bool, connecting: int,
        interpolation: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.flow = base
        wide = 4 * base
        self.conv_in = CausalConv3d(latent, wide)
        self.mid = middle(wide, wide, wide + base, use_attention)
        self.up2 = Chain([
            *(ResnetBlock3D(wide, wide) for _ in range(blocks)),
            Spatial2xTime2x3DUpsample(wide, interpolation), ResnetBlock3D(wide, wide + base),
        ])  # fmt: skip
        inside = [wide, *[2 * base] * blocks]
        self.up1 = Chain([
            *(ResnetBlock3D(i, 2 * base) for i in inside[:blocks]), Upsample(2 * base),
            ResnetBlock3D(inside[blocks], 2 * base),
        ])  # fmt: skip
        self.layer = Chain([ResnetBlock3D(2 * base, base), ResnetBlock3D(base, base)])
        self.connect_l1, self.connect_l2 = (
            Chain([*(ResnetBlock3D(base, base) for _ in range(connecting)), Plain(base, bands)])
            for bands in (4 * COLOURS, 8 * COLOURS)
        )
        self.norm_out = Norm(base)
        self.conv_out = Plain(base, 8 * COLOURS)
        self.outer, self.inner, self.wavelet = InverseHaar(3), InverseHaar(2), InverseHaar(3)

    def low(self, z: Tensor, frames: Frames) -> tuple[Tensor, Tensor]:
        """What comes before the doubling: x of each latent, and the low colours of two frames for
        each, of the clip's first one."""
        h = self.mid(self.conv_in(z, frames), frames)
        colours = self.outer(self.connect_l2(h[:, -self.flow :], frames))
        h = h[:, : -self.flow]
        for block in self.up2[:-2]:
            h = block(h, frames)
        return h, colours[:, :, 1:] if frames.is_first else colours

    def high(self, h: Tensor | None, colours: Tensor | None, frames: Frames) -> Tensor:
        """The doubling, and what comes behind it: (batch, 24, frames, 4h, 4w). At the end, where no
        latent is left, of what was kept."""
        colours = late(colours, frames)
        h = self.up2[-1](self.up2[-2](h, frames), frames)
        bands = self.connect_l1(h[:, -self.flow :], frames)
        colours = self.inner(_added(bands, colours))
        h = self.layer(self.up1(h[:, : -self.flow], frames), frames)
        return _added(self.conv_out(F.silu(self.norm_out(h)), frames), colours)

    def forward(self, z: Tensor, frames: Frames) -> Tensor:
        """Both."""
        return self.high(*self.low(z, frames), frames)

    def pixels(self, coefficients: Tensor, frames: Frames) -> Tensor:
        """Two frames for each, of a clip's first one."""
        x: Tensor = self.wavelet(coefficients)
        return x[:, :, 1:] if frames.is_first else x


def _added(bands: Tensor, colours: Tensor) -> Tensor:
    """To the lowest band."""
    return torch.cat([bands[:, :COLOURS] + colours, bands[:, COLOURS:]], 1)


class WFVAEModel(nn.Module):
    """Upstream's class, by the keys of its configuration; defaults are WF-VAE-S with 8 channels.

    Raises `GraphFault` for what is not built: other norms (a group norm sees all frames at once, so
    that no clip could be decoded in pieces) and other blocks.
    """

    unused = ("dropout", "l1_downsample_block", "l2_downsample_block")

    def __init__(
        self, latent_dim: int = 8, base_channels: int = 128, encoder_num_resblocks: int = 2,
        encoder_energy_flow_hidden_size: int = 64, decoder_num_resblocks: int = 2,
        decoder_energy_flow_hidden_size: int = 128, use_attention: bool = True,
        norm_type: str = "layernorm", t_interpolation: str = "trilinear",
        connect_res_layer_num: int = 2, scale: Sequence[float] | float = 0.18215,
        shift: Sequence[float] | float = 0.0, **blocks: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        _check({"norm_type": norm_type, **blocks}, t_interpolation)
        if decoder_energy_flow_hidden_size != base_channels:
            raise GraphFault(
                f"module: WFVAEModel: decoder_energy_flow_hidden_size is "
                f"{decoder_energy_flow_hidden_size} and base_channels {base_channels}; upstream's "
                "decoder runs where both are the same; give the published configuration"
            )
        for name, value in (("scale", scale), ("shift", shift)):
            if isinstance(value, Sequence) and len(value) not in (1, latent_dim):
                raise GraphFault(
                    f"module: WFVAEModel: {name} has {len(value)} numbers for {latent_dim} "
                    "channels; give one for each"
                )
        self.encoder = Encoder(
            base_channels, encoder_num_resblocks, encoder_energy_flow_hidden_size, latent_dim,
            use_attention,
        )  # fmt: skip
        self.decoder = Decoder(
            base_channels, decoder_num_resblocks, latent_dim, use_attention, connect_res_layer_num,
            t_interpolation,
        )  # fmt: skip

    def encode(self, x: Tensor) -> Tensor:
        """(batch, 3, 1 + 4n, 8h, 8w), from -1 to 1, to (batch, 2 x latent_dim, 1 + n, h, w)."""
        y: Tensor = self.encoder(x, Frames())
        return y

    def decode(self, z: Tensor) -> Tensor:
        """(batch, latent_dim, 1 + n, h, w) to (batch, 3, 1 + 4n, 8h, 8w), the clip at once."""
        frames = Frames()
        x: Tensor = self.decoder.pixels(self.decoder(z, frames), frames)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """The moments."""
        return self.encode(x)


def _check(given: dict[str, Any], interpolation: str) -> None:
    for key, value in given.items():
        if key not in _ONLY:
            raise TypeError(f"WFVAEModel has no {key}")
        if value != _ONLY[key]:
            raise GraphFault(
                f"module: WFVAEModel: {key} is {value!r}; what is built is {_ONLY[key]!r}, as in "
                "the published models of Open-Sora Plan 1.3"
            )
    if interpolation not in ("trilinear", "nearest"):
        raise GraphFault(
            f"module: WFVAEModel: t_interpolation is {interpolation!r}; give trilinear or nearest"
        )
