"""Paths from noise (time 0) to data (time 1), as SiT has them (Ma et al. 2024,
`transport/path.py`): x = alpha data + sigma noise, and what drift, score and diffusion follow from
a model's output."""

from __future__ import annotations

import math
from dataclasses import dataclass

from entracte.graphs.checks import GraphFault, similar

PATHS = ("Linear", "GVP", "VP")
PREDICTIONS = ("velocity", "score", "noise")
FORMS = ("sigma", "linear", "constant", "decreasing", "increasing-decreasing", "SBDM")
_LEAST, _MOST = 0.1, 20.0
"""Of the variance preserving path's beta."""
Pair = tuple[float, float]
"""Factors of the latents and of the model's output."""


def check_one_of(name: str, given: object, known: tuple[str, ...]) -> None:
    """Raises `GraphFault`."""
    if given not in known:
        raise GraphFault(f"{name}: {given!r} is none of {', '.join(known)}{similar(given, known)}")


@dataclass(frozen=True)
class Point:
    """A path at a time. Raises `ZeroDivisionError` where something is not finite there."""

    path: str
    prediction: str
    t: float

    @property
    def alpha(self) -> Pair:
        """Of data, and its derivative."""
        if self.path == "Linear":
            return self.t, 1.0
        if self.path == "GVP":
            angle = self.t * math.pi / 2
            return math.sin(angle), math.pi / 2 * math.cos(angle)
        made = math.exp(self._logarithm)
        return made, made * self._beta / 2

    @property
    def sigma(self) -> Pair:
        """Of noise, and its derivative."""
        if self.path == "Linear":
            return 1 - self.t, -1.0
        if self.path == "GVP":
            angle = self.t * math.pi / 2
            return math.cos(angle), -math.pi / 2 * math.sin(angle)
        square = math.exp(2 * self._logarithm)
        made = math.sqrt(1 - square)
        return made, square * self._beta / (-2 * made)

    @property
    def _beta(self) -> float:
        return _LEAST + (1 - self.t) * (_MOST - _LEAST)

    @property
    def _logarithm(self) -> float:
        left = 1 - self.t
        return -0.25 * left**2 * (_MOST - _LEAST) - 0.5 * left * _LEAST

    @property
    def _ratio(self) -> float:
        """Of alpha's derivative and alpha, without alpha where that may vanish."""
        if self.path == "Linear":
            return 1 / self.t
        return math.pi / (2 * math.tan(self.t * math.pi / 2)) if self.path == "GVP" else (
            self._beta / 2)  # fmt: skip

    @property
    def _spread(self) -> float:
        """What the score is multiplied by in the drift."""
        if self.path == "VP":
            return self._beta / 2
        sigma, change = self.sigma
        return self._ratio * sigma**2 - sigma * change

    @property
    def drift(self) -> Pair:
        """Of the probability flow."""
        if self.prediction == "velocity":
            return 0.0, 1.0
        part = 1.0 if self.prediction == "score" else -1 / self.sigma[0]
        return self._ratio, self._spread * part

    @property
    def score(self) -> Pair:
        """The gradient of the logarithm of the density."""
        if self.prediction == "score":
            return 0.0, 1.0
        sigma, change = self.sigma
        if self.prediction == "noise":
            return 0.0, -1 / sigma
        alpha, grows = self.alpha
        back = alpha / grows
        variance = sigma**2 - back * change * sigma
        return -1 / variance, back / variance

    def diffusion(self, form: str, norm: float) -> float:
        """How much noise a second holds, as one of `FORMS`."""
        check_one_of("diffusion_form", form, FORMS)
        if form == "constant":
            return norm
        if form == "SBDM":
            return norm * self._spread
        if form == "decreasing":
            return 0.25 * (norm * math.cos(math.pi * self.t) + 1) ** 2
        if form == "increasing-decreasing":
            return norm * math.sin(math.pi * self.t) ** 2
        return norm * (self.sigma[0] if form == "sigma" else 1 - self.t)

    def noisy_drift(self, form: str, norm: float) -> Pair:
        """Of the stochastic equation: the flow's, and the score times the diffusion."""
        part = self.diffusion(form, norm)
        (a, b), (p, q) = self.drift, self.score
        return a + part * p, b + part * q
