"""Haar transforms of WFVAE, in two and three dimensions, and their inverses.

A sub-band is the sum of the 4 or 8 values of a cube, each with the sign of its place: minus in the
second half of an axis in which the band is high. In three dimensions bands are ordered by time,
row and column, the column's running fastest; in two the row's runs fastest. Bands are the slower
index of channels. Upstream's taps are 1/2 in two dimensions and 0.3536 in three, not 1/sqrt(8): a
round trip multiplies by 1.0002.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = {2: 0.5, 3: 0.3536}
"""By the number of dimensions. Upstream's checkpoints hold them as buffers, always these."""


def _matrix(dimensions: int, colours: int) -> Tensor:
    """(band and colour, half of time and colour and row and column): taps with their signs."""
    places = list(product((0, 1), repeat=dimensions))
    bands = [place[::-1] for place in places] if dimensions == 2 else places
    signs = torch.tensor([
        [(-1.0) ** sum(b * p for b, p in zip(band, place, strict=True)) for place in places]
        for band in bands
    ]).view(len(places), -1, 4)  # fmt: skip
    whole = torch.einsum("bip,cd->bcidp", signs, torch.eye(colours)) * TAPS[dimensions]
    return whole.reshape(len(places) * colours, -1)


class Haar(nn.Module):
    """(batch, colours, frames, rows, columns) to (batch, bands x colours, ...), each axis halved:
    in three dimensions time too, of 2n frames n."""

    taps: Tensor

    def __init__(self, dimensions: int, colours: int = 3) -> None:
        super().__init__()
        self.halves = dimensions - 1
        taps = _matrix(dimensions, colours).view(2**dimensions * colours, -1, 2, 2)
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """A convolution of stride 2: two frames side by side are twice the colours."""
        batch, colours, frames, rows, columns = x.shape
        x = x.transpose(1, 2).reshape(-1, self.halves * colours, rows, columns)
        x = F.conv2d(x, self.taps.to(x.dtype), stride=2)
        return x.view(batch, frames // self.halves, *x.shape[1:]).transpose(1, 2)


class InverseHaar(nn.Module):
    """(batch, bands x colours, frames, rows, columns) to (batch, colours, ...), each axis
    doubled: in three dimensions time too."""

    taps: Tensor

    def __init__(self, dimensions: int, colours: int = 3) -> None:
        super().__init__()
        self.halves = dimensions - 1
        taps = _matrix(dimensions, colours).T.contiguous()[:, :, None, None]
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """A product with the taps; its channels are spread over rows, columns and frames."""
        batch, bands, frames, rows, columns = x.shape
        x = x.transpose(1, 2).reshape(-1, bands, rows, columns)
        x = F.pixel_shuffle(F.conv2d(x, self.taps.to(x.dtype)), 2)
        x = x.reshape(batch, self.halves * frames, -1, 2 * rows, 2 * columns)
        return x.transpose(1, 2)
