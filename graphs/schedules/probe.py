"""A scheduler's steps as tables, found by asking the library's own scheduler.

What comes out of a step is a sum of the latents, the model's output, fresh noise, and tensors that
the scheduler remembers, each times a number of that step; some have another such sum cut off at a
limit among them. The numbers are read off by calling `step` with unit vectors in the place of
tensors; then the library is called again with random ones, and both must agree.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

import numpy as np
import torch

from entracte.graphs.checks import GraphFault
from entracte.graphs.schedules import asked
from entracte.graphs.schedules.kinds import Kind, kind_of

_NEAR = 1e-4
"""Of the largest value: the library computes in fp32."""
_CHOOSE = "choose another scheduler, `pipeline.options.scheduler=NAME`"


@dataclass(frozen=True)
class Steps:
    """A scheduler's numbers."""

    time: np.ndarray
    """(evaluations,) what the model is told."""
    scale: np.ndarray
    """(evaluations,) factor of the latents that the model reads."""
    parts: np.ndarray
    """(evaluations, 1 + remembered, 3 + remembered): rows are the next latents and what is
    remembered, columns are latents, output, noise and what was remembered. Where there is a limit,
    another row in the end, the sum that is cut off, and another column, what that became."""
    start: float
    """Factor of the first latents."""
    limit: float
    """Where a sum is cut off, on both sides; 0 where none is."""

    @property
    def evaluations(self) -> int:
        """How often the model runs."""
        return len(self.time)

    @property
    def remembered(self) -> int:
        """How many tensors are handed from step to step."""
        return int(self.parts.shape[1]) - 1 - int(self.limit > 0)

    @property
    def has_noise(self) -> bool:
        """Whether steps add fresh noise."""
        return bool(np.abs(self.parts[:, :, asked.NOISE]).max() > 0)

    @property
    def is_scaled(self) -> bool:
        """Whether the model reads scaled latents."""
        return bool(np.abs(self.scale - 1).max() > 0)


@lru_cache(maxsize=32)
def steps_of(scheduler: str, config: str, steps: int, given: str = "{}") -> Steps:
    """The numbers of a scheduler of diffusers.

    Args:
        scheduler: its class.
        config: its configuration, as JSON.
        given: further arguments of `set_timesteps`, as JSON.

    Raises:
        GraphFault: it is not known, or what it does is no such sum.
    """
    kind = kind_of(scheduler)
    with _said_of(scheduler):
        made, times = _set(scheduler, json.loads(config), steps, json.loads(given))
        fresh = deepcopy(made)
        scales, rows = [], []
        for i, time in enumerate(times):
            scales.append(_scale_at(made, time))
            rows.append(_step_at(kind, made, times, i))
        limit = max(row.limit for row in rows)
        result = Steps(
            np.array([float(t) for t in times], np.float32),
            np.array(scales, np.float32),
            _table(rows, limit > 0).astype(np.float32),
            float(getattr(made, "init_noise_sigma", 1.0)),
            limit,
        )
        if not (np.isfinite(result.parts).all() and np.isfinite(result.scale).all()):
            raise GraphFault("with this configuration its numbers are not finite")
        _check_agrees(result, kind, fresh, times)
    return result


@contextmanager
def _said_of(scheduler: str) -> Iterator[None]:
    """The library's own refusals are of many kinds."""
    try:
        yield
    except GraphFault as fault:
        raise GraphFault(f"{scheduler}: {fault}; {_CHOOSE}") from None
    except Exception as error:
        said = " ".join(str(error).split())
        raise GraphFault(
            f"{scheduler}: diffusers refuses this configuration or these steps "
            f"({type(error).__name__}: {said}); mend them, or {_CHOOSE}"
        ) from error


def _set(
    scheduler: str, config: Mapping[str, Any], steps: int, given: Mapping[str, Any]
) -> tuple[Any, Sequence[torch.Tensor]]:
    """A scheduler and its times."""
    import diffusers

    cls = getattr(diffusers, scheduler)
    made = cls.from_config({k: v for k, v in config.items() if not k.startswith("_")})
    if made.config.get("thresholding"):
        raise GraphFault(
            "its configuration has thresholding: true, limits that depend on all values of a "
            "picture"
        )
    if made.config.get("scale_factors"):
        raise GraphFault("its configuration has scale_factors: latents that grow between steps")
    takes = inspect.signature(made.set_timesteps).parameters
    strange = sorted(set(given) - set(takes))
    if strange:
        names = ", ".join(strange)
        raise GraphFault(f"its steps cannot be set with {names}, as this pipeline does")
    first = () if "sigmas" in given or "timesteps" in given else (steps,)
    made.set_timesteps(*first, **given)
    times = list(made.timesteps)
    return made, times[:-1] if kind_of(scheduler).has_end else times


