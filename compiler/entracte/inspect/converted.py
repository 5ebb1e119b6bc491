"""What packages turned out to be, beside what a dry run said of their chunks.

A dry run knows a chunk by its trace. A plan keeps that beside the package, so a build can be held
against its own dry run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from entracte.cost import traced_activation_bytes
from entracte.ir import Chunk, Package, Plan

_WORTH = 0.01
"""Differences below this share are padding and shared constants, and go unsaid."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure in bytes that conversion changed: the dry run's, then the package's."""

    chunk: str
    figure: str
    """`weights` or `activations`."""
    traced_bytes: int
    package_bytes: int


def measured_otherwise(plan: Plan) -> tuple[Measured, ...]:
    """By the largest difference: weights that are others by 1 % or more, and activations that grew
    so much (where a package needs less than was traced, the plan counts what was traced). Nothing
    of a dry run."""
    packages = {p.chunk: p for p in plan.packages}
    found = [m for c in plan.chunks if c.id in packages for m in _of_chunk(c, packages[c.id])]
    return tuple(sorted(found, key=lambda m: (-abs(m.package_bytes - m.traced_bytes), m.chunk)))


def _of_chunk(chunk: Chunk, package: Package) -> Iterator[Measured]:
    weights = Measured(chunk.id, "weights", chunk.weight_bytes, package.weight_bytes)
    if _share(weights) >= _WORTH:
        yield weights
    traced_bytes = traced_activation_bytes(chunk)
    activations = Measured(chunk.id, "activations", traced_bytes, package.activation_bytes)
    if activations.package_bytes > traced_bytes and _share(activations) >= _WORTH:
        yield activations


def _share(m: Measured) -> float:
    return abs(m.package_bytes - m.traced_bytes) / max(1, m.traced_bytes)
