"""The doubling of time in WFVAE's decoder, one frame late: see `wfvae.py`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from entracte.graphs.opensora_plan.wfvae_layers import CausalConv3d, Frames


def late(x: Tensor | None, frames: Frames) -> Tensor:
    """The frames one late: first what was kept of the piece before, the last one only at the end
    of a clip. None where the end has no frames of its own."""
    parts = [] if frames.is_first else [frames.before()]
    parts += [] if x is None else [x]
    frames.after.append(parts[-1][:, :, -1:])
    if not frames.is_last:
        parts[-1] = parts[-1][:, :, :-1]
    return torch.cat(parts, 2)


class Spatial2xTime2x3DUpsample(nn.Module):
    """Twice the rows and columns; of t frames 2t - 1."""

    def __init__(self, channels: int, interpolation: str) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels)
        self.near = 0.75 if interpolation == "trilinear" else 1.0
        """The part of the nearer frame in one between two."""
        self.mode = "bilinear" if interpolation == "trilinear" else "nearest"

    def forward(self, x: Tensor | None, frames: Frames) -> Tensor:
        """Time, then space, then a causal convolution."""
        y: Tensor = self.conv(self._wide(self._long(x, frames)), frames)
        return y

    def _long(self, x: Tensor | None, frames: Frames) -> Tensor:
        """The frames that are known by now, and were not before."""
        if frames.is_first:
            assert x is not None
            parts, rest = [x[:, :, :2]], x[:, :, 1:]
        else:
            parts, rest = [], torch.cat([frames.before(), *([] if x is None else [x])], 2)
        if rest.shape[2] > 1:
            parts.append(self._between(rest))
        if rest.shape[2]:
            frames.after.append(rest[:, :, -1:])
            parts += [rest[:, :, -1:]] if frames.is_last else []
        return torch.cat(parts, 2)

    def _between(self, x: Tensor) -> Tensor:
        """Two frames between each and the next."""
        batch, channels, count, rows, columns = x.shape
        before, after = x[:, :, :-1], x[:, :, 1:]
        if self.near == 1:
            pair = before, after
        else:
            far = 1 - self.near
            pair = self.near * before + far * after, far * before + self.near * after
        wide = (p.reshape(batch * channels, count - 1, rows * columns) for p in pair)
        both = torch.stack(list(wide), 2)
        return both.view(batch, channels, 2 * count - 2, rows, columns)

    def _wide(self, x: Tensor) -> Tensor:
        """Each frame of each channel for itself."""
        batch, channels, count, rows, columns = x.shape
        flat = x.reshape(batch, channels * count, rows, columns)
        more = {} if self.mode == "nearest" else {"align_corners": False}
        flat = F.interpolate(flat, scale_factor=2.0, mode=self.mode, **more)
        return flat.view(batch, channels, count, 2 * rows, 2 * columns)
