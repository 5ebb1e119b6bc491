"""Operators that arrange elements, and those that tell shapes."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from entracte.graphs.onnx.node import MOST_AXES, Compute, Node, Rule
from entracte.graphs.onnx.numbers import KINDS, type_name

__all__ = ["ROWS"]


def _constant(node: Node) -> Compute:
    given = {name: node.attribute(name) for name in node.attributes}
    if len(given) != 1:
        node.fail("has not exactly one value")
    name, value = next(iter(given.items()))
    if name not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        node.fail(f"{name} is not carried out")
    return lambda: value if isinstance(value, Tensor) else torch.tensor(value)


def _shape_only(node: Node) -> None:
    """The input's shape is all that counts, so its values need not be known."""
    node.constants.add(0)


def _shape(node: Node) -> Compute:
    _shape_only(node)
    start, end = node.attribute("start", 0), node.attribute("end")
    shape = list(node.shape())[start:end]
    return lambda *_: torch.tensor(shape, dtype=torch.int64)


def _size(node: Node) -> Compute:
    _shape_only(node)
    size = prod(node.shape())
    return lambda *_: torch.tensor(size)


def _filled(node: Node) -> Compute:
    shape = node.sizes(0)
    value = node.attribute("value")
    number = 0.0 if value is None else value.item()
    dtype = torch.float32 if value is None else value.dtype
    return lambda *_: torch.full(shape, number, dtype=dtype)


def _range(node: Node) -> Compute:
    start, limit, delta = (node.scalar(i) for i in range(3))
    if not delta:
        node.fail("its step is 0")
    count = max(ceil((limit - start) / delta), 0)
    return lambda *_: start + torch.arange(count) * delta


def _eye(node: Node) -> Compute:
    _shape_only(node)
    kind, offset, shape = node.attribute("dtype"), node.attribute("k"), node.shape()
    dtype = node.value(0).tensor.dtype if kind is None else KINDS.get(type_name(kind))
    if dtype is None or len(shape) != 2:
        node.fail("makes no matrix of numbers")
    rows, columns = shape
    return lambda *_: (torch.arange(columns)[None, :] == torch.arange(rows)[:, None] + offset).to(
        dtype
    )


