"""Graphs of a few hundred weights: a whole compile of them takes seconds."""

import numpy as np
import torch
from torch import nn

from entracte import graphs
from entracte.graphs.spec import Constants, Graph, Input

FRAMES = (1, 3, 4, 8, 8)
WIDTH = 8


def register() -> None:
    """Let pipelines of this process name them."""
    for factory in (text, hint, guide, denoise, feature, smooth, sharpen, decode, table):
        graphs._BUILT_IN[f"fuzz.{factory.__name__}"] = f"{__name__}:{factory.__name__}"


class _Text(nn.Module):
    """`table` is read by the host."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(WIDTH, 3)

    def forward(self, rows, mask):
        return (self.out(rows) * mask[..., None]).mean(1)


class _Hint(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sound = nn.Linear(WIDTH, 3)
        self.names = nn.Embedding(4, 3)

    def forward(self, picture, clip, sound, given, order, mode):
        seen = picture.mean((2, 3)) + clip.mean((2, 3, 4)) + self.sound(sound)
        return seen + given + self.names(order).mean(1) + self.names(mode)


class _Guide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 3)

    def forward(self, z, hint):
        return torch.tanh(self.out(z.mean((2, 3, 4)) + hint))


class _Denoise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.outer = nn.Linear(WIDTH, WIDTH)

    def forward(self, z, mean, dt, jitter, features, guided, strength):
        moved = self.outer(torch.relu(self.inner(z)))
        wanted = (features + guided + 0.1 * jitter + mean)[:, :, None, None, None]
        z = z + dt.mean() * strength * (moved + wanted)
        mean = z.mean((2, 3, 4))
        token = 1 + torch.clamp(mean[:, :1].abs() * 32, 0, 2).int()
        return z, mean, torch.tanh(z[:, 0, 0, 0]), token, (mean.sum() > 1e4).float().reshape(1)


class _Feature(nn.Module):
    def forward(self, z):
        return z.mean((2, 3, 4))


class _Smooth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, z, before):
        made = self.mix(torch.cat([z, before], -1))
        return made, torch.tanh(made[:, :, 0]), torch.tanh(made)


class _Decode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, z):
        return torch.sigmoid(self.out(z))


def text() -> Graph:
    """Rows of a table and their mask -> one number for each colour."""
    inputs = (Input("rows", (1, 4, WIDTH)), Input("mask", (1, 4)))
    return Graph(_Text().eval(), inputs, ("features",), checkpoint="text")


def hint() -> Graph:
    """One of every kind of input."""
    inputs = (
        Input("picture", (1, 3, 8, 8)), Input("clip", (1, 3, 2, 8, 8)), Input("sound", (1, 8)),
        Input("given", (1, 3)), Input("order", (1, 4), "int"), Input("mode", (1,), "int"),
    )  # fmt: skip
    return Graph(_Hint().eval(), inputs, ("hint",), checkpoint="hint", owns=("",))


def guide() -> Graph:
    """What rests in every second iteration; with numbers of its own."""
    torch.manual_seed(0)
    inputs = (Input("z", FRAMES), Input("hint", (1, 3)))
    return Graph(_Guide().eval(), inputs, ("guided",))


def denoise() -> Graph:
    """One step of a loop."""
    inputs = (
        Input("z", FRAMES), Input("mean", (1, 3)), Input("dt", (1, 2)), Input("jitter", (1, 3)),
        Input("features", (1, 3)), Input("guided", (1, 3)), Input("strength", (1,)),
    )  # fmt: skip
    outputs = ("z_next", "mean_next", "wave", "token", "done")
    return Graph(_Denoise().eval(), inputs, outputs, checkpoint="denoise", owns=("",))


def feature() -> Graph:
    """No weights at all."""
    return Graph(_Feature().eval(), (Input("z", FRAMES),), ("feature",))


def smooth() -> Graph:
    """A frame with the one before it."""
    frame = (1, 3, 1, *FRAMES[3:])
    inputs = (Input("z", frame), Input("before", frame))
    outputs = ("z_smooth", "picture", "after")
    return Graph(_Smooth().eval(), inputs, outputs, checkpoint="smooth")


def sharpen() -> Graph:
    """Tiles."""
    inputs = (Input("z", (1, 3, 4, 4, 8)),)
    return Graph(_Decode().eval(), inputs, ("z_sharp",), checkpoint="decode")


def decode(rows: int, frames: int) -> Graph:
    """A few frames at a time."""
    shape = (1, 3, frames, rows, WIDTH)
    return Graph(_Decode().eval(), (Input("z", shape),), ("pixels",), checkpoint="decode")


def table(steps: int) -> Constants:
    """The loop's steps, two numbers each, and where the mean begins."""
    dt = np.full((1, 2 * steps), 1 / steps, np.float32)
    return Constants({"dt": dt, "mean": np.zeros((1, 3), np.float16)})
