"""SiT's samplers as tables and one step (`transport/transport.py`, `integrators.py`): Euler and
Heun over the probability flow, Euler-Maruyama and Heun over a stochastic equation with a last step.

Every step is a sum of latents, output, noise and one remembered tensor, so that it is the step of
`graphs/schedules`; Heun's are two evaluations each. Noise that Heun's stochastic step adds before
its first evaluation is added in the step before, and to the first latents (`Plan.start`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor, nn

from entracte.graphs.checks import GraphFault
from entracte.graphs.minisora.paths import FORMS, PATHS, PREDICTIONS, Pair, Point, check_one_of
from entracte.graphs.schedules.step import Step
from entracte.graphs.spec import Constants, Graph, Input

METHODS = ("euler", "heun", "heun2", "sde_euler", "sde_heun")
"""`heun2` is upstream's name for `heun`."""
_ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
LAST_STEPS = ("Mean", "Tweedie", "Euler", "none")
_EPSILON = 1e-3
"""How far from an end where something is infinite sampling stays."""
_DEFAULTS: dict[str, Any] = {
    "path_type": "Linear", "prediction": "velocity", "sampling_method": "euler",
    "diffusion_form": "sigma", "diffusion_norm": 1.0, "last_step": "Mean", "last_step_size": 0.04,
}  # fmt: skip
Z, OUTPUT, NOISE, KEPT = range(4)
"""Columns of a step's numbers: see `schedules.step.Step`."""
ROWS = 2
"""The next latents, and what is remembered."""


@dataclass(frozen=True)
class Plan:
    """A sampler's numbers."""

    time: np.ndarray
    """(evaluations,) what the model is told."""
    parts: np.ndarray
    """(evaluations, 2, 4)"""
    start: float
    """How much noise is added to the first latents."""

    @property
    def evaluations(self) -> int:
        """How often the model runs."""
        return len(self.time)

    @property
    def has_noise(self) -> bool:
        """Whether steps add fresh noise."""
        return bool(np.abs(self.parts[:, :, NOISE]).max() > 0)


def check_method(method: object) -> None:
    """Raises `GraphFault`."""
    if method in _ADAPTIVE:
        raise GraphFault(
            f"pipeline.options.sampler: {method}: how many steps it makes depends on the data, and "
            "a plan says all of its calls; give euler or heun (with enough of `sampler.steps` they "
            "end where it does), or sde_euler, sde_heun"
        )
    check_one_of("sampling_method", method, METHODS)


@lru_cache(maxsize=32)
def plan_of(config: str, points: int) -> Plan:
    """The numbers of a sampler.

    Args:
        config: keys of upstream's `create_transport` and `sample_sde`, as JSON.
        points: upstream's `num_steps`: points in time. There is a step between each two, and with
            a last step one more evaluation.

    Raises:
        GraphFault: something is not known, or not finite where a step begins.
    """
    c = _DEFAULTS | {k: v for k, v in json.loads(config).items() if k in _DEFAULTS}
    c["last_step"] = c["last_step"] or "none"
    check_method(c["sampling_method"])
    check_one_of("path_type", c["path_type"], PATHS)
    check_one_of("prediction", c["prediction"], PREDICTIONS)
    check_one_of("diffusion_form", c["diffusion_form"], FORMS)
    check_one_of("last_step", c["last_step"], LAST_STEPS)
    if points < 2:
        raise GraphFault(f"sampler.steps: {points} point in time: give 2 at least")
    try:
        made = _plan(c, points)
    except (ZeroDivisionError, ValueError) as error:
        raise _not_finite(c) from error
    if not all(np.isfinite(a).all() for a in (made.parts, np.array(made.start))):
        raise _not_finite(c)
    return made


def _not_finite(c: Mapping[str, Any]) -> GraphFault:
    is_sde = c["sampling_method"].startswith("sde")
    remedy = "another diffusion_form (sigma is finite), or a last_step" if is_sde else "velocity"
    form = f", diffusion_form {c['diffusion_form']}, last_step {c['last_step']}" if is_sde else ""
    return GraphFault(
        f"sampling_method {c['sampling_method']} with path_type {c['path_type']}, prediction "
        f"{c['prediction']}{form}: not finite at an end of the time, as upstream; give {remedy}"
    )


def _interval(c: Mapping[str, Any], last: float) -> Pair:
    """Where sampling begins and ends. As upstream, a velocity's linear and GVP paths keep away from
    no end."""
    is_sde, is_velocity = c["sampling_method"].startswith("sde"), c["prediction"] == "velocity"
    if c["path_type"] == "VP":
        return 0.0, 1 - (last if is_sde and last else _EPSILON)
    if is_velocity:
        return 0.0, 1 - last if is_sde else 1.0
    return _EPSILON, 1 - (last if is_sde and last else _EPSILON)


