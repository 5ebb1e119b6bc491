"""Random numbers in the place of weights: for measuring without them."""

import zlib
from collections.abc import Collection, Mapping
from math import prod
from typing import TYPE_CHECKING

from entracte.errors import ConfigError
from entracte.store.cache import DigestMemo
from entracte.trace.given import given_by_module, identity, listed, own_identities, scaled, wanted

if TYPE_CHECKING:
    import torch

    from entracte.trace.traced import Traced


class RandomWeights:
    """Normal numbers scaled by fan-in, from a seed and the weight's name: for measuring."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def is_real(self, traced: "Traced") -> bool:
        """They are not, except for a module that has its own."""
        return traced.is_its_own

    def look(self, stage: str, stem: str) -> None:
        """There are no files."""

    def check(self, traced: "Traced") -> None:
        """Nothing can be missing, but whole numbers (positions) cannot be drawn."""
        whole = sorted(_drawn(traced, None).keys() & set(traced.record.whole))
        if whole:
            raise ConfigError(
                f"stage {traced.stage.name}: {listed(whole)}: whole numbers that no checkpoint "
                "gives and the module does not hold; a seed cannot draw positions: build the "
                "module with `on_meta` of `entracte.graphs`, or give its checkpoint"
            )

    def tensors(
        self, traced: "Traced", names: Collection[str] | None = None
    ) -> "Mapping[str, torch.Tensor]":
        """The same numbers in every process."""
        result = given_by_module(traced, names, with_buffers=True)
        for name, key in _drawn(traced, names).items():
            result[name] = scaled(self._values(key, traced.shapes[name]), traced, name)
        return result

    def identity(self, traced: "Traced", names: Collection[str], _: DigestMemo) -> list[str]:
        """The seed and each weight's name: nothing needs to be drawn."""
        drawn = f"random {_RANDOM_VERSION} {self._seed}"
        keys = _drawn(traced, names)
        digests = {n: identity(traced, n, f"{drawn} {key}") for n, key in keys.items()}
        digests |= own_identities(traced, names, with_buffers=True)
        return [digests[n] for n in names if n in digests]

    def _values(self, key: str, shape: tuple[int, ...]) -> "torch.Tensor":
        import torch

        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()) ^ self._seed)
        values = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            return values.mul_(0.02).add_(1.0 if key.endswith("weight") else 0.0)
        return values.mul_(max(1, prod(shape[1:])) ** -0.5)


_RANDOM_VERSION = 1
"""Part of what names these values: raise it when they change."""


def _drawn(traced: "Traced", names: Collection[str] | None) -> dict[str, str]:
    """Name -> key of what a seed draws: not the buffers that the module holds itself."""
    return {n: k for n, k in wanted(traced, names).items() if n not in traced.own}
