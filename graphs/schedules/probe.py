"""A scheduler's steps as tables, found by asking the library's own scheduler.

All that schedulers do with latents is linear: what comes out of a step is a sum of the latents, the
model's output, fresh noise, and tensors that the scheduler remembers, each times a number of that
step. The numbers are read off by calling `step` with unit vectors in the place of tensors.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from entracte.graphs.checks import GraphFault
from entracte.graphs.schedules.rows import row_of

_CHANNELS = 1
"""The axis along which unit vectors differ: the others are of size 1."""
_UNKNOWNS = 12
"""Latents, output, noise, and at most so many less three remembered tensors."""
_CLIPS = ("clip_sample", "thresholding")


@dataclass(frozen=True)
class Steps:
    """A scheduler's numbers."""

    time: np.ndarray
    """(evaluations,) what the model is told."""
    scale: np.ndarray
    """(evaluations,) factor of the latents that the model reads."""
    parts: np.ndarray
    """(evaluations, 1 + remembered, 3 + remembered): rows are the next latents and what is
    remembered, columns are latents, output, noise and what was remembered."""
    start: float
    """Factor of the first latents."""

    @property
    def remembered(self) -> int:
        """How many tensors are handed from step to step."""
        return int(self.parts.shape[1]) - 1


@lru_cache(maxsize=32)
def steps_of(scheduler: str, config: str, steps: int, given: str = "{}") -> Steps:
    """The numbers of a scheduler of diffusers.

    Args:
        scheduler: its class.
        config: its configuration, as JSON.
        given: further arguments of `set_timesteps`, as JSON.

    Raises:
        GraphFault: it is not known, or what it does is not linear.
    """
    settings, row = json.loads(config), row_of(scheduler, json.loads(config))
    made = _made(scheduler, settings)
    _set(made, steps, json.loads(given))
    times = list(made.timesteps)
    if len(times) != row.evaluations(steps):
        raise GraphFault(
            f"{scheduler}: it runs the model {len(times)} times for {steps} steps, where "
            f"{row.evaluations(steps)} are known; choose another number of steps, or scheduler"
        )
    rows, names, scales = [], list[str](), []
    for time in times:
        scales.append(_scale_at(made, time))
        rows.append(_step_at(made, time))
        names += [n for n in rows[-1] if n not in names and n]
    parts = _pruned(_table(rows, names), row.history)
    result = Steps(
        np.array([float(t) for t in times], np.float32),
        np.array(scales, np.float32),
        parts.astype(np.float32),
        float(made.init_noise_sigma) if row.starts else 1.0,
    )
    _check(scheduler, row, result)
    return result


def _made(scheduler: str, config: dict[str, Any]) -> Any:
    import diffusers

    for key in _CLIPS:
        if config.get(key):
            raise GraphFault(
                f"{scheduler}: its configuration has {key}: true, which cuts values off and is no "
                "sum; choose another scheduler, `pipeline.options.scheduler=NAME`"
            )
    cls = getattr(diffusers, scheduler)
    if "old_pred_original_sample" in inspect.signature(cls.step).parameters:
        cls = _remembering(cls)
    return cls.from_config({k: v for k, v in config.items() if not k.startswith("_")})


def _remembering(cls: Any) -> Any:
    """Of a scheduler that is handed what it predicted, and when: one that remembers it itself."""

    class Remembering(cls):  # type: ignore[misc]
        predicted = before = None

        def step(self, output: Any, time: Any, z: Any, **more: Any) -> Any:
            handed = (output, self.predicted, time, self.before, z)
            result, self.predicted = super().step(*handed, **more)
            self.before = time
            return (result,)

    Remembering.__module__ = cls.__module__
    return Remembering


def _set(made: Any, steps: int, given: dict[str, Any]) -> None:
    takes = inspect.signature(made.set_timesteps).parameters
    strange = sorted(set(given) - set(takes))
    if strange:
        raise GraphFault(
            f"{type(made).__name__}: its steps cannot be set with {', '.join(strange)}, as this "
            "pipeline does; choose the scheduler that the folder names"
        )
    if "sigmas" in given or "timesteps" in given:
        made.set_timesteps(**given)
    else:
        made.set_timesteps(steps, **given)


