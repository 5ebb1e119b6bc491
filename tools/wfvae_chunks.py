"""WFVAE's decoder in chunks as Open-Sora Plan's own code has it (`enable_tiling`, which
`--save_memory` turns on), but for its fault: a baseline for `tools/bench_wfvae.py`.

The first latent is decoded alone, then `count` at a time, each chunk with the latent after it,
whose two coefficient frames are dropped at the end. Upstream leaves it out where exactly one latent
remains, and makes wrong frames then; here it is given. Written from the description in
`reference/systems.md`, 3.3 and 6.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from entracte.graphs.opensora_plan.wfvae import _added
from entracte.graphs.opensora_plan.wfvae_layers import Frames


class Ahead(Frames):
    """Keeps nothing of a piece's last frames, which are ahead of it."""

    def __init__(self, kept: Iterable[Tensor] | None, ahead: int) -> None:
        super().__init__(kept)
        self.ahead = ahead

    def led(self, x: Tensor, count: int) -> Tensor:
        """Of the frames that are no others' the last."""
        if not count:
            return x
        first = x[:, :, :1].expand(-1, -1, count, -1, -1) if self.is_first else self.before()
        joined = torch.cat([first, x], 2)
        end = joined.shape[2] - self.ahead
        self.after.append(joined[:, :, end - count : end])
        return joined


def decode_in_chunks(model: Any, z: Tensor, count: int) -> Tensor:
    """(1, latent_dim, t, h, w) to (1, 3, 4t - 3, 8h, 8w)."""
    total, start, kept, made = z.shape[2], 0, None, []
    for end in [1, *range(1 + count, total + count, count)]:
        end = min(end, total)
        looks = end < total
        frames = Ahead(kept, int(looks))
        made.append(_chunk(model.decoder, z[:, :, start : end + looks], frames))
        kept, start = frames.after, end
    pixels: Tensor = model.decoder.pixels(torch.cat(made, 2), Frames())
    return pixels


def _chunk(decoder: Any, z: Tensor, frames: Ahead) -> Tensor:
    looks = frames.ahead
    h, colours = decoder.low(z, frames)
    upsample = decoder.up2[-2]
    h = _doubled(h, frames, looks)
    frames.ahead = 2 * looks
    h = upsample.conv(upsample._wide(h), frames)
    h = decoder.up2[-1](h, frames)
    bands = decoder.connect_l1(h[:, -decoder.flow :], frames)
    colours = decoder.inner(_added(bands, colours))
    h = decoder.layer(decoder.up1(h[:, : -decoder.flow], frames), frames)
    made = _added(decoder.conv_out(F.silu(decoder.norm_out(h)), frames), colours)
    return made[:, :, : made.shape[2] - 2 * looks]


def _doubled(h: Tensor, frames: Ahead, looks: int) -> Tensor:
    """One frame is kept: of the first chunk the last of all, later the last that is not ahead."""
    if frames.is_first:
        frames.after.append(h[:, :, -1:])
        return torch.cat([h[:, :, :1], _twice(h[:, :, 1:])], 2) if h.shape[2] > 1 else h
    frames.after.append(h[:, :, h.shape[2] - looks - 1 : h.shape[2] - looks])
    return _twice(torch.cat([frames.before(), h], 2))[:, :, 2:]


def _twice(h: Tensor) -> Tensor:
    return F.interpolate(h, scale_factor=(2, 1, 1), mode="trilinear", align_corners=False)
