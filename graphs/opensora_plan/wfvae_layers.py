"""Layers of WFVAE. Tensors are (batch, channels, frames, rows, columns)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPSILON = 1e-6


class Frames:
    """What layers over time keep of a clip that comes in pieces, in the order in which they run.

    Args:
        kept: `after` of the piece before; None for the first piece, and for a whole clip.
        is_last: whether nothing comes after this piece.
    """

    def __init__(self, kept: Iterable[Tensor] | None = None, *, is_last: bool = True) -> None:
        self._kept: Iterator[Tensor] | None = None if kept is None else iter(kept)
        self.is_last = is_last
        self.after: list[Tensor] = []

    @property
    def is_first(self) -> bool:
        """Whether nothing is before this piece."""
        return self._kept is None

    def before(self) -> Tensor:
        """What the next layer kept."""
        assert self._kept is not None
        return next(self._kept)

    def led(self, x: Tensor, count: int) -> Tensor:
        """`count` frames before x, and x. Before a clip stands its first frame."""
        if not count:
            return x
        first = x[:, :, :1].expand(-1, -1, count, -1, -1) if self.is_first else self.before()
        joined = torch.cat([first, x], 2)
        self.after.append(joined[:, :, -count:])
        return joined


class CausalConv3d(nn.Module):
    """A convolution that sees no later frame. Of stride 2, frames after the first come in pairs."""

    def __init__(
        self, inside: int, outside: int, kernel: int = 3, stride: int = 1, padding: int = 1
    ) -> None:
        super().__init__()
        self.lead = kernel - stride
        """Frames kept: what the next piece's first window has of this one."""
        self.first = kernel - 1
        """Frames before the first one."""
        place = (0, padding, padding)
        self.conv = nn.Conv3d(inside, outside, kernel, stride, place)

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """The convolution over kept frames and x."""
        more = self.first - self.lead
        if frames.is_first and more:
            x = torch.cat([x[:, :, :1].expand(-1, -1, more, -1, -1), x], 2)
        y: Tensor = self.conv(frames.led(x, self.lead))
        return y


class Norm(nn.Module):
    """Over the channels of each place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Channels last, and back."""
        y: Tensor = self.norm(x.movedim(1, -1)).movedim(-1, 1)
        return y


class ResnetBlock3D(nn.Module):
    """Two causal convolutions beside a shortcut."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(inside), Norm(outside)
        self.conv1 = CausalConv3d(inside, outside)
        self.conv2 = CausalConv3d(outside, outside)
        if inside != outside:
            self.nin_shortcut = CausalConv3d(inside, outside, 1, padding=0)

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """Norm, SiLU, convolution, twice."""
        h = self.conv1(F.silu(self.norm1(x)), frames)
        h = self.conv2(F.silu(self.norm2(h)), frames)
        y: Tensor = h + (self.nin_shortcut(x, frames) if hasattr(self, "nin_shortcut") else x)
        return y


class ResnetBlock2D(nn.Module):
    """The same frame by frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(channels), Norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor, _: Frames) -> Tensor:
        """Nothing is kept."""
        h = per_frame(self.conv1, F.silu(self.norm1(x)))
        return x + per_frame(self.conv2, F.silu(self.norm2(h)))


class Attention(nn.Module):
    """One head over the places of each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.q, self.k, self.v, self.proj_out = (
            CausalConv3d(channels, channels, 1, padding=0) for _ in range(4)
        )

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """(batch x frames, 1, places, channels) inside."""
        batch, channels, count, rows, columns = x.shape
        h = self.norm(x)
        q, k, v = (
            layer(h, frames).transpose(1, 2).reshape(batch * count, 1, channels, -1).transpose(2, 3)
            for layer in (self.q, self.k, self.v)
        )
        h = F.scaled_dot_product_attention(q, k, v).transpose(2, 3)
        h = h.reshape(batch, count, channels, rows, columns).transpose(1, 2)
        y: Tensor = x + self.proj_out(h, frames)
        return y


class Plain(nn.Conv2d):
    """A 3 x 3 convolution frame by frame."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(inside, outside, 3, 1, 1)

    def forward(self, x: Tensor, _: Frames) -> Tensor:  # type: ignore[override]
        """Nothing is kept."""
        return per_frame(super().forward, x)


class Downsample(nn.Module):
    """Half the rows and columns, frame by frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 2)

    def forward(self, x: Tensor, _: Frames) -> Tensor:
        """Zeros below and to the right."""
        return per_frame(self.conv, F.pad(x, (0, 1, 0, 1)))


class Spatial2xTime2x3DDownsample(nn.Module):
    """Half the rows and columns; of 1 + 2n frames 1 + n."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels, stride=2, padding=0)

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """Zeros below and to the right."""
        y: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)), frames)
        return y


class Upsample(nn.Module):
    """Twice the rows and columns, frame by frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor, _: Frames) -> Tensor:
        """The nearest, and a convolution."""
        return per_frame(lambda h: self.conv(F.interpolate(h, scale_factor=2.0)), x)


class Chain(nn.ModuleList):
    """Layers one after the other."""

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """Each keeps its own frames."""
        for layer in self:
            x = layer(x, frames)
        return x


def per_frame(layer: object, x: Tensor) -> Tensor:
    """A layer of pictures, over each frame."""
    batch, channels, count, rows, columns = x.shape
    y: Tensor = layer(x.transpose(1, 2).reshape(-1, channels, rows, columns))  # type: ignore[operator]
    return y.view(batch, count, *y.shape[1:]).transpose(1, 2)


def middle(inside: int, width: int, outside: int, use_attention: bool) -> Chain:
    """Two blocks, with attention between them."""
    attention = [Attention(width)] if use_attention else []
    return Chain([ResnetBlock3D(inside, width), *attention, ResnetBlock3D(width, outside)])