def _plan(c: Mapping[str, Any], points: int) -> Plan:
    is_sde, is_heun = (word in c["sampling_method"] for word in ("sde", "heun"))
    size = float(c["last_step_size"]) if c["last_step"] != "none" else 0.0
    begin, end = _interval(c, size)
    times = np.linspace(begin, end, points)
    form, norm, dt = c["diffusion_form"], float(c["diffusion_norm"]), times[1] - times[0]
    ends = [Point(c["path_type"], c["prediction"], float(t)) for t in times]
    drifts = [(p.noisy_drift(form, norm) if is_sde else p.drift) for p in ends[:-1]]
    noises = [math.sqrt(2 * p.diffusion(form, norm) * dt) if is_sde else 0.0 for p in ends[:-1]]
    told, rows = list[float](), list[np.ndarray]()
    for k, drift in enumerate(drifts):
        if not is_heun:
            told, rows = [*told, times[k]], [*rows, _euler(drift, dt, noises[k])]
            continue
        after = ends[k + 1].noisy_drift(form, norm) if is_sde else ends[k + 1].drift
        told += [times[k], times[k + 1]]
        rows += _heun(drift, after, dt, noises[k + 1] if k + 1 < len(noises) else 0.0)
    if is_sde and c["last_step"] != "none":
        told, rows = [*told, end], [*rows, _last(ends[-1], c, size)]
    start = noises[0] if is_heun else 0.0
    return Plan(np.array(told, np.float32), np.stack(rows).astype(np.float32), start)


def _euler(drift: Pair, dt: float, noise: float) -> np.ndarray:
    rows = np.zeros((ROWS, KEPT + 1))
    rows[0, :KEPT] = 1 + dt * drift[0], dt * drift[1], noise
    return rows


def _heun(before: Pair, after: Pair, dt: float, noise: float) -> list[np.ndarray]:
    """A step to the end, which remembers half of one; then the other half from there."""
    first, second = _euler(before, dt, 0.0), np.zeros((ROWS, KEPT + 1))
    first[1] = _euler(before, dt / 2, 0.0)[0]
    second[0] = dt / 2 * after[0], dt / 2 * after[1], noise, 1.0
    return [first, second]


def _last(point: Point, c: Mapping[str, Any], size: float) -> np.ndarray:
    if c["last_step"] == "Euler":
        return _euler(point.drift, size, 0.0)
    if c["last_step"] == "Mean":
        drift = point.noisy_drift(c["diffusion_form"], float(c["diffusion_norm"]))
        return _euler(drift, size, 0.0)
    rows = np.zeros((ROWS, KEPT + 1))
    alpha, part = point.alpha[0], point.sigma[0] ** 2 / point.alpha[0]
    rows[0, :NOISE] = 1 / alpha + part * point.score[0], part * point.score[1]
    return rows


def remembers(plan: Plan) -> bool:
    """Whether a step reads what another one remembered."""
    return bool(np.abs(plan.parts[:, :, KEPT]).max() > 0)


def table(config: str, points: int) -> Constants:
    """`time` and `parts`, see `Plan`."""
    made = plan_of(config, points)
    return Constants({"time": made.time, "parts": made.parts[:, : 1 + remembers(made)]})


class Start(nn.Module):
    """The first latents, with the noise of the first step."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self._part = part

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        """Of one shape."""
        return z + self._part * noise


def start(config: str, points: int, shape: Sequence[int]) -> Graph:
    """`z`, `noise` -> `z_start`."""
    inputs = (Input("z", tuple(shape)), Input("noise", tuple(shape)))
    return Graph(Start(plan_of(config, points).start).eval(), inputs, ("z_start",))


def step(config: str, points: int, shape: Sequence[int]) -> Graph:
    """`z`, `output`, `parts`, and as the sampler needs them `noise` and `history` -> `z_next`,
    `history_next`."""
    made, size = plan_of(config, points), tuple(shape)
    kept = remembers(made)
    rows = ROWS if kept else 1
    used = np.abs(made.parts[:, :rows]).max(0) > 0
    inputs = [Input("z", size), Input("output", size), Input("parts", (1, rows, KEPT + 1))]
    inputs += [Input("noise", size)] if made.has_noise else []
    inputs += [Input("history", size)] if kept else []
    module = Step(used, limit=0.0, noise=made.has_noise, history=kept)
    outputs = ("z_next", "history_next") if kept else ("z_next",)
    return Graph(module.eval(), tuple(inputs), outputs)