def _reshape(node: Node) -> Compute:
    wanted, shape = node.sizes(1), node.shape()
    if not node.attribute("allowzero", 0):
        if any(n == 0 and i >= len(shape) for i, n in enumerate(wanted)):
            node.fail(f"copies an axis that {shape} does not have")
        wanted = [shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return lambda x, *_: x.reshape(wanted)


def _flatten(node: Node) -> Compute:
    axis, shape = node.attribute("axis"), node.shape()
    axis = axis + len(shape) if axis < 0 else axis
    rows, columns = prod(shape[:axis]), prod(shape[axis:])
    return lambda x: x.reshape(rows, columns)


def _axes(node: Node) -> list[int] | None:
    if node.has(1):
        return node.sizes(1)
    return node.attribute("axes")


def _squeeze(node: Node) -> Compute:
    given, shape = _axes(node), node.shape()
    axes = [node.axis(a) for a in given or ()]
    if not given:
        axes = [i for i, n in enumerate(shape) if n == 1]
    if any(shape[a] != 1 for a in axes):
        node.fail(f"squeezes the axes {axes} of {shape}")
    kept = [n for i, n in enumerate(shape) if i not in axes]
    return lambda x, *_: x.reshape(kept)


def _unsqueeze(node: Node) -> Compute:
    given = _axes(node) or []
    rank = node.rank() + len(given)
    if rank > MOST_AXES:
        node.fail(f"makes {rank} axes, at most {MOST_AXES} are carried out")
    axes, rest = {node.axis(a, rank) for a in given}, iter(node.shape())
    wanted = [1 if i in axes else next(rest) for i in range(rank)]
    return lambda x, *_: x.reshape(wanted)


def _transpose(node: Node) -> Compute:
    order = node.attribute("perm", list(reversed(range(node.rank()))))
    return lambda x: x.permute(order)


def _expand(node: Node) -> Compute:
    shape = torch.broadcast_shapes(node.shape(), node.sizes(1))
    return lambda x, *_: x.expand(shape)


def _tile(node: Node) -> Compute:
    repeats = node.sizes(1)
    return lambda x, *_: x.repeat(repeats)


def _concat(node: Node) -> Compute:
    axis = node.axis(node.attribute("axis"))
    return lambda *inputs: torch.cat(inputs, axis)


def _split(node: Node) -> Compute:
    axis = node.axis(node.attribute("axis"))
    size, count = node.shape()[axis], node.attribute("num_outputs") or len(node.proto.output)
    given = node.ints(1) if node.has(1) else node.attribute("split")
    if given is None:
        if not 0 < count <= max(size, 1):
            node.fail(f"splits {size} into {count} parts")
        each = ceil(size / count)
        given = [min(each, size - each * i) for i in range(count)]
    if sum(given) != size or len(given) < len(node.proto.output) or min(given) < 0:
        node.fail(f"splits {size} into {given}")
    return lambda x, *_: tuple(torch.split(x, given, axis))


def _slice(node: Node) -> Compute:
    if node.opset < 10:
        starts, ends = node.attribute("starts"), node.attribute("ends")
        axes, steps = node.attribute("axes"), None
    else:
        starts, ends = node.ints(1), node.ints(2)
        axes = node.ints(3) if node.has(3) else None
        steps = node.ints(4) if node.has(4) else None
    axes = list(range(len(starts))) if axes is None else [node.axis(a) for a in axes]
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        node.fail(f"starts {starts}, ends {ends}, axes {axes}, steps {steps}")
    shape = node.shape()
    spans = [
        (axis, range(*slice(start, _end(end, step), step).indices(shape[axis])))
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    ]

    def compute(x: Tensor, *_: object) -> Tensor:
        for axis, span in spans:
            x = _taken(x, axis, span)
        return x

    return compute


def _end(end: int, step: int) -> int | None:
    """Going back, what is before the first element is the end; Python counts it from the back."""
    return None if step < 0 and end < -(1 << 31) else end


def _taken(x: Tensor, axis: int, span: range) -> Tensor:
    if span.step > 0 or not span:
        whole = (slice(None),) * axis
        return x[(*whole, slice(span.start, max(span.stop, span.start), abs(span.step)))]
    whole = (slice(None),) * axis
    return torch.flip(x[(*whole, slice(span[-1], span[0] + 1, -span.step))], [axis])


def _pad(node: Node) -> Compute:
    mode = node.attribute("mode")
    pads = node.ints(1) if node.opset >= 11 else node.attribute("pads")
    axes = node.ints(3) if node.has(3) else list(range(node.rank()))
    axes = [node.axis(a) for a in axes]
    if node.opset < 11:
        number = node.attribute("value")
    else:
        number = node.scalar(2) if node.has(2) else 0
    if len(pads) != 2 * len(axes):
        node.fail(f"pads {pads} for {len(axes)} axes")
    node.check_sizes(*map(abs, pads))
    both = {a: (pads[i], pads[i + len(axes)]) for i, a in enumerate(axes)}
    both = {a: p for a, p in both.items() if any(p)}
    if mode == "constant":
        return lambda x, *_: _padded(x, both, number)
    modes = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    if mode not in modes:
        node.fail(f"mode={mode!r} is not carried out")
    places = [(a, _places(node, a, pair, modes[mode])) for a, pair in both.items()]
    torch_mode = {"reflect": "reflect", "edge": "replicate"}.get(mode)
    inner = range(2, node.rank())
    if torch_mode and node.rank() in (3, 4) and all(
        a in inner and min(p) >= 0 for a, p in both.items()
    ):  # fmt: skip
        flat = [n for a in reversed(inner) for n in both.get(a, (0, 0))]
        return lambda x, *_: F.pad(x, flat, mode=torch_mode)

    def compute(x: Tensor, *_: object) -> Tensor:
        for axis, indices in places:
            x = x.index_select(axis, torch.tensor(indices, dtype=torch.int64))
        return x

    return compute


def _padded(x: Tensor, both: dict[int, tuple[int, int]], number: float | int | bool) -> Tensor:
    """Axes that lose elements are cut first: padding has no negative sizes on the device."""
    for axis, (before, after) in both.items():
        if min(before, after) < 0:
            start, stop = max(-before, 0), x.shape[axis] + min(after, 0)
            x = x.narrow(axis, start, stop - start)
    flat = [max(n, 0) for a in reversed(range(x.dim())) for n in both.get(a, (0, 0))]
    while flat[-2:] == [0, 0]:
        flat = flat[:-2]
    if not flat:
        return x
    if x.dtype is torch.bool:
        return F.pad(x.to(torch.int64), flat, value=int(number)) != 0
    return F.pad(x, flat, value=number)


def _places(node: Node, axis: int, pair: tuple[int, int], mode: str) -> list[int]:
    size = node.shape()[axis]
    if mode == "reflect" and max(pair) >= size:
        node.fail(f"reflects {max(pair)} elements of an axis of {size}")
    before, after = (max(n, 0) for n in pair)
    places = np.pad(np.arange(size), (before, after), mode)  # type: ignore[call-overload]
    start, stop = max(-pair[0], 0), len(places) - max(-pair[1], 0)
    return [int(n) for n in places[start:stop]]


def _depth_to_space(node: Node) -> Compute:
    size, mode = node.attribute("blocksize"), node.attribute("mode", "DCR")
    batch, channels, height, width = node.shape()
    inner = channels // (size * size)

    def compute(x: Tensor) -> Tensor:
        if mode == "DCR":
            x = _exchanged(x, (batch, size * size, inner, height * width))
        return F.pixel_shuffle(x.reshape(batch, channels, height, width), size)

    return compute


def _space_to_depth(node: Node) -> Compute:
    size = node.attribute("blocksize")
    batch, channels, height, width = node.shape()
    high, wide = height // size, width // size

    def compute(x: Tensor) -> Tensor:
        x = F.pixel_unshuffle(x, size)
        x = _exchanged(x, (batch, channels, size * size, high * wide))
        return x.reshape(batch, channels * size * size, high, wide)

    return compute


def _exchanged(x: Tensor, shape: Sequence[int]) -> Tensor:
    return x.reshape(list(shape)).transpose(1, 2)


def _triangle(node: Node) -> Compute:
    diagonal = int(node.scalar(1)) if node.has(1) else 0
    function = torch.triu if node.attribute("upper") else torch.tril
    return lambda x, *_: function(x, diagonal)


ROWS: dict[str, Rule] = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "EyeLike": _eye,
    "Flatten": _flatten,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueeze,
}