def _scale_at(made: Any, time: torch.Tensor) -> float:
    if not hasattr(made, "scale_model_input"):
        return 1.0
    return float(asked.numbers(made.scale_model_input(asked.unit(asked.Z), time))[asked.Z])


@dataclass(frozen=True)
class _Row:
    """A step, asked."""

    sums: Mapping[str, np.ndarray]
    """By name of what comes out (empty for the latents, `CUT` for what is cut off)."""
    known: tuple[str, ...]
    """What the columns from `asked.FIRST` on are of."""
    limit: float


_CUT = ".cut"


def _step_at(kind: Kind, made: Any, times: Sequence[torch.Tensor], i: int) -> _Row:
    known = tuple(asked.remembered(made))
    asked.put(made, {name: asked.unit(asked.FIRST + k) for k, name in enumerate(known)})
    noises = iter((asked.unit(asked.NOISE), asked.unit(asked.NOISE + 1)))
    clips = asked.Clips(asked.unit(asked.CLIPPED))
    with asked.noise_of(made, lambda: next(noises)), clips:
        result = kind.call(made, times, i, asked.unit(asked.OUTPUT), asked.unit(asked.Z))
    found = {"": result} | asked.remembered(made)
    if clips.cut is not None:
        found[_CUT] = clips.cut
    sums = {name: _one_noise(asked.numbers(t).numpy()) for name, t in found.items()}
    return _Row(sums, known, clips.limit)


def _one_noise(sums: np.ndarray) -> np.ndarray:
    """Of noises that a step draws and does not use nothing is left."""
    first, second = sums[asked.NOISE], sums[asked.NOISE + 1]
    if abs(first) > 0 and abs(second) > 0:
        raise GraphFault("it adds two noises in a step")
    sums[asked.NOISE] = first + second
    return sums


def _table(rows: Sequence[_Row], has_limit: bool) -> np.ndarray:
    """`Steps.parts`: each tensor that is still to be read has a place among those remembered."""
    live = _live(rows)
    width = max(len(names) for names in live)
    size = 1 + width + int(has_limit)
    table = np.zeros((len(rows), size, size + 2))
    before = dict[str, int]()
    for i, row in enumerate(rows):
        after = _places(before, live[i])
        at = {"": 0, _CUT: size - 1} | {name: 1 + k for name, k in after.items()}
        for name, sums in row.sums.items():
            if name not in at:
                continue
            table[i, at[name], :3] = sums[: asked.NOISE + 1]
            for k, other in enumerate(row.known):
                if other in before:
                    table[i, at[name], 3 + before[other]] = sums[asked.FIRST + k]
            if has_limit:
                table[i, at[name], -1] = sums[asked.CLIPPED]
        before = after
    return table


def _live(rows: Sequence[_Row]) -> list[list[str]]:
    """Of each step, what it leaves that a later one reads."""
    found, live = list[list[str]](), list[str]()
    for row in reversed(rows):
        found.append(live)
        read = [sums for name, sums in row.sums.items() if name in ("", _CUT, *live)]
        live = [name for k, name in enumerate(row.known)
                if any(abs(sums[asked.FIRST + k]) > 0 for sums in read)]  # fmt: skip
    return found[::-1]


def _places(before: Mapping[str, int], live: Sequence[str]) -> dict[str, int]:
    """A place for each: its own, or the first that is free."""
    kept = {name: before[name] for name in live if name in before}
    free = (k for k in count() if k not in kept.values())
    return kept | {name: next(free) for name in live if name not in kept}


def _check_agrees(made: Steps, kind: Kind, library: Any, times: Sequence[torch.Tensor]) -> None:
    """The library's scheduler on random numbers gives what the tables give."""
    generator = torch.Generator().manual_seed(0)
    z = asked.random(generator) * made.start
    ours, history = z, [torch.zeros_like(z)] * made.remembered
    for i, time in enumerate(times):
        output, noise = asked.random(generator), asked.random(generator)
        if hasattr(library, "scale_model_input"):
            library.scale_model_input(z, time)
        with asked.noise_of(library, lambda noise=noise: noise):  # type: ignore[misc]
            z = kind.call(library, times, i, output, z).double()
        ours, *history = applied(made, i, [ours, output, noise, *history])
    if not torch.allclose(ours, z, rtol=0, atol=_NEAR * float(z.abs().max())):
        raise GraphFault("what it does with this configuration is no sum of tensors")


def applied(made: Steps, i: int, terms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The next latents and what is remembered, of (latents, output, noise, remembered...)."""
    parts = torch.from_numpy(made.parts[i]).double()
    values = list(terms)
    if made.limit:
        cut = sum(c * x for c, x in zip(parts[-1], values, strict=False))
        assert isinstance(cut, torch.Tensor)
        values.append(cut.clamp(-made.limit, made.limit))
        parts = parts[:-1]
    rows = [[c * x for c, x in zip(row, values, strict=True)] for row in parts]
    return [torch.stack(row).sum(0) for row in rows]
