"""Strides, dilations and padding of convolutions and poolings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from entracte.graphs.onnx.node import Node

__all__ = ["MOST_AXES", "Windows", "windows_of"]

MOST_AXES = 3


@dataclass(frozen=True)
class Windows:
    """How a window moves over the last axes."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    """Padding at the front of each axis."""
    after: tuple[int, ...]
    auto: str
    """`auto_pad`, by which `before` and `after` were found unless it is NOTSET."""

    @property
    def is_even(self) -> bool:
        """Whether both ends have the same padding, as torch has it."""
        return self.before == self.after

    @property
    def flat(self) -> list[int]:
        """The padding as torch's `pad` takes it."""
        pairs = zip(reversed(self.before), reversed(self.after), strict=True)
        return [n for pair in pairs for n in pair]

    def reach(self, axis: int) -> int:
        """From the first to the last element under a window."""
        return self.dilations[axis] * (self.kernel[axis] - 1) + 1


def windows_of(node: Node, kernel: Sequence[int], *, moving_out: bool = False) -> Windows:
    """Those of a node whose input has the axes [N, C, ...].

    Args:
        moving_out: of a transposed convolution, whose automatic padding is its own.
    """
    count = node.rank() - 2
    if len(kernel) != count or not 1 <= count <= MOST_AXES:
        node.fail(f"has a window {list(kernel)} over {node.shape()}; 1 to {MOST_AXES} axes are")
    declared = node.attribute("kernel_shape")
    if declared is not None and list(declared) != list(kernel):
        node.fail(f"kernel_shape {declared} and the weight's {list(kernel)} differ")
    strides = _each(node, "strides", count, 1)
    dilations = _each(node, "dilations", count, 1)
    auto = node.attribute("auto_pad")
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        node.fail(f"auto_pad={auto!r} is not carried out")
    pads = node.attribute("pads", [0] * (2 * count))
    if len(pads) != 2 * count or min(pads) < 0:
        node.fail(f"pads={pads} are not carried out")
    node.check_sizes(*pads, *kernel, *strides, *dilations)
    before, after = tuple(pads[:count]), tuple(pads[count:])
    made = Windows(tuple(kernel), strides, dilations, before, after, auto)
    return made if auto == "NOTSET" or moving_out else _automatic(node, made)


def _each(node: Node, name: str, count: int, default: int) -> tuple[int, ...]:
    given = tuple(node.attribute(name, [default] * count))
    if len(given) != count or min(given) < 1:
        node.fail(f"{name}={list(given)} for {count} axes")
    return given


def _automatic(node: Node, made: Windows) -> Windows:
    """SAME: as many results as strides fit; the odd element of padding at the end, or the front."""
    if made.auto == "VALID":
        zero = (0,) * len(made.kernel)
        return Windows(made.kernel, made.strides, made.dilations, zero, zero, made.auto)
    before, after = [], []
    for i, size in enumerate(node.shape()[2:]):
        results = -(-size // made.strides[i])
        total = max((results - 1) * made.strides[i] + made.reach(i) - size, 0)
        small, large = total // 2, total - total // 2
        before.append(small if made.auto == "SAME_UPPER" else large)
        after.append(large if made.auto == "SAME_UPPER" else small)
    return Windows(
        made.kernel, made.strides, made.dilations, tuple(before), tuple(after), made.auto
    )
