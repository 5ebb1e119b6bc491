"""Linear proportional leap, adaptive: stop when the velocity no longer turns.

Along a straight path a single step covers all that remains. The rule is the one that On-device
Sora's Python code runs (`reference/on-device-sora.md` section 1.2; arXiv 2502.04363v2 section 4
with other constants): from step `minimum` on, compare successive guided velocities; when their
cosine has not beaten the best one by `tolerance` for `patience` steps in a row, the next dt is the
whole remaining time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entracte.graphs.opensora.sampler import guided, together

OVER = ("all", "published_slice")
_LEAST = 1e-6
"""Below it a mean square or a largest magnitude counts as zero: no division by zero."""


def check_leap(over: str, tolerance: float, patience: int, minimum: int) -> None:
    """Raises `ValueError` for a rule that makes no sense."""
    if over not in OVER:
        raise ValueError(f"params.over: {over!r} is not one of {', '.join(OVER)}")
    if tolerance < 0:
        raise ValueError(f"params.tolerance: {tolerance} is negative")
    if patience < 1:
        raise ValueError(f"params.patience: {patience} steps; at least 1")
    if minimum < 1:
        raise ValueError(f"params.minimum: {minimum}; at least 1, step 0 has no predecessor")


def mean_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Mean over rows of the cosine of two tensors [rows, n] -> [1].

    Rows are divided by their largest magnitude and averaged, not summed: nothing can overflow. A
    row of zeros has cosine 0.
    """
    a = a / a.abs().amax(-1, keepdim=True).clamp(min=_LEAST)
    b = b / b.abs().amax(-1, keepdim=True).clamp(min=_LEAST)
    squares = [x.square().mean(-1).clamp(min=_LEAST) for x in (a, b)]
    cosine = (a * b).mean(-1) * torch.rsqrt(squares[0]) * torch.rsqrt(squares[1])
    return cosine.mean(0, keepdim=True)


class GuidedEulerLeap(nn.Module):
    """`GuidedEuler`, and the decision to leap.

    Between steps it needs the compared part of the last velocity (`direction`) and `record`: best
    cosine, steps in a row without a better one, steps done. Both begin as zeros; a best cosine of
    zero at the start is the published rule. The stage must run in fp32: cosines differ by 1e-4.

    Args:
        channels: latent channels; the velocity's further channels are not read.
        over: `all` compares the whole velocity as one vector; `published_slice` compares the rows
            of its first channel's first frame one by one and averages their cosines.
        tolerance: by how much a cosine must beat the best one.
        patience: leap at this many steps in a row that did not.
        minimum: 0-based index of the first step at which velocities are compared.
    """

    def __init__(
        self, channels: int, over: str, tolerance: float, patience: int, minimum: int
    ) -> None:
        super().__init__()
        self.channels, self.over = channels, over
        self.tolerance, self.patience, self.minimum = tolerance, patience, minimum

    def forward(
        self,
        z: Tensor,
        velocity: Tensor,
        dt: Tensor,
        timestep: Tensor,
        guidance: Tensor,
        direction: Tensor,
        record: Tensor,
        unconditional: Tensor | None = None,
        within: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step.

        Args:
            z: [1, C, T, H, W].
            velocity: [2, >= C, T, H, W] as [cond, uncond], or cond alone.
            dt, timestep, guidance: [1]; the timestep counts from 1000 to 0.
            direction: [rows, n], the last step's `direction_next`.
            record: [3].
            unconditional, within: as of `GuidedEuler`.

        Returns:
            The next z, direction and record, and `done` [1]: 1 if the step was the leap, else 0.
        """
        v = guided(together(velocity, unconditional, within), guidance, self.channels)
        rows = v.reshape(1, -1) if self.over == "all" else v[0, 0, 0]
        best, failures, index = record.chunk(3)
        cosine = mean_cosine(rows, direction)
        compared = index >= self.minimum
        better = torch.logical_and(compared, cosine > best + self.tolerance)
        worse = torch.logical_and(compared, cosine <= best + self.tolerance)
        best = torch.where(better, cosine, best)
        failures = torch.where(better, torch.zeros_like(failures), failures)
        failures = torch.where(worse, failures + 1, failures)
        leaps = failures >= self.patience
        # The unit is chosen after the decision: `timestep / 1000` alone would be hoisted out of
        # the loop, into a package of its own.
        length = torch.where(leaps, timestep, dt) * torch.where(leaps, 1e-3, 1.0)
        # `* 1.0` makes a value of its own: two outputs must not share memory.
        record = torch.cat((best, failures, index + 1))
        return z + v * length, rows * 1.0, record, leaps.to(z.dtype)
