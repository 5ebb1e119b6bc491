"""What a first-block test saw, where slices of its map rest in some iterations of their loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from entracte.graphs.spec import Constants, Graph, Input

if TYPE_CHECKING:
    from torch import Tensor


def goes_on(count: int, at: Sequence[int] = ()) -> Constants:
    """`goes_on`, [count]: 1 where slices that run in the iterations `at` (empty: in all) run in
    this one and in the next, else 0. Raises `ValueError` where one is none of `count`."""
    import numpy as np

    if not all(0 <= i < count for i in at):
        raise ValueError(f"params.at: {list(at)}: give iterations of 0 to {count - 1}")
    runs = np.zeros(count + 1, bool)
    runs[list(at or range(count))] = True
    return Constants({"goes_on": (runs[:-1] & runs[1:]).astype(np.float32)})


def joined(shape: Sequence[int], axis: int, always: int, resting: int, first: bool) -> Graph:
    """Both kinds of slices along their axis, those that rest as zeros where they do not go on: to
    zeros no change is near, so that the iteration in which they run again is none of rest.

    Args:
        shape: of one slice.
        axis: along which slices lie.
        always: slices that run in all iterations.
        resting: the others.
        first: whether these are the first ones, or the last.
    """
    import torch
    from torch import nn

    class Joined(nn.Module):
        """See `joined`."""

        def forward(self, always: Tensor, resting: Tensor, goes_on: Tensor) -> Tensor:
            """Slices of both kinds and a number of shape [1]; gives all slices."""
            kept = resting * goes_on
            return torch.cat((kept, always) if first else (always, kept), axis)

    def of(count: int) -> tuple[int, ...]:
        return (*shape[:axis], count * shape[axis], *shape[axis + 1 :])

    inputs = (Input("always", of(always)), Input("resting", of(resting)), Input("goes_on", (1,)))
    return Graph(Joined().eval(), inputs, ("seen",))
