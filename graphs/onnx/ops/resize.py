"""Resampling, axis by axis: each result is a weighted sum of a few elements, by ONNX's formulas.

Where torch has the very same rule for images, its operation is used; elsewhere an axis is read by
indices or multiplied by a matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from entracte.graphs.onnx.node import Compute, Node, Rule

__all__ = ["ROWS"]


@dataclass(frozen=True)
class _Axis:
    """One axis that is resampled."""

    axis: int
    size: int
    result: int
    scale: float


@dataclass(frozen=True)
class _Rule:
    """How a place in the result becomes one in the input, and what is read there."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    exclude_outside: bool


_COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                "asymmetric")  # fmt: skip
_MODES = ("nearest", "linear", "cubic")
_MOST_PRODUCTS = 1 << 26
_ROUNDING = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def _resize(node: Node) -> Compute:
    node.only("antialias", 0)
    node.attribute("extrapolation_value")  # of tf_crop_and_resize, which is refused
    if node.opset < 11:
        return _resampled(node, _by_scales(node, _scales(node, 1)), _upsample_rule(node))
    node.constants.add(1)
    rule = _Rule(
        node.attribute("mode"),
        node.attribute("coordinate_transformation_mode"),
        node.attribute("nearest_mode"),
        node.attribute("cubic_coeff_a"),
        bool(node.attribute("exclude_outside")),
    )
    for given, known in ((rule.mode, _MODES), (rule.coordinates, _COORDINATES),
                         (rule.nearest, _ROUNDING)):  # fmt: skip
        if given not in known:
            node.fail(f"{given!r} is not carried out, only {', '.join(known)}")
    given_axes = node.attribute("axes")
    axes = list(range(node.rank())) if given_axes is None else [node.axis(a) for a in given_axes]
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    if node.has(3) and node.shape(3) != (0,):
        return _resampled(node, _by_sizes(node, axes, policy), rule)
    scales = dict(zip(axes, _scales(node, 2), strict=True))
    every = [scales.get(a, 1.0) for a in range(node.rank())]
    return _resampled(node, _by_scales(node, every), rule)


def _upsample(node: Node) -> Compute:
    scales = node.attribute("scales") if node.opset < 9 else _scales(node, 1)
    return _resampled(node, _by_scales(node, scales), _upsample_rule(node))


def _upsample_rule(node: Node) -> _Rule:
    mode = node.attribute("mode")
    if mode not in ("nearest", "linear"):
        node.fail(f"mode={mode!r} is not carried out, only nearest and linear")
    return _Rule(mode, "asymmetric", "floor", -0.75, False)


def _scales(node: Node, index: int) -> list[float]:
    return [float(n) for n in node.constant(index).flatten().tolist()]


def _by_scales(node: Node, scales: list[float]) -> list[_Axis]:
    if len(scales) != node.rank() or min(scales) <= 0:
        node.fail(f"scales {scales} for {node.rank()} axes")
    return [_Axis(i, n, floor(n * s), s)
            for i, (n, s) in enumerate(zip(node.shape(), scales, strict=True))]  # fmt: skip


def _by_sizes(node: Node, axes: list[int], policy: str) -> list[_Axis]:
    shape, sizes = node.shape(), node.ints(3)
    if len(sizes) != len(axes) or min(sizes) < 1:
        node.fail(f"sizes {sizes} for {len(axes)} axes")
    scales = {a: n / shape[a] for a, n in zip(axes, sizes, strict=True)}
    wanted = dict(zip(axes, sizes, strict=True))
    if policy != "stretch":
        choose = {"not_larger": min, "not_smaller": max}.get(policy)
        if choose is None:
            node.fail(f"keep_aspect_ratio_policy={policy!r}")
        one = choose(scales.values())
        scales = dict.fromkeys(axes, one)
        wanted = {a: floor(one * shape[a] + 0.5) for a in axes}
    return [_Axis(a, shape[a], wanted[a], scales[a]) for a in axes]


def _resampled(node: Node, axes: list[_Axis], rule: _Rule) -> Compute:
    moving = [a for a in axes if a.result != a.size or a.scale != 1.0]
    if any(a.result < 1 for a in moving):
        node.fail("its result would be empty")
    if not moving:
        return lambda x, *_: x
    node.check_sizes(*(a.result for a in moving), *(a.size for a in moving))
    if rule.mode != "nearest" and any(a.result * a.size > _MOST_PRODUCTS for a in moving):
        node.fail("resamples an axis of more elements than a matrix is made for")
    mode = _torch_mode(node, moving, rule)
    if mode is not None:
        by_axis = {a.axis: a.result for a in moving}
        size = [by_axis.get(i, n) for i, n in enumerate(node.shape())][2:]
        corners = None if mode == "nearest" else rule.coordinates == "align_corners"
        return lambda x, *_: F.interpolate(x, size, mode=mode, align_corners=corners)
    if rule.mode == "nearest":
        places = [(a.axis, [_nearest(a, rule, i) for i in range(a.result)]) for a in moving]
        return lambda x, *_: _read(x, places)
    matrices = [(a.axis, _matrix(a, rule)) for a in moving]
    return lambda x, *_: _multiplied(x, matrices)


