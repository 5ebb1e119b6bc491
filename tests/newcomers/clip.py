"""Image in, video out: an image is encoded, a loop adds frames, a causal decoder shows them.

The decoder keeps the last two frames that each of its convolutions read: the first latent frame
gives one frame, each of the others two.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from entracte.graphs.spec import Constants, Graph, Input

SIDE, LATENT, FRAMES, WIDTH = 16, 4, 4, 6
STEPS = 3


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, image: Tensor) -> Tensor:
        return torch.tanh(self.conv(image))[:, :, None]


class Denoiser(nn.Module):
    """One step towards the frames; the pace is a choice of the user."""

    def __init__(self) -> None:
        super().__init__()
        self.pace = nn.Embedding(3, 4)
        self.conv = nn.Conv3d(4, 4, 3, padding=1)

    def forward(self, z: Tensor, image: Tensor, dt: Tensor, pace: Tensor) -> Tensor:
        y = self.pace(pace)[:, :, None, None, None] + image
        return z + dt[:, None, None, None] * torch.tanh(self.conv(z + y))


class Causal(nn.Module):
    """A convolution over time that reads two frames from before."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inside, outside, 3, padding=(0, 1, 1))

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([before, x], dim=2)
        return self.conv(seen), seen[:, :, -2:]


class Decoder(nn.Module):
    """One latent frame, with what the frames before it left, as one frame or two."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        self.inner, self.outer = Causal(4, 2 * WIDTH), Causal(WIDTH, 3)

    def forward(self, z: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, low = self.inner(z, low)
        x = self.grown(torch.relu(x))
        x, high = self.outer(x, high)
        return torch.sigmoid(x), low, high

    def grown(self, x: Tensor) -> Tensor:
        """Each frame twice (the first one once), four times as high and wide."""
        earlier, later = x.chunk(2, dim=1)
        frames = later if self.first else torch.cat([earlier, later], dim=2)
        flat = frames.squeeze(0).transpose(0, 1)
        large = functional.interpolate(flat, scale_factor=4.0, mode="nearest")
        return large.transpose(0, 1)[None]


def whole(decoder: Decoder, z: Tensor) -> Tensor:
    """All frames at once, without caches: two frames of zeros lie before the first."""

    def over_time(causal: Causal, x: Tensor) -> Tensor:
        return causal.conv(functional.pad(x, (0, 0, 0, 0, 2, 0)))

    x = torch.relu(over_time(decoder.inner, z))
    earlier, later = x.chunk(2, dim=1)
    frames = torch.stack([earlier, later], dim=3).flatten(2, 3)[:, :, 1:]
    large = frames.repeat_interleave(4, dim=3).repeat_interleave(4, dim=4)
    return torch.sigmoid(over_time(decoder.outer, large))


# ---------------------------------------------------------------- factories


def encoder() -> Graph:
    return Graph(
        Encoder().eval(), (Input("image", (1, 3, SIDE, SIDE)),), ("latent",), checkpoint="encoder"
    )


def denoiser() -> Graph:
    shape = (1, 4, FRAMES - 1, LATENT, LATENT)
    inputs = (
        Input("z", shape), Input("image", (1, 4, 1, LATENT, LATENT)), Input("dt", (1, 1)),
        Input("pace", (1,), "int"),
    )  # fmt: skip
    return Graph(Denoiser().eval(), inputs, ("z_next",), checkpoint="denoiser")


def decoder(first: bool) -> Graph:
    low, high = (1, 4, 2, LATENT, LATENT), (1, WIDTH, 2, SIDE, SIDE)
    return Graph(
        Decoder(first).eval(),
        (Input("z", (1, 4, 1, LATENT, LATENT)), Input("low", low), Input("high", high)),
        ("frames", "low_next", "high_next"),
        checkpoint="decoder",
    )


def start() -> Constants:
    """Nothing lies before the first frame."""
    return Constants(
        {
            "low": np.zeros((1, 4, 2, LATENT, LATENT), np.float32),
            "high": np.zeros((1, WIDTH, 2, SIDE, SIDE), np.float32),
            "dt": np.linspace(0.5, 0.1, STEPS, dtype=np.float32)[:, None],
        }
    )
