"""A scheduler as stages: its tables, the first latents, what the model reads, and one step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from entracte.graphs.schedules.probe import steps_of
from entracte.graphs.spec import Constants, Graph, Input


def table(scheduler: str, config: str, steps: int, given: str = "{}") -> Constants:
    """`time`, `scale` and `parts` of each evaluation (`probe.Steps`)."""
    made = steps_of(scheduler, config, steps, given)
    arrays = {"time": made.time, "parts": made.parts}
    if made.is_scaled:
        arrays["scale"] = made.scale
    return Constants(arrays)


class Start(nn.Module):
    """The first latents."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, z: Tensor) -> Tensor:
        """Noise times the first sigma."""
        return z * self.sigma


def start(
    scheduler: str, config: str, steps: int, shape: Sequence[int], given: str = "{}"
) -> Graph:
    """`z` -> `z_start`."""
    module = Start(steps_of(scheduler, config, steps, given).start)
    return Graph(module.eval(), (Input("z", tuple(shape)),), ("z_start",))


class Scale(nn.Module):
    """What the model reads."""

    def forward(self, z: Tensor, scale: Tensor) -> Tensor:
        """Latents times the step's factor."""
        return z * scale


def scale(shape: Sequence[int]) -> Graph:
    """`z`, `scale` -> `scaled`."""
    inputs = (Input("z", tuple(shape)), Input("scale", (1,)))
    return Graph(Scale().eval(), inputs, ("scaled",))


class Step(nn.Module):
    """Sums of the latents, the output, noise and what is remembered; numbers of 0 are left out.

    Args:
        used: (rows, columns) whether any step's number is not 0.
        limit: where the last row's sum, the last column, is cut off; 0 where there is none.
        noise, history: whether these are inputs.
    """

    def __init__(self, used: np.ndarray, *, limit: float, noise: bool, history: bool) -> None:
        super().__init__()
        self._used = tuple(tuple(bool(x) for x in row) for row in used)
        self._limit, self._noise, self._history = limit, noise, history

    def forward(
        self, z: Tensor, output: Tensor, parts: Tensor, *more: Tensor
    ) -> tuple[Tensor, ...]:
        """z, output of one shape; parts (1, rows, columns); noise; history (remembered, ...)."""
        terms: list[Tensor | None] = [z, output, more[0] if self._noise else None]
        if self._history:
            terms += more[-1].split(z.shape[0])
        count = len(self._used)
        if self._limit:
            count -= 1
            terms.append(self._row(count, terms, parts).clamp(-self._limit, self._limit))
        rows = [self._row(i, terms, parts) for i in range(count)]
        return (rows[0], torch.cat(rows[1:])) if self._history else (rows[0],)

    def _row(self, i: int, terms: Sequence[Tensor | None], parts: Tensor) -> Tensor:
        made = None
        for j, term in enumerate(terms):
            if not self._used[i][j] or term is None:
                continue
            one = term * parts[0, i, j]
            made = one if made is None else made + one
        first = terms[0]
        assert first is not None
        return torch.zeros_like(first) if made is None else made


def step(scheduler: str, config: str, steps: int, shape: Sequence[int], given: str = "{}") -> Graph:
    """`z`, `output`, `parts`, and as the scheduler needs them `noise` and `history` -> `z_next`,
    `history_next`."""
    made = steps_of(scheduler, config, steps, given)
    rows, columns = made.parts.shape[1:]
    sizes = tuple(shape)
    inputs = [Input("z", sizes), Input("output", sizes), Input("parts", (1, rows, columns))]
    outputs = ["z_next"]
    if made.has_noise:
        inputs.append(Input("noise", sizes))
    if made.remembered:
        inputs.append(Input("history", (made.remembered * sizes[0], *sizes[1:])))
        outputs.append("history_next")
    used = np.abs(made.parts).max(0) > 0
    module = Step(used, limit=made.limit, noise=made.has_noise, history=made.remembered > 0)
    return Graph(module.eval(), tuple(inputs), tuple(outputs))
