"""One scheduler of the library, called with unit vectors in the place of tensors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from entracte.graphs.checks import GraphFault

Z, OUTPUT, NOISE, CLIPPED = 0, 1, 2, 4
"""Which unit vector stands for what; a second noise of the same step is 3."""
FIRST = 5
"""From here on what is remembered."""
_UNKNOWNS = 300
"""Some schedulers keep all outputs, and read the last few."""
_CLAMPS = (torch.clamp, torch.Tensor.clamp, torch.clip, torch.Tensor.clip)
_PATH = "brownian_path"
"""Of a scheduler whose noise is a path's: what is remembered of it."""


def unit(index: int) -> torch.Tensor:
    """The unit vector of an unknown, (1, unknowns, 1, 1)."""
    if index >= _UNKNOWNS:
        raise GraphFault(f"it remembers more than {_UNKNOWNS - FIRST} tensors")
    made = torch.zeros(1, _UNKNOWNS, 1, 1, dtype=torch.float64)
    made[0, index] = 1
    return made


def random(generator: torch.Generator) -> torch.Tensor:
    """Normal numbers of the same shape."""
    return torch.randn(1, _UNKNOWNS, 1, 1, dtype=torch.float64, generator=generator)


def numbers(vector: torch.Tensor) -> torch.Tensor:
    """The coefficient of each unknown."""
    return vector.detach().double().reshape(-1)


def remembered(made: Any) -> dict[str, torch.Tensor]:
    """A scheduler's tensors of the latents' shape, alone or in lists, by `NAME` or `NAME.INDEX`."""
    found = {}
    for key, value in vars(made).items():
        for i, item in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(item, torch.Tensor) and item.dim() == 4 and item.shape[1] == _UNKNOWNS:
                found[f"{key}.{i}" if isinstance(value, list) else key] = item
    return found


def put(made: Any, values: Mapping[str, torch.Tensor]) -> None:
    """Writes over what is remembered."""
    for name, value in values.items():
        key, _, index = name.partition(".")
        if index:
            getattr(made, key)[int(index)] = value
        else:
            setattr(made, key, value)


class Clips(TorchFunctionMode):
    """Inside, what is cut off is noted, and `replaced` takes its place."""

    def __init__(self, replaced: torch.Tensor) -> None:
        super().__init__()
        self._replaced = replaced
        self.cut: torch.Tensor | None = None
        self.limit = 0.0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Of operations on tensors like the latents."""
        named = dict(kwargs or {})
        is_ours = func in _CLAMPS and args[0].dim() == 4 and args[0].shape[1] == _UNKNOWNS
        if not is_ours:
            return func(*args, **named)
        low, high = (*args[1:], named.get("min"), named.get("max"))[:2] if len(args) > 1 else (
            named.get("min"), named.get("max"))  # fmt: skip
        if self.cut is not None or low is None or high is None or float(low) != -float(high):
            raise GraphFault("it cuts values off twice in a step, or not alike on both sides")
        self.cut, self.limit = args[0], float(high)
        return self._replaced


@contextmanager
def noise_of(made: Any, draw: Callable[[], torch.Tensor]) -> Iterator[None]:
    """Inside, the scheduler's noise is what `draw` gives."""
    module = sys.modules[type(made).__module__]
    before = getattr(module, "randn_tensor", None)
    module.randn_tensor = lambda *_, **__: draw()  # type: ignore[attr-defined]
    if hasattr(made, "noise_sampler"):
        made.noise_sampler = Path(made, draw)
    try:
        yield
    finally:
        if before is None:
            del module.randn_tensor  # type: ignore[attr-defined]
        else:
            module.randn_tensor = before  # type: ignore[attr-defined]


class Path:
    """A Brownian path over sigmas, as far as its schedulers ask: increments from a point to
    another, and then from the same to one further away."""

    def __init__(self, made: Any, draw: Callable[[], torch.Tensor]) -> None:
        self._made, self._draw = made, draw

    def __call__(self, start: Any, stop: Any) -> torch.Tensor:
        """The increment over the root of the distance."""
        begin, end, fresh = float(start), float(stop), self._draw()
        known = getattr(self._made, "path_asked", None)
        if known is None or known[0] != begin:
            setattr(self._made, _PATH, fresh)
            self._made.path_asked = begin, end
            return fresh
        middle = known[1]
        self._made.path_asked = None
        if not abs(end - begin) > abs(middle - begin):
            raise GraphFault("it asks for noise of a Brownian path in an order that is not known")
        part = abs(middle - begin) / abs(end - begin)
        first: torch.Tensor = getattr(self._made, _PATH)
        return part**0.5 * first + (1 - part) ** 0.5 * fresh
