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
    graphs._BUILT_IN.update({
        "fuzz.text": f"{__name__}:text",
        "fuzz.denoise": f"{__name__}:denoise",
        "fuzz.decode": f"{__name__}:decode",
        "fuzz.table": f"{__name__}:table",
    })  # fmt: skip


class _Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(16, WIDTH)
        self.out = nn.Linear(WIDTH, 3)

    def forward(self, input_ids, mask):
        return (self.out(self.table(input_ids)) * mask[..., None]).mean(1)


class _Denoise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.outer = nn.Linear(WIDTH, WIDTH)

    def forward(self, z, dt, features, strength):
        moved = self.outer(torch.relu(self.inner(z)))
        return z + dt * strength * (moved + features[:, :, None, None, None])


class _Decode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, z):
        return torch.sigmoid(self.out(z))


def text() -> Graph:
    """Ids and their mask -> one number for each colour."""
    inputs = (Input("input_ids", (1, 4), "int"), Input("mask", (1, 4)))
    return Graph(_Text().eval(), inputs, ("features",), checkpoint="text", owns=("",))


def denoise() -> Graph:
    """One step of a loop."""
    inputs = (Input("z", FRAMES), Input("dt", (1, 1)), Input("features", (1, 3)),
              Input("strength", (1,)))  # fmt: skip
    return Graph(_Denoise().eval(), inputs, ("z_next",), checkpoint="denoise", owns=("",))


def decode() -> Graph:
    """Two frames at a time."""
    shape = (1, 3, 2, *FRAMES[3:])
    return Graph(_Decode().eval(), (Input("z", shape),), ("pixels",), checkpoint="decode")


def table(steps: int) -> Constants:
    """The loop's steps."""
    return Constants({"dt": np.full((steps, 1), 1 / steps, np.float32)})