def _torch_mode(node: Node, moving: list[_Axis], rule: _Rule) -> str | None:
    """torch's name of the same rule, where there is one: images, scales that give whole sizes."""
    exact = all(a.axis >= 2 and abs(a.scale * a.size - a.result) < 1e-6 for a in moving)
    if not exact or node.rank() not in (3, 4, 5):
        return None
    if rule.mode == "nearest":
        whole = all(a.result % a.size == 0 for a in moving)
        same = (rule.coordinates, rule.nearest) == ("asymmetric", "floor")
        same |= rule.coordinates == "half_pixel" and rule.nearest.startswith("round")
        return "nearest" if whole and same else None
    corners = rule.coordinates == "align_corners" and all(a.result > 1 for a in moving)
    half = rule.coordinates in ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
    half &= rule.coordinates != "pytorch_half_pixel" or all(a.result > 1 for a in moving)
    if rule.mode != "linear" or not (corners or half):
        return None
    return {3: "linear", 4: "bilinear", 5: "trilinear"}[node.rank()]


def _place(a: _Axis, rule: _Rule, index: int) -> float:
    """Where in the input a result lies: in fp32, whose rounding decides which element is nearest
    where a place is close to the middle of two."""
    at, scale, one, half = np.float32(index), np.float32(a.scale), np.float32(1), np.float32(0.5)
    size, result = np.float32(a.size), np.float32(a.result)
    if rule.coordinates == "asymmetric":
        return float(at / scale)
    if rule.coordinates == "align_corners":
        return float(at * (size - one) / (result - one)) if a.result > 1 else 0.0
    if rule.coordinates == "pytorch_half_pixel" and a.result == 1:
        return 0.0
    place = (at + half) / scale - half
    if rule.coordinates == "half_pixel_symmetric":
        return float(size * half * (one - result / (scale * size)) + place)
    return float(place)


def _nearest(a: _Axis, rule: _Rule, index: int) -> int:
    place = _place(a, rule, index)
    rounded = {
        "floor": floor,
        "ceil": ceil,
        "round_prefer_floor": lambda p: ceil(p - 0.5),
        "round_prefer_ceil": lambda p: floor(p + 0.5),
    }[rule.nearest](place)
    return min(max(int(rounded), 0), a.size - 1)


def _matrix(a: _Axis, rule: _Rule) -> list[list[float]]:
    """[result, input]"""
    matrix = np.zeros((a.result, a.size))
    for i in range(a.result):
        place = _place(a, rule, i)
        if rule.mode == "linear":
            place = min(max(place, 0.0), a.size - 1.0)
        first = floor(place)
        rest = place - first
        taps = _cubic(rest, rule.cubic) if rule.mode == "cubic" else {0: 1 - rest, 1: rest}
        for offset, weight in taps.items():
            inside = 0 <= first + offset < a.size
            if inside or not rule.exclude_outside:
                matrix[i, min(max(first + offset, 0), a.size - 1)] += weight
        if rule.exclude_outside:
            matrix[i] /= matrix[i].sum()
    return matrix.tolist()


def _cubic(t: float, a: float) -> dict[int, float]:
    def outer(d: float) -> float:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    def inner(d: float) -> float:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    return {-1: outer(t + 1), 0: inner(t), 1: inner(1 - t), 2: outer(2 - t)}


def _read(x: Tensor, places: list[tuple[int, list[int]]]) -> Tensor:
    for axis, indices in places:
        x = x.index_select(axis, torch.tensor(indices, dtype=torch.int64))
    return x


def _multiplied(x: Tensor, matrices: list[tuple[int, list[list[float]]]]) -> Tensor:
    for axis, rows in matrices:
        matrix = torch.tensor(rows, dtype=torch.float32, device=x.device)
        if axis == x.dim() - 2:
            x = torch.matmul(matrix, x)
        else:
            x = torch.matmul(x.transpose(axis, -1), matrix.T).transpose(axis, -1)
    return x


def _grid(node: Node) -> Compute:
    mode, padding = node.attribute("mode"), node.attribute("padding_mode")
    names = {"bilinear": "bilinear", "linear": "bilinear", "nearest": "nearest"}
    if mode not in names or node.rank() != 4:
        node.fail(f"mode={mode!r} over {node.shape()} is not carried out, only linear and nearest "
                  "of images")  # fmt: skip
    corners = bool(node.attribute("align_corners"))
    return lambda x, grid: F.grid_sample(x, grid, names[mode], padding, corners)


ROWS: dict[str, Rule] = {"GridSample": _grid, "Resize": _resize, "Upsample": _upsample}
