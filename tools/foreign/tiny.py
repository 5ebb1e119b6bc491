"""What a tiny model is: its class, its settings, and the tensors that it is called with.

Nothing here imports torch: the rows are data, which a test without torch can read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Draw", "Tiny", "among", "given", "grid", "kept", "normal", "turns", "zeros"]


@dataclass(frozen=True)
class Draw:
    """One tensor of a call: how it is made, its shape, and its numbers where they are given."""

    kind: str
    """`normal`, `among` (whole numbers below `values[0]`), `given`, `kept` (ones, then zeros)."""
    shape: tuple[int, ...] = ()
    values: tuple[Any, ...] = ()
    type: str = ""
    """A dtype of torch; without, what the kind gives: float32, or int64 of whole numbers. Complex
    ones enter as pairs."""


def normal(*shape: int) -> Draw:
    """Of a normal distribution."""
    return Draw("normal", shape)


def among(count: int, *shape: int) -> Draw:
    """Whole numbers from 0 to `count` - 1."""
    return Draw("among", shape, (count,))


def given(*values: Any, type: str = "") -> Draw:
    """These numbers (or rows of them), whole if all are."""
    return Draw("given", values=values, type=type)


def kept(length: int, count: int, type: str = "int64") -> Draw:
    """A mask [1, length] of which the first `count` are true."""
    return Draw("kept", (1, length), (count,), type)


def grid(*counts: int) -> Draw:
    """Positions [product of counts, len(counts)], as floats, the last counting fastest."""
    rows: list[tuple[float, ...]] = [()]
    for count in counts:
        rows = [(*row, float(i)) for row in rows for i in range(count)]
    return Draw("given", values=tuple(rows))


def turns(*shape: int) -> Draw:
    """Complex numbers of this shape: the tensor holds their two parts in one more dimension."""
    return Draw("normal", (*shape, 2), type="complex64")


def zeros(*shape: int) -> Draw:
    """Only zeros, as floats."""
    return Draw("zeros", shape)


@dataclass(frozen=True)
class Tiny:
    """One class, small, and what it is called with."""

    settings: Mapping[str, Any]
    """Of its constructor, or of its configuration class where it has one."""
    arguments: Mapping[str, Any]
    """Name of an argument -> a `Draw`, lists, tuples or dicts of them, or a value as it is."""
    method: str = "forward"
    outputs: int = 1
    """How many of the tensors that it returns are compared, from the first."""
    library: str = "diffusers"
    inside: tuple[tuple[str, Any], ...] = field(default=())
    """(attribute of the built module, value): what no setting makes smaller."""