def _unit(index: int, of: torch.dtype = torch.float64) -> torch.Tensor:
    made = torch.zeros(1, _UNKNOWNS, 1, 1, dtype=of)
    made[0, index] = 1
    return made


def _scale_at(made: Any, time: torch.Tensor) -> float:
    if not hasattr(made, "scale_model_input"):
        return 1.0
    return float(made.scale_model_input(_unit(0), time)[0, 0])


def _step_at(made: Any, time: torch.Tensor) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
    """By name of what comes out (empty for the latents): its sum, and what the columns behind the
    first three are of."""
    before = dict(_tensors(made))
    known = tuple(before)
    if len(known) > _UNKNOWNS - 3:
        raise GraphFault(f"{type(made).__name__}: it remembers {len(known)} tensors")
    for i, name in enumerate(known):
        _put(made, name, _unit(3 + i))
    with _noise(made, _unit(2)):
        result = made.step(_unit(1), time, _unit(0), return_dict=False)[0]
    found = {"": result} | dict(_tensors(made))
    return {name: (t.double().reshape(-1).numpy(), known) for name, t in found.items()}


def _tensors(made: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """What a scheduler remembers: tensors of the unit vectors' shape, alone or in lists."""
    for key, value in vars(made).items():
        items = value if isinstance(value, list) else [value]
        for i, item in enumerate(items):
            if isinstance(item, torch.Tensor) and item.dim() == 4 and item.shape[1] == _UNKNOWNS:
                yield (f"{key}.{i}" if isinstance(value, list) else key), item


def _put(made: Any, name: str, value: torch.Tensor) -> None:
    key, _, index = name.partition(".")
    if index:
        getattr(made, key)[int(index)] = value
    else:
        setattr(made, key, value)


@contextmanager
def _noise(made: Any, value: torch.Tensor) -> Iterator[None]:
    """Inside, the scheduler's noise is this."""
    module = sys.modules[type(made).__module__]
    before = getattr(module, "randn_tensor", None)
    module.randn_tensor = lambda *_, **__: value  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if before is None:
            del module.randn_tensor  # type: ignore[attr-defined]
        else:
            module.randn_tensor = before  # type: ignore[attr-defined]


def _table(
    rows: Sequence[dict[str, tuple[np.ndarray, tuple[str, ...]]]], names: Sequence[str]
) -> np.ndarray:
    order = ["", *names]
    table = np.zeros((len(rows), len(order), 3 + len(names)))
    for i, row in enumerate(rows):
        for name, (sums, known) in row.items():
            at = order.index(name)
            table[i, at, :3] = sums[:3]
            for j, other in enumerate(known):
                table[i, at, 3 + list(names).index(other)] = sums[3 + j]
    return table


def _pruned(table: np.ndarray, keeps: bool) -> np.ndarray:
    """Without what is remembered and never read; one row at least where there is a history."""
    needed: set[int] = set()
    while True:
        rows = [0, *(1 + k for k in needed)]
        read = {int(k) for k in np.nonzero(np.abs(table[:, rows, 3:]).max((0, 1)))[0]}
        if read <= needed:
            break
        needed |= read
    if keeps and not needed:
        needed = {0}
        if table.shape[1] == 1:
            wider = np.zeros((len(table), 2, 4))
            wider[:, :1, :3] = table
            table = wider
    kept = sorted(needed)
    return table[:, [0, *(1 + k for k in kept)]][:, :, [0, 1, 2, *(3 + k for k in kept)]]


def _check(scheduler: str, row: Any, made: Steps) -> None:
    """The row promised what a loop is built for."""
    stray = []
    if made.remembered and not row.history:
        stray.append("remembers tensors")
    if np.abs(made.parts[:, :, 2]).max() > 0 and not row.noise:
        stray.append("adds noise")
    if np.abs(made.scale - 1).max() > 0 and not row.scales:
        stray.append("scales what the model reads")
    if not np.isfinite(made.parts).all():
        stray.append("gives numbers that are not finite")
    if stray:
        raise GraphFault(
            f"{scheduler}: with this configuration it {' and '.join(stray)}, which is not known of "
            "it; choose another scheduler, `pipeline.options.scheduler=NAME`"
        )
