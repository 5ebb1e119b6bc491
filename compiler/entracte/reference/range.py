"""Which operation first leaves the numbers: the watch over infinities, NaN and fp16's range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from entracte.reference.loaded import Loaded, State

LARGEST_HALF = 65504.0


@dataclass(frozen=True, slots=True)
class OutOfRange:
    """The first result with elements that fp16 cannot hold.

    Attributes:
        operation: the MIL operation's name.
        type: its type, such as `mul`.
        nonfinite: elements that are infinite or NaN.
        above: finite elements whose magnitude exceeds 65504 (only where the result is wider
            than fp16: an fp32 program or the fp32 policy).
        elements: elements of the result.
    """

    operation: str
    type: str
    nonfinite: int
    above: int
    elements: int

    def __str__(self) -> str:
        parts = [f"{self.nonfinite} not finite"] if self.nonfinite else []
        parts += [f"{self.above} beyond fp16's 65504"] if self.above else []
        counted = " and ".join(parts)
        return f"{self.type} {self.operation!r}: {counted} of {self.elements} elements"


def first_out_of_range(
    loaded: Loaded, inputs: Mapping[str, Any], state: State | None = None
) -> OutOfRange | None:
    """Run a package once and name the first operation that leaves fp16's range, else None.

    Raises:
        PackageError: as `Loaded.predict` does.
    """
    found: list[OutOfRange] = []

    def look(name: str, kind: str, results: Sequence[Any]) -> None:
        if not found:
            found.extend(_faults(name, kind, results))

    outer, loaded.on_op = loaded.on_op, look
    try:
        loaded.predict(inputs, state)
    finally:
        loaded.on_op = outer
    return found[0] if found else None


def _faults(name: str, kind: str, results: Sequence[Any]) -> list[OutOfRange]:
    for result in results:
        if not isinstance(result, torch.Tensor) or not result.is_floating_point():
            continue
        size = result.abs()
        nonfinite = int((~torch.isfinite(size)).sum())
        above = int((torch.isfinite(size) & (size > LARGEST_HALF)).sum())
        if nonfinite or above:
            return [OutOfRange(name, kind, nonfinite, above, result.numel())]
    return []
